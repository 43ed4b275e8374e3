/** What the view of logs asks. */

import { joined, raw, rows, type Statement, sql, stepOf, within } from '../../api/sql'
import type { Range } from '../../state/time'
import { BANDS, type Band, NUMBERS, severityBand } from './severity'

export interface LogRow {
  at: string | number
  severity_number: number
  severity_text: string | null
  service_name: string
  event_name: string | null
  body: string | null
  trace_id: string | null
  span_id: string | null
  attributes: string
  resource_attributes: string
}

/** An attribute that records have, or lack. */
export interface AttributeFilter {
  scope: 'attributes' | 'resource_attributes'
  key: string
  value: string
  isOut: boolean
}

export interface Filter {
  service: string
  text: string
  /** Bands that are shown; none of them means all. */
  bands: Band[]
  trace: string
  attributes: AttributeFilter[]
}

/** The time of a record: its own, or that of its observation. */
const AT = 'coalesce(nullif(time_unix_nano, 0), observed_time_unix_nano)'

export function conditions(filter: Filter, range: Range): Statement {
  const { service, text, bands, trace, attributes } = filter
  const own = within('time_unix_nano', range)
  const seen = within('observed_time_unix_nano', range)
  const all = [sql`((${own}) OR (time_unix_nano = 0 AND ${seen}))`]
  if (service !== '') all.push(sql`service_name = ${service}`)
  if (text !== '') all.push(sql`body ILIKE ${`%${text.replaceAll(/[\\%_]/g, '\\$&')}%`}`)
  if (trace !== '') all.push(sql`trace_id = ${trace}`)
  if (bands.length > 0) {
    const either = bands.map((band) => {
      const [least, most] = NUMBERS[band]
      return sql`severity_number BETWEEN ${least} AND ${most}`
    })
    all.push(sql`(${joined(either, 'OR')})`)
  }
  for (const { scope, key, value, isOut } of attributes) {
    const of = sql`attr(${raw(scope)}, ${key})`
    all.push(isOut ? sql`(${of} IS NULL OR ${of} <> ${value})` : sql`${of} = ${value}`)
  }
  return joined(all, 'AND')
}

/** The newest records that match. */
export const loadLogs = (
  filter: Filter,
  range: Range,
  limit: number,
  signal?: AbortSignal,
): Promise<LogRow[]> =>
  rows<LogRow>(
    sql`SELECT ${raw(AT)} AS at, severity_number, severity_text, service_name, event_name, body,
        trace_id, span_id, attributes, resource_attributes
      FROM logs WHERE ${conditions(filter, range)} ORDER BY 1 DESC LIMIT ${limit}`,
    signal,
  )

export interface Histogram {
  /** Seconds since 1970. */
  times: number[]
  bands: { band: Band; counts: number[] }[]
  total: number
}

/** How many records there are by the step, and by the band of their severity. */
export async function loadHistogram(
  filter: Filter,
  range: Range,
  stepS: number,
  times: number[],
  signal?: AbortSignal,
): Promise<Histogram> {
  const found = await rows<{ step: number; severity_number: number; n: number }>(
    sql`SELECT ${stepOf(AT, stepS)} AS step, severity_number, count(*) AS n
      FROM logs WHERE ${conditions(filter, range)} GROUP BY 1, 2`,
    signal,
  )
  return histogramOf(found, times)
}

/** Counts by band and step; bands without a record are left out. */
export function histogramOf(
  found: { step: number; severity_number: number; n: number }[],
  times: number[],
): Histogram {
  const places = new Map(times.map((at, index) => [at, index]))
  const bands = BANDS.map((band) => ({ band, counts: new Array<number>(times.length).fill(0) }))
  let total = 0
  for (const { step, severity_number, n } of found) {
    const place = places.get(Number(step))
    const counts = bands.find(({ band }) => band === severityBand(severity_number))?.counts
    if (place === undefined || !counts) continue
    counts[place] = (counts[place] ?? 0) + Number(n)
    total += Number(n)
  }
  return { times, bands: bands.filter(({ counts }) => counts.some((n) => n > 0)), total }
}

/** Services that logged in a range. */
export async function loadServiceNames(range: Range, signal?: AbortSignal): Promise<string[]> {
  const found = await rows<{ service_name: string }>(
    sql`SELECT DISTINCT service_name FROM logs WHERE ${within('time_unix_nano', range)}
      ORDER BY 1 LIMIT 500`,
    signal,
  )
  return found.map(({ service_name }) => service_name)
}

/** Filters as the address has them. */
export function parseFilters(text: string): AttributeFilter[] {
  if (text === '') return []
  try {
    const given = JSON.parse(text) as [string, string, string, boolean][]
    return given.map(([scope, key, value, isOut]) => ({
      scope: scope === 'resource_attributes' ? scope : 'attributes',
      ...{ key: String(key), value: String(value), isOut: isOut === true },
    }))
  } catch {
    return []
  }
}

export const formatFilters = (filters: AttributeFilter[]): string =>
  filters.length === 0
    ? ''
    : JSON.stringify(filters.map(({ scope, key, value, isOut }) => [scope, key, value, isOut]))

/** Whether a record that was just taken matches; its service was filtered before. */
export function matches(filter: Filter, row: LogRow): boolean {
  const { text, bands, trace, attributes, service } = filter
  if (service !== '' && row.service_name !== service) return false
  if (text !== '' && !(row.body ?? '').toLowerCase().includes(text.toLowerCase())) return false
  if (trace !== '' && row.trace_id !== trace) return false
  if (bands.length > 0 && !bands.includes(severityBand(row.severity_number))) return false
  return attributes.every(({ scope, key, value, isOut }) => {
    const given = JSON.parse(row[scope] || '{}') as Record<string, unknown>
    const found = key in given ? given[key] : undefined
    const shown = typeof found === 'string' ? found : JSON.stringify(found)
    return (shown === value) !== isOut
  })
}
