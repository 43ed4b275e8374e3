/**
 * `tempopb.StreamingQuerier` over gRPC, on the connections that the HTTP port gives: Grafana asks it
 * where streaming is switched on in its data source. Each call is answered by one message, the whole
 * answer, and then ends.
 */

import type { DescMessage, MessageShape } from '@bufbuild/protobuf'
import type { Clock } from '../../base/clock.js'
import type { Answer, TraceqlEngine } from '../../native/traceql.js'
import type { Asked } from '../access.js'
import { type GrpcMethod, readMessage } from '../grpc.js'
import {
  QueryInstantRequestSchema,
  QueryRangeRequestSchema,
  SearchRequestSchema,
  SearchTagsRequestSchema,
  SearchTagValuesRequestSchema,
} from './generated/tempo_pb.js'
import { bytesOf, KINDS, type Kind } from './messages.js'
import { type Parameters, TempoQueries } from './queries.js'

/** What a call does with its request. */
type Ask<Desc extends DescMessage> = (by: Asked, request: MessageShape<Desc>) => Promise<Answer>

/** The calls of the service. */
export function tempoCalls(engine: () => TraceqlEngine, clock: Clock): GrpcMethod[] {
  const queries = () => new TempoQueries(engine(), clock)
  return [
    method('Search', SearchRequestSchema, KINDS.search, (by, request) =>
      queries().search(by, searchParameters(request)),
    ),
    method('SearchTags', SearchTagsRequestSchema, KINDS.tags, (by, request) =>
      queries().tags(by, tagsParameters(request)),
    ),
    method('SearchTagsV2', SearchTagsRequestSchema, KINDS.tagsV2, (by, request) =>
      queries().tags(by, tagsParameters(request)),
    ),
    method('SearchTagValues', SearchTagValuesRequestSchema, KINDS.tagValues, (by, request) =>
      queries().tagValues(by, request.tagName, valuesParameters(request)),
    ),
    method('SearchTagValuesV2', SearchTagValuesRequestSchema, KINDS.tagValuesV2, (by, request) =>
      queries().tagValues(by, request.tagName, valuesParameters(request)),
    ),
    method('MetricsQueryRange', QueryRangeRequestSchema, KINDS.metricsRange, (by, request) =>
      queries().metrics(
        by,
        parameters({
          q: request.query,
          start: time(request.start),
          end: time(request.end),
          step: request.step === 0n ? '' : `${request.step}ns`,
          exemplars: request.exemplars,
        }),
        true,
      ),
    ),
    method('MetricsQueryInstant', QueryInstantRequestSchema, KINDS.metricsInstant, (by, request) =>
      queries().metrics(
        by,
        parameters({ q: request.query, start: time(request.start), end: time(request.end) }),
        false,
      ),
    ),
  ]
}

function method<Desc extends DescMessage>(
  name: string,
  schema: Desc,
  kind: Kind,
  ask: Ask<Desc>,
): GrpcMethod {
  return {
    path: `/tempopb.StreamingQuerier/${name}`,
    streams: true,
    async *answer(by, request) {
      yield bytesOf(kind, await ask(by, readMessage(schema, request)))
    },
  }
}

/** A message's fields as the parameters of HTTP; what is 0 or empty was not given. */
function parameters(fields: Record<string, string | number | bigint>): Parameters {
  return (name) => {
    const value = fields[name]
    return value === undefined || value === '' || Number(value) === 0 ? null : String(value)
  }
}

/** Nanoseconds as seconds, which `parseTime` takes for such whatever their size. */
function time(nanoseconds: bigint): string {
  if (nanoseconds === 0n) return ''
  const digits = nanoseconds.toString().padStart(10, '0')
  return `${digits.slice(0, -9)}.${digits.slice(-9)}`
}

function searchParameters(request: MessageShape<typeof SearchRequestSchema>): Parameters {
  const milliseconds = (value: number) => (value === 0 ? '' : `${value}ms`)
  const tags = Object.entries(request.Tags).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
  return parameters({
    q: request.Query,
    tags: tags.join(' '),
    minDuration: milliseconds(request.MinDurationMs),
    maxDuration: milliseconds(request.MaxDurationMs),
    limit: request.Limit,
    spss: request.SpansPerSpanSet,
    start: request.start,
    end: request.end,
  })
}

function tagsParameters(request: MessageShape<typeof SearchTagsRequestSchema>): Parameters {
  const { scope, query, start, end, maxTagsPerScope } = request
  return parameters({ scope, q: query, start, end, limit: maxTagsPerScope })
}

function valuesParameters(request: MessageShape<typeof SearchTagValuesRequestSchema>): Parameters {
  const { query, start, end, maxTagValues } = request
  return parameters({ q: query, start, end, limit: maxTagValues })
}
