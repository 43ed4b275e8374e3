/** How numbers are written. */

const DURATIONS: [number, string][] = [
  [86_400e9, 'd'],
  [3600e9, 'h'],
  [60e9, 'min'],
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
  [1, 'ns'],
]

/** Nanoseconds in the unit that suits them, with three digits: `1.23 ms`. */
export function formatDuration(ns: number): string {
  if (!Number.isFinite(ns)) return '–'
  if (ns === 0) return '0'
  const size = Math.abs(ns)
  const [unit, name] = DURATIONS.find(([least]) => size >= least) ?? [1, 'ns']
  return `${digits(ns / unit)} ${name}`
}

const COUNTS: [number, string][] = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e4, 'k'],
]

/** A count, shortened from ten thousand on: `12.3k`. */
export function formatCount(value: number): string {
  if (!Number.isFinite(value)) return '–'
  const [unit, name] = COUNTS.find(([least]) => Math.abs(value) >= least) ?? [1, '']
  return unit === 1e4 ? `${digits(value / 1000)}k` : `${digits(value / unit)}${name}`
}

const BYTES = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return '–'
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), BYTES.length - 1)
  return `${digits(bytes / 1024 ** power)} ${BYTES[power]}`
}

export const formatPercent = (share: number): string =>
  Number.isFinite(share) ? `${digits(share * 100)}%` : '–'

/** A number with three digits that count, and no zeros behind them. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en').replaceAll(',', ' ')
  return String(Number(value.toPrecision(3)))
}

/** How often, of a thing counted by the second. */
export const formatRate = (perSecond: number): string =>
  perSecond > 0 && perSecond < 0.1 ? `${digits(perSecond * 60)}/min` : `${formatCount(perSecond)}/s`
