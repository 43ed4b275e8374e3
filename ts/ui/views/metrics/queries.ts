/** What the view of metrics asks: names, keys to group by, series, exemplars. */

import { nanos, raw, rows, type Statement, sql, stepOf, within } from '../../api/sql'
import type { Range } from '../../state/time'
import { counted, type Point, quantileOf } from './histograms'

export type Kind = 'gauge' | 'sum' | 'histogram' | 'exponential_histogram' | 'summary'
export const KINDS: Kind[] = ['gauge', 'sum', 'histogram', 'exponential_histogram', 'summary']

export interface Metric {
  kind: Kind
  name: string
  unit: string | null
  description: string | null
  series: number
  /** 2: cumulative. */
  temporality: number | null
  monotonic: boolean | null
}

/** Names with what is told of them, of all five tables. */
export async function loadNames(
  service: string,
  range: Range,
  signal?: AbortSignal,
): Promise<Metric[]> {
  const of = (kind: Kind) => {
    const temporality = ['gauge', 'summary'].includes(kind)
      ? 'NULL'
      : 'max(aggregation_temporality)'
    const monotonic = kind === 'sum' ? 'bool_or(is_monotonic)' : 'NULL'
    const where = sql`${within('time_unix_nano', range)}${service ? sql` AND service_name = ${service}` : raw('')}`
    return rows<Metric>(
      sql`SELECT ${kind} AS kind, name, max(unit) AS unit, max(description) AS description,
          count(DISTINCT series_id) AS series, ${raw(temporality)} AS temporality,
          ${raw(monotonic)} AS monotonic
        FROM ${raw(`metrics_${kind}`)} WHERE ${where} GROUP BY name`,
      signal,
    )
  }
  const all = (await Promise.all(KINDS.map(of))).flat()
  return all.sort((a, b) => a.name.localeCompare(b.name))
}

/** Points that are looked at for the keys of their attributes. */
const KEY_POINTS = 10_000

/** Keys of a metric's attributes. */
export async function loadKeys(
  { kind, name }: Pick<Metric, 'kind' | 'name'>,
  range: Range,
  signal?: AbortSignal,
): Promise<string[]> {
  const found = await rows<{ key: string }>(
    sql`SELECT DISTINCT unnest(keys) AS key FROM (SELECT attr_keys(attributes) AS keys
        FROM ${raw(`metrics_${kind}`)} WHERE name = ${name} AND ${within('time_unix_nano', range)}
        LIMIT ${KEY_POINTS}) ORDER BY 1`,
    signal,
  )
  return ['service.name', ...found.map(({ key }) => key)]
}

/** What can be drawn of a kind; the first is what is drawn unless another is chosen. */
export const FUNCTIONS: Record<Kind, [string, string][]> = {
  gauge: [
    ['avg', 'average'],
    ['min', 'least'],
    ['max', 'greatest'],
    ['sum', 'sum of the series'],
  ],
  sum: [
    ['rate', 'rate by the second'],
    ['increase', 'increase by the step'],
    ['value', 'value'],
  ],
  histogram: [
    ['quantiles', 'p50, p95, p99'],
    ['avg', 'average'],
    ['rate', 'count by the second'],
  ],
  exponential_histogram: [
    ['quantiles', 'p50, p95, p99'],
    ['avg', 'average'],
    ['rate', 'count by the second'],
  ],
  summary: [
    ['quantiles', 'quantiles as they were sent'],
    ['avg', 'average'],
  ],
}

export interface Asked {
  metric: Pick<Metric, 'kind' | 'name'>
  function: string
  /** A key of attributes; empty: one series. */
  by: string
  service: string
}

/** Values by series and step, in seconds since 1970. */
export type Lines = Map<string, Map<number, number>>

/** Points that one plot of histograms reads. */
export const MOST_POINTS = 100_000

/** The series to draw. */
export async function loadLines(
  asked: Asked,
  range: Range,
  stepS: number,
  signal?: AbortSignal,
): Promise<Lines> {
  switch (asked.metric.kind) {
    case 'gauge':
      return gaugeLines(asked, range, stepS, signal)
    case 'sum':
      return sumLines(asked, range, stepS, signal)
    case 'summary':
      return summaryLines(asked, range, stepS, signal)
    default:
      return histogramLines(asked, range, stepS, signal)
  }
}

function groupOf({ by }: Asked): Statement {
  if (by === '') return sql`''`
  if (by === 'service.name') return sql`coalesce(service_name, '')`
  return sql`coalesce(attr(attributes, ${by}), '(not there)')`
}

function whereOf({ metric, service }: Asked, range: Range): Statement {
  const own = sql`name = ${metric.name} AND ${within('time_unix_nano', range)}`
  return service === '' ? own : sql`${own} AND service_name = ${service}`
}

interface Value {
  step: number
  g: string
  value: number | null
}

function linesOf(values: Value[]): Lines {
  const lines: Lines = new Map()
  for (const { step, g, value } of values) {
    if (value === null) continue
    const line = lines.get(g) ?? new Map<number, number>()
    lines.set(g, line.set(Number(step), Number(value)))
  }
  return lines
}

async function gaugeLines(asked: Asked, range: Range, stepS: number, signal?: AbortSignal) {
  const step = stepOf('time_unix_nano', stepS)
  // A sum is of the newest value of each series; other figures are of all that was measured.
  if (asked.function === 'sum') return latestSum(asked, range, stepS, signal)
  const of = raw({ min: 'min', max: 'max' }[asked.function] ?? 'avg')
  return linesOf(
    await rows<Value>(
      sql`SELECT ${step} AS step, ${groupOf(asked)} AS g, ${of}(value) AS value
        FROM metrics_gauge WHERE ${whereOf(asked, range)} GROUP BY 1, 2 ORDER BY 1`,
      signal,
    ),
  )
}

async function latestSum(asked: Asked, range: Range, stepS: number, signal?: AbortSignal) {
  const step = stepOf('time_unix_nano', stepS)
  const table = raw(`metrics_${asked.metric.kind}`)
  return linesOf(
    await rows<Value>(
      sql`SELECT step, g, sum(value) AS value FROM (
          SELECT ${step} AS step, ${groupOf(asked)} AS g, series_id,
            last_value(value ORDER BY time_unix_nano) AS value
          FROM ${table} WHERE ${whereOf(asked, range)} GROUP BY 1, 2, 3)
        GROUP BY 1, 2 ORDER BY 1`,
      signal,
    ),
  )
}

/** How long before the range a counter's last value is looked for. */
const BEFORE_MS = 300_000

async function sumLines(asked: Asked, range: Range, stepS: number, signal?: AbortSignal) {
  if (asked.function === 'value') return latestSum(asked, range, stepS, signal)
  const wide = { from: range.from - BEFORE_MS, to: range.to }
  const over = raw('OVER (PARTITION BY series_id ORDER BY time_unix_nano)')
  // A rate is of the time between the points of each series, which a step may be shorter than.
  const of = raw(
    asked.function === 'rate' ? 'sum(increase) / nullif(sum(seconds), 0)' : 'sum(increase)',
  )
  // A counter that shrank or has another start began anew, and what it has is what it grew by. Of one
  // that began within the range the first value is.
  return linesOf(
    await rows<Value>(
      sql`SELECT step, g, sum(value) AS value FROM (SELECT ${stepOf('at', stepS)} AS step, g,
          series_id, ${of} AS value FROM (
          SELECT at, g, series_id, (at - coalesce(before_at, began)) / 1e9 AS seconds, CASE
            WHEN temporality = 1 THEN value
            WHEN before IS NULL THEN CASE WHEN began >= ${nanos(range.from)} THEN value END
            WHEN value < before OR began <> began_before THEN value
            ELSE value - before END AS increase
          FROM (SELECT time_unix_nano AS at, ${groupOf(asked)} AS g, series_id, value,
              aggregation_temporality AS temporality, start_time_unix_nano AS began,
              lag(value) ${over} AS before, lag(time_unix_nano) ${over} AS before_at,
              lag(start_time_unix_nano) ${over} AS began_before
            FROM metrics_sum WHERE ${whereOf(asked, wide)}))
        WHERE ${within('at', range)} AND increase IS NOT NULL GROUP BY 1, 2, 3)
        GROUP BY 1, 2 ORDER BY 1`,
      signal,
    ),
  )
}

const QUANTILES = [0.5, 0.95, 0.99]

async function histogramLines(asked: Asked, range: Range, stepS: number, signal?: AbortSignal) {
  const { kind } = asked.metric
  const columns = raw(
    kind === 'histogram'
      ? 'bucket_counts, explicit_bounds'
      : 'scale, zero_count, positive_offset, positive_bucket_counts, negative_offset, negative_bucket_counts',
  )
  const wide = { from: range.from - BEFORE_MS, to: range.to }
  const points = await rows<Point>(
    sql`SELECT series_id, ${groupOf(asked)} AS "group", time_unix_nano AS at,
        start_time_unix_nano AS began, aggregation_temporality AS temporality, count, sum, ${columns}
      FROM ${raw(`metrics_${kind}`)} WHERE ${whereOf(asked, wide)}
      ORDER BY series_id, time_unix_nano LIMIT ${MOST_POINTS + 1}`,
    signal,
  )
  if (points.length > MOST_POINTS) {
    throw new Error(
      `These are more than ${MOST_POINTS} points: choose a shorter range, or one service.`,
    )
  }
  const lines: Lines = new Map()
  const set = (name: string, step: number, value: number | null) => {
    if (value === null || step * 1000 < range.from - stepS * 1000) return
    const line = lines.get(name) ?? new Map<number, number>()
    lines.set(name, line.set(step, value))
  }
  for (const [group, steps] of counted(points, stepS)) {
    for (const [step, of] of steps) {
      if (asked.function === 'rate') set(group, step, of.count / stepS)
      else if (asked.function === 'avg') set(group, step, of.count > 0 ? of.sum / of.count : null)
      else {
        for (const quantile of QUANTILES) {
          const name = `${group}${group && ' '}p${quantile * 100}`
          set(name, step, quantileOf(of, quantile))
        }
      }
    }
  }
  return lines
}

async function summaryLines(asked: Asked, range: Range, stepS: number, signal?: AbortSignal) {
  const step = stepOf('time_unix_nano', stepS)
  if (asked.function === 'avg') {
    return linesOf(
      await rows<Value>(
        sql`SELECT ${step} AS step, ${groupOf(asked)} AS g, sum(sum) / nullif(sum(count), 0) AS value
          FROM metrics_summary WHERE ${whereOf(asked, range)} GROUP BY 1, 2 ORDER BY 1`,
        signal,
      ),
    )
  }
  return linesOf(
    await rows<Value>(
      sql`SELECT step, concat(g, CASE WHEN g = '' THEN '' ELSE ' ' END, 'p', q['quantile'] * 100) AS g,
          avg(q['value']) AS value
        FROM (SELECT ${step} AS step, ${groupOf(asked)} AS g, unnest(quantile_values) AS q
          FROM metrics_summary WHERE ${whereOf(asked, range)})
        GROUP BY 1, 2 ORDER BY 1`,
      signal,
    ),
  )
}

export interface Exemplar {
  at: string | number
  value: number
  trace_id: string
  span_id: string | null
}

const MOST_EXEMPLARS = 500

/** Measurements that name the trace they were made in. */
export function loadExemplars(
  asked: Asked,
  range: Range,
  signal?: AbortSignal,
): Promise<Exemplar[]> {
  if (asked.metric.kind === 'summary') return Promise.resolve([])
  return rows<Exemplar>(
    sql`SELECT e['time_unix_nano'] AS at, coalesce(e['value'], CAST(e['value_int'] AS DOUBLE)) AS value,
        e['trace_id'] AS trace_id, e['span_id'] AS span_id
      FROM (SELECT unnest(exemplars) AS e FROM ${raw(`metrics_${asked.metric.kind}`)}
        WHERE ${whereOf(asked, range)})
      WHERE e['trace_id'] IS NOT NULL ORDER BY 1 DESC LIMIT ${MOST_EXEMPLARS}`,
    signal,
  )
}
