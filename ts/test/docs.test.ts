/** Documents that follow from the code say what the code says. */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ERRORS } from '../base/errors.generated.js'
import { settingsMarkdown } from '../cli/settings.js'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

test('docs/settings.md lists every setting with its default', () => {
  const fix = 'run `npx otlake settings --markdown` and put the table into docs/settings.md'
  expect(read('docs/settings.md'), fix).toContain(settingsMarkdown())
})

test('docs/errors.md lists every code with its fix', () => {
  const document = read('docs/errors.md')
  for (const [code, { kind, fix }] of Object.entries(ERRORS)) {
    expect(document).toContain(`| \`${code}\` | ${kind} | ${fix} |`)
  }
})
