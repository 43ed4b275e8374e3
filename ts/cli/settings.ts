/** `otlake settings`: every setting with its default and its variable. */

import { allSettings, variableOf } from '../node/settings.js'
import { bold, dim } from './terminal.js'

function shown(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? '(none)' : value.join(',')
  return value === '' ? '(none)' : String(value)
}

/** For a terminal. */
export function settingsText(): string {
  const settings = Object.entries(allSettings())
  return settings
    .map(
      ([path, { about, default: value }]) =>
        `${bold(path)} = ${shown(value)}\n  ${about}. ${dim(variableOf(path))}`,
    )
    .join('\n')
}

/** The table of docs/settings.md. */
export function settingsMarkdown(): string {
  const rows = Object.entries(allSettings()).map(([path, { about, default: value }]) => {
    // What depends on the machine is told in words.
    const given = path === 'worker_threads' ? 'processors' : shown(value)
    return `| \`${path}\` | ${given} | \`${variableOf(path)}\` | ${about} |`
  })
  return ['| setting | default | variable | |', '|---|---|---|---|', ...rows].join('\n')
}
