/**
 * The typed tree of a query over traces: what a language is parsed into, and the only thing that
 * crosses to Rust, as JSON. `native/traceql/src/tree.rs` has the same names; `kind` (of values:
 * `type`) tells the members of a union apart. Numbers of 64 bits are decimal text, because JSON's
 * numbers are doubles.
 *
 * The semantics are TraceQL's, as docs/traceql.md tells them. A tree that `traceql/parse.ts` gives
 * is checked: its types fit, its regular expressions compile, its size is within the limits.
 */

/** A query: which spansets, and what is made of them. */
export interface Query {
  /** At least one stage; the first one is `spansets`. */
  pipeline: Stage[]
  /** Null: the query is a search. */
  metrics: Metrics | null
  /** `with(name=value, …)`, in the order of the text. */
  hints: { name: string; value: Value }[]
}

/** One step of a pipeline: takes the spansets of a trace, gives others. */
export type Stage =
  /** Of each spanset those spans that match. */
  | { kind: 'spansets'; spansets: Spansets }
  /** Of the spansets those for which a number of all their spans holds: `count() > 2`. */
  | { kind: 'filter'; operator: Comparison; left: Scalar; right: Scalar }
  /** Splits each spanset into one for each value. */
  | { kind: 'by'; expression: Expression }
  /** Joins the spansets of a trace into one. */
  | { kind: 'coalesce' }
  /** Shows more of each span: attributes and intrinsics alone. */
  | { kind: 'select'; fields: Expression[] }

/** Sets of spans within one trace. */
export type Spansets =
  /** `{ condition }`; null takes every span. */
  | { kind: 'spans'; condition: Expression | null }
  | { kind: 'operation'; operator: SpansetOperator; left: Spansets; right: Spansets }
  /** `( … | … )` */
  | { kind: 'pipeline'; stages: Stage[] }

/**
 * Both (`&&`), either (`||`), and by structure: child, descendant, parent, ancestor, sibling; with
 * `!` those of the right side for which none on the left is, with `&` the spans of both sides.
 */
export type SpansetOperator = (typeof SPANSET_OPERATORS)[number]

export const SPANSET_OPERATORS = [
  ...(['&&', '||'] as const),
  ...(['>', '>>', '<', '<<', '~'] as const),
  ...(['!>', '!>>', '!<', '!<<', '!~'] as const),
  ...(['&>', '&>>', '&<', '&<<', '&~'] as const),
] as const

/** What a span gives a value for. */
export type Expression =
  | { kind: 'value'; value: Value }
  | Attribute
  | { kind: 'intrinsic'; name: Intrinsic }
  | { kind: 'binary'; operator: Operator; left: Expression; right: Expression }
  | { kind: 'unary'; operator: '-' | '!'; operand: Expression }

/** An attribute of the sender. `any` is `.name`: the span's, else the resource's. */
export interface Attribute {
  kind: 'attribute'
  scope: Scope
  /** Whether the parent span's is meant. */
  parent: boolean
  name: string
}

export type Scope = 'any' | 'resource' | 'span' | 'event' | 'link' | 'instrumentation'

export type Operator = '&&' | '||' | Comparison | Arithmetic
export type Comparison = '=' | '!=' | '<' | '<=' | '>' | '>=' | '=~' | '!~'
export type Arithmetic = '+' | '-' | '*' | '/' | '%' | '^'

export type Value =
  /** Only beside `=` (there is none) and `!=` (there is one). */
  | { type: 'nil' }
  | { type: 'string'; value: string }
  /** Decimal text of a signed number of 64 bits. */
  | { type: 'int'; value: string }
  | { type: 'float'; value: number }
  | { type: 'bool'; value: boolean }
  /** Nanoseconds, decimal text of a signed number of 64 bits. */
  | { type: 'duration'; value: string }
  | { type: 'status'; value: Status }
  | { type: 'spanKind'; value: SpanKind }

export type Status = 'ok' | 'error' | 'unset'
export type SpanKind = 'unspecified' | 'internal' | 'server' | 'client' | 'producer' | 'consumer'

/** What every span has by itself. Both spellings (`name`, `span:name`) give one name. */
export type Intrinsic =
  | 'name'
  | 'duration'
  | 'status'
  | 'statusMessage'
  | 'kind'
  | 'parent'
  | 'childCount'
  | 'span:id'
  | 'span:parentID'
  | 'trace:id'
  | 'traceDuration'
  | 'rootName'
  | 'rootServiceName'
  | 'event:name'
  | 'event:timeSinceStart'
  | 'link:traceID'
  | 'link:spanID'
  | 'instrumentation:name'
  | 'instrumentation:version'
  | 'nestedSetLeft'
  | 'nestedSetRight'
  | 'nestedSetParent'

/** A number of a whole spanset. */
export type Scalar =
  | { kind: 'value'; value: Value }
  | { kind: 'aggregate'; function: Aggregate; argument: Expression | null }
  | { kind: 'binary'; operator: Arithmetic; left: Scalar; right: Scalar }

export type Aggregate = 'count' | 'avg' | 'min' | 'max' | 'sum'

/** Series over time of the spans that a pipeline gives. */
export interface Metrics {
  function: MetricsFunction
  /** Null for `rate`, `count_over_time` and `compare`. */
  argument: Expression | null
  /** One series for each combination of their values; attributes and intrinsics alone. */
  by: Expression[]
  /** Of `quantile_over_time`: 0 to 1. */
  quantiles: number[]
  /** Of `compare`: which spans are compared with the others. Null takes every span. */
  selection: Expression | null
  /** Of `compare`: how many values are shown of each attribute. */
  top: number
  /** Of `compare`: nanoseconds since 1970 between which the selection is made, decimal text. */
  start: string | null
  end: string | null
  /** What is done with the series, in the order of the text. */
  then: SecondStage[]
}

export type MetricsFunction =
  | 'rate'
  | 'count_over_time'
  | 'min_over_time'
  | 'max_over_time'
  | 'avg_over_time'
  | 'sum_over_time'
  | 'quantile_over_time'
  | 'histogram_over_time'
  | 'compare'

export type SecondStage =
  | { kind: 'topk' | 'bottomk'; limit: number }
  /** Keeps the samples that hold. */
  | { kind: 'filter'; operator: Comparison; value: Value }
