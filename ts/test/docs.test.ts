/** Documents that follow from the code say what the code says. */

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
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

/** The page as a script would write it now. */
function generated(what: string): string {
  const script = fileURLToPath(new URL(`../../scripts/generate-${what}.mjs`, import.meta.url))
  return execFileSync(process.execPath, [script, '--print'], { encoding: 'utf8' })
}

test('docs/limits.md is what the constants say', () => {
  expect(read('docs/limits.md'), 'run `npm run generate:limits`').toBe(generated('limits'))
})

// Elsewhere prom-client tells less of the process.
test.runIf(process.platform === 'linux')('docs/metrics.md is what the sources register', () => {
  expect(read('docs/metrics.md'), 'run `npm run generate:metrics`').toBe(generated('metrics'))
})

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Every page of the checkout, by its path. */
const pages = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter(Boolean)

/** A heading's anchor, as the renderers of Markdown make it. */
const anchor = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')

test('every link between pages leads to a file, and to a heading where it names one', () => {
  const broken = pages.flatMap((page) =>
    [...read(page).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)]
      .filter(([, path, heading]) => {
        const target = path ? join(dirname(page), path) : page
        if (!existsSync(join(root, target))) return true
        if (heading === undefined) return false
        const headings = [...read(target).matchAll(/^#+ (.*)$/gm)].map(([, text]) =>
          anchor(text ?? ''),
        )
        return !headings.includes(heading)
      })
      .map(([link]) => `${page}: ${link}`),
  )
  expect(pages.length).toBeGreaterThan(20)
  expect(broken).toEqual([])
})

test('every variable that a source reads is on a page', () => {
  const told = pages.map(read).join('\n')
  // Sources alone: tests have names that nothing reads.
  const sources = [
    '*.rs',
    '*.ts',
    '*.mjs',
    '*.go',
    '*.py',
    '*.java',
    ':!*.test.ts',
    ':!native/decode/fuzz',
  ]
  const args = ['grep', '-hoE', 'OTLAKE_[A-Z][A-Z_]*[A-Z]\\b', '--', ...sources]
  const found = execFileSync('git', args, { cwd: root, encoding: 'utf8' })
  const names = [...new Set(found.split('\n').filter(Boolean))]
  expect(names.length).toBeGreaterThan(10)
  expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(told))).toEqual([])
})
