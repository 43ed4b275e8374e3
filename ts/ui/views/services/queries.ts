/** What the view of services asks: rate, errors and durations of services and operations, and their calls. */

import { joined, raw, rows, type Statement, sql, stepOf, within } from '../../api/sql'
import { niceStep, type Range, stepsOf } from '../../state/time'

/** Points of a small plot. */
const POINTS = 40
/** How long before the range a parent may have begun. */
const PARENT_MS = 3_600_000
const MOST_ROWS = 5000

export interface Figures {
  calls: number
  errors: number
  /** Nanoseconds. */
  p50: number | null
  p95: number | null
  p99: number | null
}

export interface Named extends Figures {
  name: string
  kind?: number
  /** By the step; null where there was no call. */
  series: { rate: number[]; errors: number[]; p50: Line; p95: Line; p99: Line }
}
type Line = (number | null)[]

interface Row extends Figures {
  name: string
  kind?: number
  step: number
}

const FIGURES = raw(`count(*) AS calls, count(*) FILTER (WHERE status_code = 2) AS errors,
  approx_percentile_cont(duration_ns, 0.5) AS p50,
  approx_percentile_cont(duration_ns, 0.95) AS p95,
  approx_percentile_cont(duration_ns, 0.99) AS p99`)

/** What comes from outside: spans of servers and consumers, and roots. */
const ENTRY = '(kind IN (2, 5) OR parent_span_id IS NULL)'

/** Services with their figures, of the spans that come from outside; of all where a service has none. */
export async function loadServices(range: Range, signal?: AbortSignal): Promise<Named[]> {
  const inRange = within('start_time_unix_nano', range)
  const known = await rows<{ service_name: string; entries: number }>(
    sql`SELECT service_name, count(*) FILTER (WHERE ${raw(ENTRY)}) AS entries
      FROM spans WHERE ${inRange} GROUP BY 1`,
    signal,
  )
  const without = known.filter(({ entries }) => Number(entries) === 0)
  const conditions = [
    sql`${raw(ENTRY)}`,
    ...without.map((each) => sql`service_name = ${each.service_name}`),
  ]
  const where = sql`${inRange} AND (${joined(conditions, 'OR')})`
  return figures(['service_name'], where, range, signal)
}

/** The operations of a service. */
export const loadOperations = (
  service: string,
  range: Range,
  signal?: AbortSignal,
): Promise<Named[]> =>
  figures(
    ['name', 'kind'],
    sql`${within('start_time_unix_nano', range)} AND service_name = ${service}`,
    range,
    signal,
  )

async function figures(
  by: string[],
  where: Statement,
  range: Range,
  signal?: AbortSignal,
): Promise<Named[]> {
  const stepS = niceStep(range, POINTS)
  const step = stepOf('start_time_unix_nano', stepS)
  const columns = raw(by.map((name, index) => (index === 0 ? `${name} AS name` : name)).join(', '))
  const groups = raw(by.join(', '))
  const [all, steps] = await Promise.all([
    rows<Row>(
      sql`SELECT ${columns}, ${FIGURES} FROM spans WHERE ${where} GROUP BY ${groups}
        ORDER BY calls DESC LIMIT ${MOST_ROWS}`,
      signal,
    ),
    rows<Row>(
      sql`SELECT ${step} AS step, ${columns}, ${FIGURES} FROM spans WHERE ${where}
        GROUP BY 1, ${groups} ORDER BY 1`,
      signal,
    ),
  ])
  return withSeries(all, steps, range, stepS)
}

/** Each with its series: a step that no row tells of had no call. */
export function withSeries(
  all: Omit<Row, 'step'>[],
  steps: Row[],
  range: Range,
  stepS: number,
): Named[] {
  const times = stepsOf(range, stepS)
  const key = ({ name, kind }: { name: string; kind?: number }) => `${kind ?? ''} ${name}`
  const byKey = new Map<string, Map<number, Row>>()
  for (const row of steps) {
    const known = byKey.get(key(row)) ?? new Map<number, Row>()
    byKey.set(key(row), known.set(Number(row.step), row))
  }
  return all.map((row) => {
    const own = byKey.get(key(row))
    const line = (of: (row: Row) => number | null) =>
      times.map((at) => {
        const there = own?.get(at)
        return there ? of(there) : null
      })
    return {
      ...row,
      series: {
        rate: line(({ calls }) => calls / stepS).map((value) => value ?? 0),
        errors: line(({ calls, errors }) => errors / calls).map((value) => value ?? 0),
        p50: line(({ p50 }) => p50),
        p95: line(({ p95 }) => p95),
        p99: line(({ p99 }) => p99),
      },
    }
  })
}

export interface Edge {
  source: string
  target: string
  /** A service, or what a client span names: a database, a destination of messages. */
  isService: boolean
  calls: number
  errors: number
  p95: number | null
}

/** Who calls whom: parents and children of different services, and the systems that clients name. */
export async function loadEdges(range: Range, signal?: AbortSignal): Promise<Edge[]> {
  const before = { from: range.from - PARENT_MS, to: range.to }
  const calls = raw(`count(*) AS calls, count(*) FILTER (WHERE c.status_code = 2) AS errors,
    approx_percentile_cont(c.duration_ns, 0.95) AS p95`)
  const [services, systems] = await Promise.all([
    rows<Omit<Edge, 'isService'>>(
      sql`SELECT p.service_name AS source, c.service_name AS target, ${calls}
        FROM spans c JOIN spans p ON c.trace_id = p.trace_id AND c.parent_span_id = p.span_id
        WHERE ${within('c.start_time_unix_nano', range)}
          AND ${within('p.start_time_unix_nano', before)} AND c.service_name <> p.service_name
        GROUP BY 1, 2 LIMIT ${MOST_ROWS}`,
      signal,
    ),
    rows<Omit<Edge, 'isService'>>(
      sql`SELECT c.service_name AS source,
          coalesce(c.db_system_name, c.messaging_destination_name) AS target, ${calls}
        FROM spans c WHERE ${within('c.start_time_unix_nano', range)} AND c.kind IN (3, 4)
          AND coalesce(c.db_system_name, c.messaging_destination_name) IS NOT NULL
        GROUP BY 1, 2 LIMIT ${MOST_ROWS}`,
      signal,
    ),
  ])
  return [
    ...services.map((edge) => ({ ...edge, isService: true })),
    ...systems.map((edge) => ({ ...edge, isService: false })),
  ]
}
