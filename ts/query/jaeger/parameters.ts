/** What clients of Jaeger's query API send in the query of a URL. Everything throws `HTTP_MALFORMED`. */

import type { Clock } from '../../base/clock.js'
import { parseTime } from '../tempo/times.js'
import { INT64_MAX, parseDuration } from '../traceql/durations.js'
import type { SpanKind } from '../tree.js'
import { malformed } from './failure.js'
import { SPAN_KINDS, type TraceSearch } from './search.js'

const MICROSECOND = 1000n
export const MILLISECOND = 1_000_000n
const HOUR = 3600n * 1_000_000_000n
/** Traces of a search without a `limit`, as Jaeger has it. */
const DEFAULT_TRACES = 100
/** Traces of one answer (I5): the most that Jaeger's UI lets its user ask for. */
export const MAX_TRACES = 1500
/** How far a search without a `start` goes back, as Jaeger has it. */
const DEFAULT_LOOKBACK = 48n * HOUR
/** How far dependencies go back without a `lookback`. */
const DEFAULT_DEPENDENCIES = 24n * HOUR

export interface Range {
  startNs: bigint
  endNs: bigint
}

/** What a client sent. */
export type Given = Pick<URLSearchParams, 'get' | 'getAll'>

/** `service`, `operation`, `tag`, `tags`, `start`, `end`, `lookback`, `minDuration`, `maxDuration`, `limit`. */
export function readSearch(given: Given, clock: Clock): TraceSearch {
  const service = given.get('service')
  if (!service) throw malformed("parameter 'service' is required")
  return {
    service,
    operation: given.get('operation') || null,
    tags: readTags(given),
    ...searchRange(given, clock),
    ...durations('minDuration', 'maxDuration', given),
    limit: readLimit('limit', given.get('limit')),
  }
}

/** The same as version 3 of the API names it; times are RFC 3339. */
export function readSearchV3(given: Given): TraceSearch {
  const [from, to] = [given.get('query.start_time_min'), given.get('query.start_time_max')]
  if (!from || !to) {
    throw malformed('query.start_time_min and query.start_time_max are required')
  }
  const attributes = given.get('query.attributes')
  const limit = given.get('query.search_depth') || given.get('query.num_traces')
  return {
    service: given.get('query.service_name') || null,
    operation: given.get('query.operation_name') || null,
    tags: new Map(attributes ? readTagMap('query.attributes', attributes) : []),
    ...inOrder({
      startNs: parseTime('query.start_time_min', from),
      endNs: parseTime('query.start_time_max', to),
    }),
    ...durations('query.duration_min', 'query.duration_max', given),
    limit: readLimit('query.search_depth', limit),
  }
}

/** `endTs` and `lookback`, milliseconds. */
export function dependenciesRange(given: Given, clock: Clock): Range {
  return lookedBack(given, clock, DEFAULT_DEPENDENCIES)
}

/** What ends at `endTs` and is `lookback` long, in milliseconds. */
export function lookedBack(given: Given, clock: Clock, otherwise: bigint): Range {
  const endNs = units('endTs', given.get('endTs'), MILLISECOND) ?? now(clock)
  const length = units('lookback', given.get('lookback'), MILLISECOND) ?? otherwise
  return inOrder({ startNs: length > endNs ? 0n : endNs - length, endNs })
}

/** Ids of traces as Jaeger writes them: those of 64 bits with 16 digits, or fewer. */
export function readTraceId(text: string): string {
  if (/^[0-9a-f]{1,32}$/i.test(text) && /[^0]/.test(text)) {
    return text.toLowerCase().padStart(32, '0')
  }
  throw malformed(`\`${text}\` is no trace id: write its 16 or 32 hexadecimal digits, not all zero`)
}

/** The kind, null for any. */
export function readKind(name: string, text: string | null): SpanKind | null {
  if (!text) return null
  const wanted = text.toLowerCase().replace(/^span_kind_/, '')
  const kind = SPAN_KINDS.find((each) => each === wanted)
  if (kind) return kind
  const known = SPAN_KINDS.join(', ')
  throw malformed(`unable to parse param '${name}': \`${text}\` is no kind: write one of ${known}`)
}

/** A whole number of units as nanoseconds; null where nothing was sent. */
export function units(name: string, text: string | null, unit: bigint): bigint | null {
  if (!text) return null
  const number = /^\d{1,19}$/.test(text) ? BigInt(text) * unit : INT64_MAX + 1n
  if (number <= INT64_MAX) return number
  throw malformed(`unable to parse param '${name}': \`${text}\` is no whole number that fits`)
}

export function readLimit(name: string, text: string | null): number {
  if (!text || text === '0') return DEFAULT_TRACES
  const limit = Number(text)
  if (Number.isInteger(limit) && limit > 0 && limit <= MAX_TRACES) return limit
  throw malformed(
    `unable to parse param '${name}': \`${text}\` is no number from 1 to ${MAX_TRACES}`,
  )
}

export function inOrder(range: Range): Range {
  if (range.startNs < range.endNs) return range
  throw malformed('the start is not before the end')
}

export function now(clock: Clock): bigint {
  return BigInt(clock.now()) * MILLISECOND
}

/** Microseconds; what has no `start` begins `lookback` before its end. */
function searchRange(given: Given, clock: Clock): Range {
  const endNs = units('end', given.get('end'), MICROSECOND) ?? now(clock)
  const startNs = units('start', given.get('start'), MICROSECOND)
  if (startNs !== null) return inOrder({ startNs, endNs })
  const lookback = given.get('lookback')
  // The UI sends this word where its user chose the times.
  const length =
    lookback && lookback !== 'custom' ? readDuration('lookback', lookback) : DEFAULT_LOOKBACK
  return inOrder({ startNs: length > endNs ? 0n : endNs - length, endNs })
}

function durations(
  min: string,
  max: string,
  given: Given,
): Pick<TraceSearch, 'minDurationNs' | 'maxDurationNs'> {
  const [from, to] = [given.get(min), given.get(max)]
  // 0 is no bound, as Jaeger has it.
  const minDurationNs = (from && readDuration(min, from)) || null
  const maxDurationNs = (to && readDuration(max, to)) || null
  if (minDurationNs && maxDurationNs && maxDurationNs < minDurationNs) {
    throw malformed(`'${max}' should be greater than '${min}'`)
  }
  return { minDurationNs, maxDurationNs }
}

/** A duration as Go writes it. */
function readDuration(name: string, text: string): bigint {
  const duration = text === '0' ? 0n : parseDuration(text)
  if (duration !== null) return duration
  throw malformed(
    `unable to parse param '${name}': \`${text}\` is no duration: write 100us, 1.5ms or 2s`,
  )
}

/** `tag=key:value` and `tags={"key":"value"}`, each as often as a client likes. */
function readTags(given: Given): Map<string, string> {
  const tags = new Map<string, string>()
  for (const text of given.getAll('tag')) {
    const at = text.indexOf(':')
    if (at < 1) {
      throw malformed(`malformed 'tag' parameter, expecting key:value, received: ${text}`)
    }
    tags.set(text.slice(0, at), text.slice(at + 1))
  }
  for (const text of given.getAll('tags')) {
    if (text === '') continue
    for (const [key, value] of readTagMap('tags', text)) tags.set(key, value)
  }
  return tags
}

function readTagMap(name: string, text: string): [string, string][] {
  let read: unknown
  try {
    read = JSON.parse(text)
  } catch {
    throw malformed(`malformed '${name}' parameter, cannot unmarshal JSON: ${text}`)
  }
  if (typeof read !== 'object' || read === null || Array.isArray(read)) {
    throw malformed(`malformed '${name}' parameter: it is no JSON object of texts`)
  }
  return Object.entries(read).map(([key, value]) => {
    if (typeof value === 'string') return [key, value]
    throw malformed(`malformed '${name}' parameter: the value of \`${key}\` is no text`)
  })
}
