/** Writes the table of docs/settings.md from the settings of ts/node/settings.ts. */

import { readFileSync, writeFileSync } from 'node:fs'

const { settingsMarkdown } = await import('../dist/cli/settings.js')
const file = new URL('../docs/settings.md', import.meta.url)
const text = readFileSync(file, 'utf8')
writeFileSync(file, `${text.slice(0, text.indexOf('| setting |'))}${settingsMarkdown()}\n`)
