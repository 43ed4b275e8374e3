/** The figures that are kept of a node's past, each of what its metrics said at one moment or between two. */

/** Metrics that a figure is made of; all else of an exposition is passed over. */
const WANTED = new Set([
  'otlake_records_acknowledged_total',
  'otlake_records_rejected_total',
  'otlake_requests_refused_total',
  'otlake_ack_duration_seconds_bucket',
  'otlake_request_bytes_total',
  'otlake_flushed_bytes_total',
  'otlake_queries_total',
  'otlake_live_bytes',
  'otlake_log_size_bytes',
  'otlake_table_size_bytes',
])

/** What metrics said at a moment: sums by name, and by name and the one label that matters. */
export interface Reading {
  /** Milliseconds since 1970. */
  at: number
  /** Of the process, in bytes. */
  residentBytes: number
  sums: ReadonlyMap<string, number>
}

/** Of which label a metric's samples are kept apart. */
const APART: Record<string, string> = {
  otlake_records_acknowledged_total: 'signal',
  otlake_ack_duration_seconds_bucket: 'le',
}

/** A sum's place: the metric's name, and the label's value where samples are kept apart. */
const placeOf = (name: string, value: string) => (value === '' ? name : `${name} ${value}`)

/** Reads an exposition in OpenMetrics text. */
export function readingOf(text: string, at: number, residentBytes: number): Reading {
  const sums = new Map<string, number>()
  for (const line of text.split('\n')) {
    const name = /^[a-z_]+/.exec(line)?.[0] ?? ''
    if (!WANTED.has(name)) continue
    const value = Number(/ (\S+)(?: # .*)?$/.exec(line)?.[1] ?? Number.NaN)
    if (!Number.isFinite(value)) continue
    const label = APART[name]
    const apart =
      label === undefined ? '' : (new RegExp(`${label}="([^"]*)"`).exec(line)?.[1] ?? '')
    const place = placeOf(name, apart)
    sums.set(place, (sums.get(place) ?? 0) + value)
  }
  return { at, residentBytes, sums }
}

type Between = (before: Reading, after: Reading) => number | null

/** By how much a counter grew in a second. */
const rate =
  (name: string, value = ''): Between =>
  (before, after) => {
    const seconds = (after.at - before.at) / 1000
    const of = ({ sums }: Reading) => sums.get(placeOf(name, value)) ?? 0
    return seconds > 0 ? Math.max(0, of(after) - of(before)) / seconds : null
  }

/** What a gauge says. */
const value =
  (name: string): Between =>
  (_before, after) =>
    after.sums.get(name) ?? 0

/** A quantile of what a histogram counted, as Prometheus estimates it; null where it counted nothing. */
const quantile =
  (name: string, share: number): Between =>
  (before, after) => {
    const prefix = `${name}_bucket `
    const buckets = [...after.sums]
      .filter(([place]) => place.startsWith(prefix))
      .map(([place, count]): [number, number] => [
        Number(place.slice(prefix.length).replace('+Inf', 'Infinity')),
        count - (before.sums.get(place) ?? 0),
      ])
      .sort(([a], [b]) => a - b)
    const counted = buckets.at(-1)?.[1] ?? 0
    if (counted <= 0) return null
    const rank = share * counted
    let [below, least] = [0, 0]
    for (const [bound, count] of buckets) {
      if (count >= rank) {
        if (bound === Number.POSITIVE_INFINITY) return least
        if (count === below) return bound
        return least + ((bound - least) * (rank - below)) / (count - below)
      }
      below = count
      least = bound
    }
    return least
  }

const ACK = 'otlake_ack_duration_seconds'
const ACKNOWLEDGED = 'otlake_records_acknowledged_total'

/** By their names in the answer. Rates are by the second, and of the time since the sample before. */
export const FIGURES = {
  acknowledgedTraces: rate(ACKNOWLEDGED, 'traces'),
  acknowledgedMetrics: rate(ACKNOWLEDGED, 'metrics'),
  acknowledgedLogs: rate(ACKNOWLEDGED, 'logs'),
  ackP50Seconds: quantile(ACK, 0.5),
  ackP95Seconds: quantile(ACK, 0.95),
  ackP99Seconds: quantile(ACK, 0.99),
  rejectedRecords: rate('otlake_records_rejected_total'),
  refusedRequests: rate('otlake_requests_refused_total'),
  requestBytes: rate('otlake_request_bytes_total'),
  flushedBytes: rate('otlake_flushed_bytes_total'),
  queries: rate('otlake_queries_total'),
  liveBytes: value('otlake_live_bytes'),
  logBytes: value('otlake_log_size_bytes'),
  fileBytes: value('otlake_table_size_bytes'),
  residentBytes: (_before, { residentBytes }) => residentBytes,
} satisfies Record<string, Between>

export type Figure = keyof typeof FIGURES
export const NAMES = Object.keys(FIGURES) as Figure[]
