/** Times and durations as clients of the Tempo API write them. */

import { OtlakeError } from '../../base/errors.js'
import { INT64_MAX, parseDuration } from '../traceql/durations.js'

const SECOND = 1_000_000_000n
/** Digits of a date in seconds, up to the year 5138, and in milliseconds; longer ones are nanoseconds. */
const SECONDS_DIGITS = 11
const MILLISECONDS_DIGITS = 14

/**
 * Nanoseconds since 1970 of seconds (with a fraction or without), milliseconds or nanoseconds, told
 * apart by their size, or of an RFC 3339 date. Throws `HTTP_MALFORMED`.
 */
export function parseTime(name: string, text: string): bigint {
  const [, whole = '', fraction = ''] = /^(\d{1,19})(?:\.(\d+))?$/.exec(text) ?? []
  if (whole !== '') {
    const unit =
      whole.length <= SECONDS_DIGITS
        ? SECOND
        : whole.length <= MILLISECONDS_DIGITS
          ? SECOND / 1000n
          : 1n
    const part = BigInt(fraction.slice(0, 18).padEnd(18, '0'))
    return inRange(name, text, BigInt(whole) * unit + (part * unit) / 10n ** 18n)
  }
  const [, date = '', digits = '', zone = ''] =
    /^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)$/.exec(text) ?? []
  const milliseconds = Date.parse(`${date}${zone}`.toUpperCase())
  if (Number.isNaN(milliseconds) || milliseconds < 0) throw bad(name, text)
  const nanoseconds = BigInt(digits.slice(0, 9).padEnd(9, '0'))
  return inRange(name, text, BigInt(milliseconds) * (SECOND / 1000n) + nanoseconds)
}

function inRange(name: string, text: string, nanoseconds: bigint): bigint {
  if (nanoseconds > INT64_MAX) throw bad(name, text)
  return nanoseconds
}

function bad(name: string, text: string): OtlakeError {
  const forms = 'seconds or nanoseconds since 1970, or RFC 3339 as in 2026-01-31T12:00:00Z'
  return new OtlakeError('HTTP_MALFORMED', `\`${name}=${text}\` is no time: write ${forms}`)
}

/** Nanoseconds of `15s`, `1h30m`, or of a number of seconds. Throws `HTTP_MALFORMED`. */
export function parseLength(name: string, text: string): bigint {
  const isPlain = /^\d{1,10}(?:\.\d+)?$/.test(text)
  const nanoseconds = parseDuration(isPlain ? `${text}s` : text)
  if (nanoseconds !== null && nanoseconds > 0n) return nanoseconds
  throw new OtlakeError(
    'HTTP_MALFORMED',
    `\`${name}=${text}\` is no length of time: write 15s, 5m or 1h`,
  )
}

/** How many steps a range has where the client names none, about. */
const STEPS = 240n
/** Lengths of steps, longest first, that look right on an axis of time. */
const GRANULARITIES = [3600n, 300n, 60n, 15n, 5n, 1n].map((seconds) => seconds * SECOND)

/** The step of a range where the client names none: whole seconds, minutes or hours. */
export function defaultStep(start: bigint, end: bigint): bigint {
  const wanted = (end - start) / STEPS
  const granularity = GRANULARITIES.find((each) => wanted >= each) ?? SECOND
  const step = (wanted / granularity) * granularity
  return step > 0n ? step : SECOND
}
