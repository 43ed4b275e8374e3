/**
 * The address of a view: `#/trace/5b8e…?from=now-1h&to=now`. All that a view shows follows from it, so that
 * whoever opens a copy sees the same. It stands behind the `#` so that the page works below any path.
 */

export interface Address {
  /** `['trace', '5b8e…']` */
  path: string[]
  params: Record<string, string>
}

/** Parameters that stay when one goes from view to view. */
export const KEPT = ['from', 'to', 'tz', 'refresh', 'tenant'] as const

/** Reads a hash as the browser has it, with its `#` or without. What cannot be decoded is dropped. */
export function parseAddress(hash: string): Address {
  const text = hash.replace(/^#/, '')
  const cut = text.indexOf('?')
  const path = cut < 0 ? text : text.slice(0, cut)
  const params: Record<string, string> = {}
  if (cut >= 0) {
    for (const [name, value] of new URLSearchParams(text.slice(cut + 1))) params[name] = value
  }
  return { path: path.split('/').filter(Boolean).flatMap(decoded), params }
}

function decoded(segment: string): string[] {
  try {
    return [decodeURIComponent(segment)]
  } catch {
    return []
  }
}

/** The hash of an address; parameters without a value are left out. */
export function formatAddress({ path, params }: Address): string {
  const given = Object.entries(params).filter(([, value]) => value !== '')
  const query = new URLSearchParams(given).toString()
  return `#/${path.map(encodeURIComponent).join('/')}${query && `?${query}`}`
}

/** The address of another view: of the parameters it keeps those that every view has. */
export function addressOf(
  current: Address,
  path: string[],
  params: Record<string, string> = {},
): string {
  const kept = Object.fromEntries(
    KEPT.filter((name) => current.params[name]).map((name) => [name, current.params[name] ?? '']),
  )
  return formatAddress({ path, params: { ...kept, ...params } })
}
