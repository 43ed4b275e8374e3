/**
 * What Jaeger's query API asks of the engine, whoever asks, over HTTP or gRPC. Values are parameters of
 * statements that stand here as they are, or nodes of a tree.
 */

import type { Clock } from '../../base/clock.js'
import { OtlakeError } from '../../base/errors.js'
import type { ByteStream, Engine, TraceEncoding, TraceRequest } from '../../native/binding.js'
import type { SearchRequest, TraceqlEngine } from '../../native/traceql.js'
import type { Asked } from '../access.js'
import type { SpanKind } from '../tree.js'
import { now, type Range } from './parameters.js'
import { SPAN_KINDS, searchQuery, type TraceSearch } from './search.js'

/** How far the lists of services and operations go back, as Jaeger's largest backends have it. */
const NAMES_LOOKBACK = 72n * 3600n * 1_000_000_000n
/** How much earlier than the calls of a range the spans that made them may have begun. */
const CALLER_LOOKBACK = 3600n * 1_000_000_000n
/** Rows of a list, the `LIMIT` of the statements (I5). */
export const MAX_NAMES = 10_000

const SERVICES = `SELECT DISTINCT service_name AS name FROM spans
WHERE start_time_unix_nano >= CAST($1 AS BIGINT) AND service_name <> ''
ORDER BY name LIMIT 10000`

const OPERATIONS = `SELECT DISTINCT name, kind FROM spans
WHERE service_name = $1 AND start_time_unix_nano >= CAST($2 AS BIGINT)
AND (CAST($3 AS INT) < 0 OR kind = CAST($3 AS INT))
ORDER BY name, kind LIMIT 10000`

const DEPENDENCIES = `SELECT caller.service_name AS parent, callee.service_name AS child,
count(*) AS calls
FROM spans AS callee JOIN spans AS caller
ON callee.trace_id = caller.trace_id AND callee.parent_span_id = caller.span_id
WHERE callee.start_time_unix_nano >= CAST($1 AS BIGINT)
AND callee.start_time_unix_nano < CAST($2 AS BIGINT)
AND caller.start_time_unix_nano >= CAST($3 AS BIGINT)
AND caller.start_time_unix_nano < CAST($2 AS BIGINT)
AND callee.service_name <> caller.service_name
GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 10000`

export interface Operation {
  name: string
  spanKind: SpanKind
}

/** How often the spans of one service have children in another. */
export interface Dependency {
  parent: string
  child: string
  callCount: number
}

/** The traces that a search found, newest first, and what that answer covers and lacks. */
export interface FoundTraces {
  ids: string[]
  session: string | null
  partial: string | null
}

export class JaegerQueries {
  constructor(
    private readonly engine: Engine & TraceqlEngine,
    private readonly clock: Clock,
  ) {}

  async services(by: Asked): Promise<string[]> {
    const rows = await this.#rows<{ name: string }>(by, SERVICES, [this.#namesSince()])
    return rows.map(({ name }) => name)
  }

  /** Of one service; `kind` null: of every kind. */
  async operations(by: Asked, service: string, kind: SpanKind | null): Promise<Operation[]> {
    const number = kind === null ? -1 : SPAN_KINDS.indexOf(kind)
    const parameters = [service, this.#namesSince(), number]
    const rows = await this.#rows<{ name: string; kind: number }>(by, OPERATIONS, parameters)
    return rows.map(({ name, kind }) => ({ name, spanKind: SPAN_KINDS[kind] ?? 'unspecified' }))
  }

  async dependencies(by: Asked, { startNs, endNs }: Range): Promise<Dependency[]> {
    const callers = startNs > CALLER_LOOKBACK ? startNs - CALLER_LOOKBACK : 0n
    const parameters = [startNs.toString(), endNs.toString(), callers.toString()]
    const rows = await this.#rows<{ parent: string; child: string; calls: number | string }>(
      ...([by, DEPENDENCIES, parameters] as const),
    )
    return rows.map(({ parent, child, calls }) => ({ parent, child, callCount: Number(calls) }))
  }

  async search(by: Asked, search: TraceSearch): Promise<FoundTraces> {
    const { tenant, consistency, session, partial, queryId } = by
    const request: SearchRequest = {
      queryId,
      ...{ tenant, consistency, session, partial: partial || null, timeoutMs: null },
      startNs: search.startNs.toString(),
      endNs: search.endNs.toString(),
      query: searchQuery(search),
      limit: search.limit,
      spansPerSpanset: 1,
      mostRecent: true,
    }
    const answer = await this.engine.searchTraces(JSON.stringify(request))
    const { traces = [] } = JSON.parse(answer.json) as { traces?: { traceID: string }[] }
    return {
      ids: traces.map(({ traceID }) => traceID.padStart(32, '0')),
      session: answer.session,
      partial: answer.partial,
    }
  }

  /** A trace in chunks; null where there is none. Close the stream. */
  async trace(by: Asked, id: string, encoding: TraceEncoding): Promise<ByteStream | null> {
    const { tenant, consistency, session, partial } = by
    const asking: TraceRequest = {
      ...{ traceId: id, tenant, consistency, session, encoding },
      ...{ startNs: null, endNs: null, partial: partial || null },
    }
    const trace = this.engine.knownTrace(asking) ?? (await this.engine.trace(asking))
    return trace instanceof Uint8Array ? new Whole(trace) : trace
  }

  /** The token of what is stored here now: taken before a read, it is what the answer covers. */
  covered(): string {
    return this.engine.session()
  }

  #namesSince(): string {
    const at = now(this.clock)
    return (at > NAMES_LOOKBACK ? at - NAMES_LOOKBACK : 0n).toString()
  }

  async #rows<Row>(by: Asked, sql: string, parameters: (string | number)[]): Promise<Row[]> {
    const { tenant, consistency, session, partial, queryId } = by
    const stream = await this.engine.query({
      id: queryId,
      ...{ sql, parameters: JSON.stringify(parameters), format: 'json' },
      ...{ tenant, consistency, session, partial: partial || null },
      ...{ maxRows: MAX_NAMES, timeoutMs: null, memoryBytes: null },
    })
    const chunks: Buffer[] = []
    try {
      for (let chunk = await stream.next(); chunk !== null; chunk = await stream.next()) {
        chunks.push(chunk)
      }
    } finally {
      stream.close()
    }
    return (JSON.parse(Buffer.concat(chunks).toString()) as { rows: Row[] }).rows
  }
}

/** What is there already, as a stream. */
class Whole implements ByteStream {
  readonly session = null
  readonly partial = null
  #bytes: Buffer | null

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  async next(): Promise<Buffer | null> {
    const bytes = this.#bytes
    this.#bytes = null
    return bytes
  }

  close(): void {
    this.#bytes = null
  }
}

/** Throws `TRACE_NOT_FOUND`. */
export function notFound(id: string): OtlakeError {
  return new OtlakeError('TRACE_NOT_FOUND', `no span of trace ${id} is stored`)
}
