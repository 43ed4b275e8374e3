/** Durations as TraceQL writes them: `1.5s`, `1h30m`, `2d`. */

/** Nanoseconds of each unit; a day has 24 hours and a year 365 days, as in Prometheus. */
const UNITS: Record<string, bigint> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
  d: 86_400_000_000_000n,
  w: 604_800_000_000_000n,
  y: 31_536_000_000_000_000n,
}
const PART = /(\d+)(?:\.(\d+))?(ns|us|µs|μs|ms|s|m|h|d|w|y)/y
export const INT64_MAX = 2n ** 63n - 1n

/** The nanoseconds, a fraction of one cut off; null where the text is no duration of 64 bits. */
export function parseDuration(text: string): bigint | null {
  let sum = 0n
  PART.lastIndex = 0
  while (PART.lastIndex < text.length || text === '') {
    const match = PART.exec(text)
    if (match === null) return null
    const [, whole = '', fraction = '', unit = ''] = match
    const size = UNITS[unit] ?? 0n
    sum += BigInt(whole) * size + (BigInt(`0${fraction}`) * size) / 10n ** BigInt(fraction.length)
    if (sum > INT64_MAX) return null
  }
  return sum
}

const SHOWN = ['h', 'm', 's', 'ms', 'us', 'ns']

/** The shortest text that `parseDuration` reads as the same; of a negative one without its sign. */
export function printDuration(nanoseconds: bigint): string {
  const size = nanoseconds < 0n ? -nanoseconds : nanoseconds
  const unit = size === 0n ? 's' : SHOWN.find((each) => size % (UNITS[each] ?? 1n) === 0n)
  return `${size / (UNITS[unit ?? 'ns'] ?? 1n)}${unit}`
}
