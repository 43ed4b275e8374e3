/**
 * The native side of queries over traces: each call takes the JSON text of a request, with the tree of
 * `ts/query/tree.ts` in it, and gives the JSON mapping of one of Tempo's messages
 * (`proto/tempo/tempo.proto`). `native/traceql` evaluates it. Every field is present, and `null` means
 * none.
 */

import type { Expression, Query } from '../query/tree.js'

/** A part of every request: whose spans, how fresh, and when. */
export interface TraceqlScope {
  /** What the client calls its query; null where it does not. */
  queryId: string | null
  /** Whose; null: every tenant's. */
  tenant: string | null
  /** `strong`, `session` or `eventual`; null: strong. */
  consistency: string | null
  /** The session token that the answer has to cover. */
  session: string | null
  /** Whether the answer may lack the rows of nodes that do not answer; null: no. */
  partial: boolean | null
  /** Nanoseconds since 1970, decimal text; null: no bound. */
  startNs: string | null
  endNs: string | null
  /** Null: the node's own. */
  timeoutMs: number | null
}

/** Of `searchTraces`: which traces, how many, and how many spans of each spanset are shown. */
export interface SearchRequest extends TraceqlScope {
  query: Query
  limit: number
  spansPerSpanset: number
  /** Whether only the newest will do, however long they are looked for. */
  mostRecent: boolean
}

/** Of `traceTags`: the keys of one scope, or of all, on the spans that a query finds. */
export interface TagsRequest extends TraceqlScope {
  /** `resource`, `span`, `intrinsic`, `event`, `link` or `instrumentation`; null: all of them. */
  scope: string | null
  query: Query | null
  /** Of each scope. */
  limit: number
}

/** Of `traceTagValues`. */
export interface TagValuesRequest extends TraceqlScope {
  /** An attribute or an intrinsic. */
  tag: Expression
  query: Query | null
  limit: number
}

/** Of `traceMetrics`. */
export interface MetricsRequest extends TraceqlScope {
  query: Query
  /** Nanoseconds, decimal text; null: one value over the range. */
  stepNs: string | null
  /** How many are shown at most. */
  exemplars: number
}

export interface Answer {
  /** The JSON mapping of the message. */
  json: string
  /** The session token that covers what it shows; null where the node's own does. */
  session: string | null
  /** The streams whose rows a partial answer may lack, and their nodes; null where it lacks none. */
  partial: string | null
}

/** The calls of the engine. Each rejects with an `OtlakeError`. */
export interface TraceqlEngine {
  /** JSON of `SearchRequest` gives `tempopb.SearchResponse`. */
  searchTraces(request: string): Promise<Answer>
  /** JSON of `TagsRequest` gives `tempopb.SearchTagsV2Response`. */
  traceTags(request: string): Promise<Answer>
  /** JSON of `TagValuesRequest` gives `tempopb.SearchTagValuesV2Response`. */
  traceTagValues(request: string): Promise<Answer>
  /** JSON of `MetricsRequest` gives `tempopb.QueryRangeResponse`, or `QueryInstantResponse` without a step. */
  traceMetrics(request: string): Promise<Answer>
}
