/** Time ranges: relative (`now-1h`) and absolute (RFC 3339, or milliseconds), and how times are written. */

/** Milliseconds since 1970. */
export interface Range {
  from: number
  to: number
}

const UNITS: Record<string, number> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** Ranges that the picker offers, and their names. */
export const PRESETS: [string, string][] = [
  ['now-5m', 'Last 5 minutes'],
  ['now-15m', 'Last 15 minutes'],
  ['now-1h', 'Last hour'],
  ['now-6h', 'Last 6 hours'],
  ['now-24h', 'Last 24 hours'],
  ['now-2d', 'Last 2 days'],
  ['now-7d', 'Last 7 days'],
  ['now-30d', 'Last 30 days'],
]
export const DEFAULT_FROM = 'now-1h'
export const DEFAULT_TO = 'now'
/** How often a view loads again, by what the address says. */
export const REFRESHES = ['', '5s', '10s', '30s', '1m', '5m']

/** Milliseconds since 1970 of `now`, `now-15m`, RFC 3339 or milliseconds; null where it is none of them. */
export function parseTime(text: string, now: number): number | null {
  const trimmed = text.trim()
  const relative = /^now(?:\s*([+-])\s*(\d+(?:\.\d+)?)\s*([smhdw]))?$/i.exec(trimmed)
  if (relative) {
    const [, sign, amount, unit = ''] = relative
    const length = amount === undefined ? 0 : Number(amount) * (UNITS[unit.toLowerCase()] ?? 0)
    return sign === '-' ? now - length : now + length
  }
  if (/^\d{12,14}$/.test(trimmed)) return Number(trimmed)
  if (!/^\d{4}-\d\d-\d\d/.test(trimmed)) return null
  const parsed = Date.parse(trimmed)
  return Number.isNaN(parsed) ? null : parsed
}

/** The range of an address; null where it is no range. */
export function parseRange(from: string, to: string, now: number): Range | null {
  const range = { from: parseTime(from, now), to: parseTime(to, now) }
  if (range.from === null || range.to === null || range.from >= range.to) return null
  return { from: range.from, to: range.to }
}

/** Milliseconds of `10s`, `1m`; null where it is no length. */
export function parseLength(text: string): number | null {
  const [, amount, unit = ''] = /^(\d+)([smhdw])$/.exec(text) ?? []
  return amount === undefined ? null : Number(amount) * (UNITS[unit] ?? 0)
}

/** What the picker's button says. */
export function rangeName(from: string, to: string, zone: string): string {
  const preset = PRESETS.find(([value]) => value === from)
  if (preset && to === 'now') return preset[1]
  if (/^now/i.test(from) || /^now/i.test(to)) return `${from} to ${to}`
  const ends = [from, to].map((text) => parseTime(text, 0))
  return ends.map((at) => (at === null ? '?' : formatTime(at, zone, 'seconds'))).join(' – ')
}

const NICE_STEPS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
  172_800, 604_800, 2_592_000,
]

/** A step, in seconds, that cuts a range into about `wanted` parts and falls on round times. */
export function niceStep({ from, to }: Range, wanted: number): number {
  const least = (to - from) / 1000 / wanted
  return NICE_STEPS.find((step) => step >= least) ?? Math.ceil(least / 86_400) * 86_400
}

/** The beginnings of a range's steps, on multiples of the step; in seconds. */
export function stepsOf({ from, to }: Range, stepS: number): number[] {
  const first = Math.floor(from / 1000 / stepS) * stepS
  const steps: number[] = []
  for (let at = first; at * 1000 < to; at += stepS) steps.push(at)
  return steps
}

const formatters = new Map<string, Intl.DateTimeFormat>()

/** A date and time in a zone, `2026-01-31 12:00:00.123`. */
export function formatTime(
  ms: number,
  zone: string,
  precision: 'minutes' | 'seconds' | 'milliseconds' = 'milliseconds',
): string {
  if (!Number.isFinite(ms) || Math.abs(ms) > 8.64e15) return '–'
  const key = `${zone} ${precision}`
  let formatter = formatters.get(key)
  if (!formatter) {
    formatter = new Intl.DateTimeFormat('sv-SE', {
      timeZone: zone,
      ...{ year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit' },
      ...(precision === 'minutes' ? {} : { second: '2-digit' }),
      ...(precision === 'milliseconds' ? { fractionalSecondDigits: 3 } : {}),
    } as Intl.DateTimeFormatOptions)
    formatters.set(key, formatter)
  }
  return formatter.format(ms).replace(',', '.')
}

/** Whether the browser knows the zone. */
export function isZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone })
    return true
  } catch {
    return false
  }
}
