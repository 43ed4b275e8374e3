/**
 * A search of Jaeger as the tree of a query: one span of a trace has to have all that was asked for.
 * Tags are texts in Jaeger and have no place: each is looked for where OTLP has it.
 */

import { MAX_TAGS } from '../traceql/limits.js'
import { allOf, equals, equalsText } from '../traceql/tags.js'
import type { Comparison, Expression, Intrinsic, Query, Scope, SpanKind } from '../tree.js'
import { malformed } from './failure.js'

export const SPAN_KINDS: readonly SpanKind[] = [
  ...(['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const),
]

export interface TraceSearch {
  /** Null: of any service. */
  service: string | null
  /** Null: any. */
  operation: string | null
  tags: ReadonlyMap<string, string>
  /** Nanoseconds since 1970. */
  startNs: bigint
  endNs: bigint
  /** Nanoseconds of the span; null: no bound. */
  minDurationNs: bigint | null
  maxDurationNs: bigint | null
  /** Traces at most. */
  limit: number
}

export const SERVICE: Expression = attribute('resource', 'service.name')
export const NAME: Expression = intrinsic('name')
export const DURATION: Expression = intrinsic('duration')
export const KIND: Expression = intrinsic('kind')
export const STATUS: Expression = intrinsic('status')

/** The spans that are looked for. Throws `HTTP_MALFORMED`. */
export function searchQuery(search: TraceSearch): Query {
  const { service, operation, tags, minDurationNs, maxDurationNs } = search
  if (tags.size > MAX_TAGS) throw malformed(`there are more than ${MAX_TAGS} tags`)
  const conditions: Expression[] = []
  if (service !== null) conditions.push(equals(SERVICE, { type: 'string', value: service }))
  if (operation !== null) conditions.push(equals(NAME, { type: 'string', value: operation }))
  if (minDurationNs !== null) conditions.push(duration('>=', minDurationNs))
  if (maxDurationNs !== null) conditions.push(duration('<=', maxDurationNs))
  for (const [key, value] of tags) conditions.push(tag(key, value))
  return {
    pipeline: [{ kind: 'spansets', spansets: { kind: 'spans', condition: allOf(conditions) } }],
    metrics: null,
    hints: [],
  }
}

function duration(operator: Comparison, nanoseconds: bigint): Expression {
  const value: Expression = {
    kind: 'value',
    value: { type: 'duration', value: nanoseconds.toString() },
  }
  return { kind: 'binary', operator, left: DURATION, right: value }
}

/** The tags that Jaeger makes of what OTLP has beside attributes. */
const TEXT_TAGS: Record<string, Intrinsic> = {
  'otel.status_description': 'statusMessage',
  'otel.scope.name': 'instrumentation:name',
  'otel.scope.version': 'instrumentation:version',
  'otel.library.name': 'instrumentation:name',
  'otel.library.version': 'instrumentation:version',
  event: 'event:name',
}

function tag(key: string, value: string): Expression {
  if (key === '') throw malformed('a tag has no key: write key:value')
  const text = Object.hasOwn(TEXT_TAGS, key) ? TEXT_TAGS[key] : undefined
  if (text !== undefined) return equals(intrinsic(text), { type: 'string', value })
  const kind = SPAN_KINDS.find((each) => each === value)
  if (key === 'span.kind' && kind) return equals(KIND, { type: 'spanKind', value: kind })
  const status = value.toLowerCase()
  if (key === 'otel.status_code' && (status === 'ok' || status === 'error')) {
    return equals(STATUS, { type: 'status', value: status })
  }
  if (key === 'error' && (value === 'true' || value === 'false')) return failed(value === 'true')
  const scopes: Scope[] = ['span', 'resource']
  // Only what senders are known to put there: to read the events of every span is slow.
  if (key.startsWith('exception.')) scopes.push('event')
  return anyOf(scopes.map((scope) => equalsText(attribute(scope, key), value)))
}

/** A span that failed says so by its status; one of an older sender by an attribute. */
function failed(isError: boolean): Expression {
  const status: Expression = {
    kind: 'binary',
    operator: isError ? '=' : '!=',
    left: STATUS,
    right: { kind: 'value', value: { type: 'status', value: 'error' } },
  }
  return isError ? anyOf([status, equalsText(attribute('span', 'error'), 'true')]) : status
}

export function anyOf([first, ...rest]: readonly Expression[]): Expression {
  if (first === undefined) throw malformed('there is nothing to look for')
  return rest.reduce<Expression>(
    (left, right) => ({ kind: 'binary', operator: '||', left, right }),
    first,
  )
}

function attribute(scope: Scope, name: string): Expression {
  return { kind: 'attribute', scope, parent: false, name }
}

function intrinsic(name: Intrinsic): Expression {
  return { kind: 'intrinsic', name }
}
