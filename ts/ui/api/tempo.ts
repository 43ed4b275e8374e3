/** TraceQL, by the Tempo API of the node. */

import type { Range } from '../state/time'
import { queryJson } from './under-way'

/** OTLP's value in JSON. */
export interface AnyValue {
  stringValue?: string
  intValue?: string | number
  doubleValue?: number
  boolValue?: boolean
  arrayValue?: { values?: AnyValue[] }
}

export interface KeyValue {
  key: string
  value: AnyValue
}

export interface FoundTrace {
  traceID: string
  rootServiceName?: string
  rootTraceName?: string
  startTimeUnixNano: string
  durationMs?: number
  serviceStats?: Record<string, { spanCount?: number; errorCount?: number }>
  spanSets?: { matched?: number; spans?: FoundSpan[] }[]
}

export interface FoundSpan {
  spanID: string
  name?: string
  startTimeUnixNano: string
  durationNanos: string
}

export interface MetricSeries {
  labels: KeyValue[]
  promLabels: string
  /** Of a range. */
  samples?: { timestampMs: string; value?: number }[]
  /** Of one value over the range. */
  value?: number
  exemplars?: { labels: KeyValue[]; value?: number; timestampMs: string }[]
}

/** The text of a value. */
export function plain(value: AnyValue | undefined): string {
  if (value === undefined) return ''
  if (value.arrayValue) return `[${(value.arrayValue.values ?? []).map(plain).join(', ')}]`
  return String(value.stringValue ?? value.intValue ?? value.doubleValue ?? value.boolValue ?? '')
}

/** Whether a query makes metrics rather than finds spans. */
export function makesMetrics(query: string): boolean {
  const bare = query.replaceAll(/"(?:\\.|[^"\\])*"|`[^`]*`/g, '""')
  return /\|\s*(rate|count_over_time|(min|max|avg|sum|quantile|histogram)_over_time|compare)\s*\(/.test(
    bare,
  )
}

/** A query that is empty means every span. */
export const spansOf = (query: string): string => query.trim() || '{ }'

/** Times as the API takes them: nanoseconds, in text. */
const ends = ({ from, to }: Range) => ({
  start: `${Math.round(from * 1000)}000`,
  end: `${Math.round(to * 1000)}000`,
})

function path(name: string, params: Record<string, string>): string {
  return `/tempo/api/${name}?${new URLSearchParams(params)}`
}

/** The traces with spans that match, the newest of them. */
export async function search(
  query: string,
  range: Range,
  limit: number,
  signal?: AbortSignal,
): Promise<FoundTrace[]> {
  const q = /\bwith\s*\(/.test(query) ? query : `${spansOf(query)} with (most_recent=true)`
  const url = path('search', { q, limit: String(limit), ...ends(range) })
  const { traces } = await queryJson<{ traces?: FoundTrace[] }>(url, { signal: signal ?? null })
  return traces ?? []
}

/** Series over a range, with a step in seconds. */
export async function metricsRange(
  query: string,
  range: Range,
  stepS: number,
  options: { exemplars?: number; signal?: AbortSignal } = {},
): Promise<MetricSeries[]> {
  const url = path('metrics/query_range', {
    ...{ q: query, step: `${stepS}s`, ...ends(range) },
    exemplars: String(options.exemplars ?? 0),
  })
  const answer = await queryJson<{ series?: MetricSeries[] }>(url, {
    signal: options.signal ?? null,
  })
  return answer.series ?? []
}

/** One value of each series over a range. */
export async function metricsInstant(
  query: string,
  range: Range,
  signal?: AbortSignal,
): Promise<MetricSeries[]> {
  const url = path('metrics/query', { q: query, ...ends(range) })
  const answer = await queryJson<{ series?: MetricSeries[] }>(url, { signal: signal ?? null })
  return answer.series ?? []
}

/** Names of attributes and intrinsics, by scope. */
export async function tagNames(
  range: Range,
  signal?: AbortSignal,
): Promise<{ name: string; tags: string[] }[]> {
  const url = path('v2/search/tags', { limit: '1000', ...ends(range) })
  const answer = await queryJson<{ scopes?: { name: string; tags?: string[] }[] }>(url, {
    signal: signal ?? null,
  })
  return (answer.scopes ?? []).map(({ name, tags = [] }) => ({ name, tags }))
}

/** Values of an attribute, and their types as TraceQL has them. */
export async function tagValues(
  tag: string,
  range: Range,
  signal?: AbortSignal,
): Promise<{ type: string; value: string }[]> {
  const name = encodeURIComponent(encodeURIComponent(tag))
  const url = path(`v2/search/tag/${name}/values`, { limit: '200', ...ends(range) })
  const answer = await queryJson<{ tagValues?: { type: string; value: string }[] }>(url, {
    signal: signal ?? null,
  })
  return answer.tagValues ?? []
}

/** A text as TraceQL writes it. */
export const quoted = (text: string): string =>
  `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`

/** A query with spans of these durations alone, in nanoseconds. */
export function narrowed(query: string, least: number, most: number): string {
  return `${spansOf(query)} | { duration >= ${Math.floor(least)}ns && duration < ${Math.ceil(most)}ns }`
}
