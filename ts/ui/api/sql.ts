/** SQL for the views: statements with bound values, and their rows as JSON. */

import type { Range } from '../state/time'
import { ask, askJson } from './http'
import { askQuery, withId } from './under-way'

export type Value = string | number | boolean | null

export interface Statement {
  query: string
  parameters: Value[]
}

/** A statement from a template: what is put in is bound, never put into the text. */
export function sql(parts: TemplateStringsArray, ...given: (Value | Raw | Statement)[]): Statement {
  const parameters: Value[] = []
  const text = parts.map((part, index) => {
    if (index === 0) return part
    const value = given[index - 1]
    if (value instanceof Raw) return value.text + part
    if (typeof value === 'object' && value !== null) {
      const shifted = value.query.replaceAll(/\$(\d+)/g, (_, number: string) => {
        return `$${Number(number) + parameters.length}`
      })
      parameters.push(...value.parameters)
      return shifted + part
    }
    parameters.push(value ?? null)
    return `$${parameters.length}${part}`
  })
  return { query: text.join(''), parameters }
}

/** Text that is SQL itself: a column's name, a number that is too large for JSON. */
export class Raw {
  constructor(readonly text: string) {}
}
export const raw = (text: string): Raw => new Raw(text)

/** Statements joined by a word, as conditions are by AND. */
export function joined(statements: Statement[], by: string): Statement {
  return statements.reduce((all, each, index) =>
    index === 0 ? each : sql`${all} ${raw(by)} ${each}`,
  )
}

/** Milliseconds since 1970 as a literal in nanoseconds. */
export const nanos = (ms: number): Raw => raw(`${Math.round(ms * 1000)}000`)

/** That a column of nanoseconds lies within a range. */
export function within(column: string, { from, to }: Range): Statement {
  return sql`${raw(column)} >= ${nanos(from)} AND ${raw(column)} < ${nanos(to)}`
}

/** The column's time as the beginning of its step, in seconds. */
export const stepOf = (column: string, stepS: number): Raw =>
  raw(`CAST(${column} / ${stepS}000000000 AS BIGINT) * ${stepS}`)

/** Runs a statement. What gives it an `id` follows it by itself. */
export function sqlRequest(
  { query, parameters }: Statement,
  format: string,
  signal?: AbortSignal,
  id?: string,
): Promise<Response> {
  const init = {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(id === undefined ? {} : withId(id)) },
    body: JSON.stringify({ query, parameters, format }),
    signal: signal ?? null,
  }
  return id === undefined ? askQuery('/api/v1/sql', init) : ask('/api/v1/sql', init)
}

/** The rows of a statement; 64-bit integers beyond 2^53 are text. */
export async function rows<Row>(statement: Statement, signal?: AbortSignal): Promise<Row[]> {
  const response = await sqlRequest(statement, 'json', signal)
  return ((await response.json()) as { rows: Row[] }).rows
}

export interface NodeInfo {
  version: string
  cluster: string | null
  addresses: Record<'otlpGrpc' | 'otlpHttp' | 'http' | 'flight' | 'cluster', string | null>
}

export const nodeInfo = (signal?: AbortSignal): Promise<NodeInfo> =>
  askJson('/api/v1/node', { signal: signal ?? null })

export interface Stats {
  liveBytes: number
  liveRows: number
  logBytes: number
  logSegments: number
  files: number
  fileBytes: number
  fileRows: number
}

export const stats = (signal?: AbortSignal): Promise<Stats> =>
  askJson('/api/v1/stats', { signal: signal ?? null })
