/**
 * Spans as plain records, for the reference evaluator: what it is asked, what it answers, and what a
 * server under test is sent all follow from them.
 *
 * - `plain.ts`: the records, and the OTLP request of some of them.
 * - `random-traces.ts`, `random-query.ts`: from a seed, over one small vocabulary, so that much matches.
 * - `values.ts`: what an expression is for a span; `structure.ts`: how the spans of a trace lie.
 * - `reference.ts`: search; `series.ts`: metrics. Slow, and as the documentation says it.
 */

import type { SpanKind, Status } from '../../query/tree.js'

/** A bigint is an integer of 64 bits, a number a double. */
export type Plain = string | bigint | number | boolean | Plain[]
export type Attributes = Record<string, Plain>

export interface PlainSpan {
  /** 32 and 16 hexadecimal digits. */
  traceId: string
  spanId: string
  /** Null: a root. */
  parentId: string | null
  name: string
  kind: SpanKind
  status: Status
  statusMessage: string
  /** Nanoseconds since 1970. */
  start: bigint
  /** Nanoseconds. */
  duration: bigint
  attributes: Attributes
  resource: Attributes
  scope: { name: string; version: string; attributes: Attributes }
  events: { name: string; time: bigint; attributes: Attributes }[]
  links: { traceId: string; spanId: string; attributes: Attributes }[]
}

/** All spans of one trace. */
export type PlainTrace = readonly PlainSpan[]

/** A span of one trace with nothing that is not given. */
export function plainSpan(given: Partial<PlainSpan> & { spanId: string }): PlainSpan {
  return {
    traceId: '0af7651916cd43dd8448eb211c80319c',
    parentId: null,
    name: given.spanId,
    kind: 'unspecified',
    status: 'unset',
    statusMessage: '',
    start: 1_700_000_000_000_000_000n,
    duration: 1_000_000n,
    attributes: {},
    resource: {},
    scope: { name: '', version: '', attributes: {} },
    events: [],
    links: [],
    ...given,
  }
}

const KINDS: readonly SpanKind[] = [
  ...(['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const),
]
const STATUSES: readonly Status[] = ['unset', 'ok', 'error']

/** The OTLP/JSON request of the spans, each with a resource of its own. */
export function otlpRequest(spans: readonly PlainSpan[]): unknown {
  return {
    resourceSpans: spans.map((span) => ({
      resource: { attributes: keyValues(span.resource) },
      scopeSpans: [
        {
          scope: {
            name: span.scope.name,
            version: span.scope.version,
            attributes: keyValues(span.scope.attributes),
          },
          spans: [
            {
              traceId: span.traceId,
              spanId: span.spanId,
              parentSpanId: span.parentId ?? '',
              name: span.name,
              kind: KINDS.indexOf(span.kind),
              startTimeUnixNano: String(span.start),
              endTimeUnixNano: String(span.start + span.duration),
              status: { code: STATUSES.indexOf(span.status), message: span.statusMessage },
              attributes: keyValues(span.attributes),
              events: span.events.map((event) => ({
                name: event.name,
                timeUnixNano: String(event.time),
                attributes: keyValues(event.attributes),
              })),
              links: span.links.map((link) => ({
                traceId: link.traceId,
                spanId: link.spanId,
                attributes: keyValues(link.attributes),
              })),
            },
          ],
        },
      ],
    })),
  }
}

function keyValues(attributes: Attributes): unknown[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: anyValue(value) }))
}

function anyValue(value: Plain): unknown {
  if (Array.isArray(value)) return { arrayValue: { values: value.map(anyValue) } }
  switch (typeof value) {
    case 'string':
      return { stringValue: value }
    case 'bigint':
      return { intValue: String(value) }
    case 'number':
      return { doubleValue: value }
    default:
      return { boolValue: value }
  }
}
