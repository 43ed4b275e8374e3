/** Attributes of a record: each can be copied, and leads to what has the same. */

import { Copy } from './copy'

export interface Attribute {
  key: string
  /** As it is shown: text without quotes, all else as JSON. */
  text: string
  value: unknown
}

/** Reads the JSON of an attribute column; integers beyond 2^53 keep their digits. */
export function readAttributes(json: string | null | undefined): Attribute[] {
  if (!json) return []
  const exact = json.replaceAll(
    /("(?:[^"\\]|\\.)*")|(-?\d{16,})(?![\d.eE])/g,
    (_, text: string | undefined, number: string) => text ?? `"${number}"`,
  )
  let parsed: unknown
  try {
    parsed = JSON.parse(exact)
  } catch {
    return [{ key: '(unreadable)', text: json, value: json }]
  }
  if (typeof parsed !== 'object' || parsed === null) return []
  return Object.entries(parsed)
    .map(([key, value]) => ({ key, value, text: shown(value) }))
    .sort((a, b) => a.key.localeCompare(b.key))
}

function shown(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const [[key, inner] = []] = Object.entries(value)
    if (key === '$double' || key === '$bytes') return String(inner)
  }
  return JSON.stringify(value)
}

export function Attributes({
  title,
  json,
  linkOf,
}: {
  title: string
  json: string | null | undefined
  /** Where a value leads; null: nowhere. */
  linkOf?: (attribute: Attribute) => string | null
}) {
  const attributes = readAttributes(json)
  if (attributes.length === 0) return null
  return (
    <section class="attributes">
      <h3>{title}</h3>
      <table class="table">
        <thead class="unseen">
          <tr>
            <th>Name</th>
            <th>Value</th>
            <th>Actions</th>
          </tr>
        </thead>
        <tbody>
          {attributes.map((each) => {
            const link = linkOf?.(each) ?? null
            return (
              <tr key={each.key}>
                <th scope="row">{each.key}</th>
                <td class="mono">{each.text}</td>
                <td class="actions">
                  {link && (
                    <a href={link} aria-label={`All with ${each.key} = ${each.text}`}>
                      find
                    </a>
                  )}
                  <Copy text={each.text} what={each.key} />
                </td>
              </tr>
            )
          })}
        </tbody>
      </table>
    </section>
  )
}
