/** A trace by its id: its spans as Arrow, their logs, events and details. */

import { batches, column, hex } from '../../api/arrow'
import { rows, sql } from '../../api/sql'
import { type Spans, type Trace, traceOf } from './model'

/** The spans of a trace as a tree; empty where there is none. */
export async function loadTrace(id: string, signal?: AbortSignal): Promise<Trace> {
  const all = await read(id, signal)
  return traceOf({
    count: all.ids.length,
    spanId: (index) => all.ids[index] ?? '',
    parentId: (index) => all.parents[index] ?? null,
    name: (index) => all.names[index] ?? '',
    service: (index) => all.services[index] ?? '',
    kind: (index) => all.kinds[index] ?? 0,
    start: (index) => all.starts[index] ?? 0n,
    duration: (index) => all.durations[index] ?? 0,
    status: (index) => all.statuses[index] ?? 0,
    events: (index) => all.events[index] ?? 0,
    links: (index) => all.links[index] ?? 0,
  } satisfies Spans)
}

async function read(id: string, signal?: AbortSignal) {
  const all = {
    ids: [] as string[],
    parents: [] as (string | null)[],
    names: [] as string[],
    services: [] as string[],
    kinds: [] as number[],
    starts: [] as bigint[],
    durations: [] as number[],
    statuses: [] as number[],
    events: [] as number[],
    links: [] as number[],
  }
  const statement = sql`SELECT span_id, parent_span_id, name, service_name, kind,
      start_time_unix_nano, duration_ns, status_code,
      CAST(coalesce(array_length(events), 0) AS INT) AS events,
      CAST(coalesce(array_length(links), 0) AS INT) AS links
    FROM spans WHERE trace_id = ${id}`
  for await (const batch of batches(statement, signal)) {
    const of = (name: string) => column(batch, name)
    const [ids, parents] = [of('span_id'), of('parent_span_id')]
    const [names, services] = [of('name'), of('service_name')]
    const [kinds, statuses] = [of('kind'), of('status_code')]
    const [starts, durations] = [of('start_time_unix_nano'), of('duration_ns')]
    const [events, links] = [of('events'), of('links')]
    for (let index = 0; index < batch.numRows; index++) {
      all.ids.push(hex(ids.get(index)))
      const parent = parents.get(index) as Uint8Array | null
      all.parents.push(parent === null ? null : hex(parent))
      all.names.push(names.get(index) ?? '')
      all.services.push(services.get(index) ?? '')
      all.kinds.push(kinds.get(index))
      all.starts.push(starts.get(index))
      all.durations.push(Number(durations.get(index)))
      all.statuses.push(statuses.get(index))
      all.events.push(Number(events.get(index)))
      all.links.push(Number(links.get(index)))
    }
  }
  return all
}

export interface SpanRow {
  span_id: string
  parent_span_id: string | null
  name: string
  service_name: string
  kind: number
  start_time_unix_nano: string | number
  duration_ns: string | number
  status_code: number
  status_message: string | null
  trace_state: string | null
  attributes: string
  resource_attributes: string
  scope_name: string | null
  scope_version: string | null
  scope_attributes: string
  events: SpanEvent[] | null
  links: SpanLink[] | null
  dropped_attributes_count: number
  dropped_events_count: number
  dropped_links_count: number
}

export interface SpanEvent {
  time_unix_nano: string | number
  name: string
  attributes: string
}

export interface SpanLink {
  trace_id: string
  span_id: string
  attributes: string
}

/** All that is stored of a span; several rows where an id was given twice. */
export const loadSpan = (trace: string, span: string, signal?: AbortSignal): Promise<SpanRow[]> =>
  rows<SpanRow>(sql`SELECT * FROM spans WHERE trace_id = ${trace} AND span_id = ${span}`, signal)

/** Events that are drawn on the bars. */
const MOST_EVENTS = 50_000

export interface EventMark {
  span_id: string
  at: string | number
  name: string
}

export const loadEvents = (trace: string, signal?: AbortSignal): Promise<EventMark[]> =>
  rows<EventMark>(
    sql`SELECT span_id, event['time_unix_nano'] AS at, event['name'] AS name
      FROM (SELECT span_id, unnest(events) AS event FROM spans WHERE trace_id = ${trace})
      LIMIT ${MOST_EVENTS}`,
    signal,
  )

export interface TraceLog {
  at: string | number
  severity_number: number
  severity: string
  service_name: string
  span_id: string | null
  body: string | null
  attributes: string
}

/** Logs that are shown of one trace. */
export const MOST_LOGS = 10_000

export const loadLogs = (trace: string, signal?: AbortSignal): Promise<TraceLog[]> =>
  rows<TraceLog>(
    sql`SELECT coalesce(nullif(time_unix_nano, 0), observed_time_unix_nano) AS at,
        severity_number, coalesce(severity_text, severity_name(severity_number)) AS severity,
        service_name, span_id, body, attributes
      FROM logs WHERE trace_id = ${trace} ORDER BY 1 LIMIT ${MOST_LOGS}`,
    signal,
  )
