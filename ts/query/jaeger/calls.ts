/**
 * `jaeger.api_v3.QueryService` over gRPC. Traces are OTLP's `TracesData` as the engine gives it: each of
 * its chunks is such a message, and is sent as one.
 */

import { create, type DescMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import type { Duration, Timestamp } from '@bufbuild/protobuf/wkt'
import type { Clock } from '../../base/clock.js'
import type { Engine } from '../../native/binding.js'
import type { TraceqlEngine } from '../../native/traceql.js'
import type { Asked } from '../access.js'
import { type GrpcMethod, readMessage } from '../grpc.js'
import { malformed } from './failure.js'
import {
  DependenciesResponseSchema,
  FindTracesRequestSchema,
  GetDependenciesRequestSchema,
  GetOperationsRequestSchema,
  GetOperationsResponseSchema,
  GetServicesResponseSchema,
  GetTraceRequestSchema,
  type TraceQueryParameters,
} from './generated/query_pb.js'
import { inOrder, readKind, readLimit, readTraceId } from './parameters.js'
import { JaegerQueries, notFound } from './queries.js'
import type { TraceSearch } from './search.js'
import { chunks } from './traces.js'

const SECOND = 1_000_000_000n

/** The calls of the service. */
export function jaegerCalls(engine: () => Engine & TraceqlEngine, clock: Clock): GrpcMethod[] {
  const queries = () => new JaegerQueries(engine(), clock)
  return [
    call('GetTrace', true, async function* (by, bytes) {
      const { traceId } = readMessage(GetTraceRequestSchema, bytes)
      let isFound = false
      for await (const part of parts(queries(), by, readTraceId(traceId))) {
        isFound = true
        yield part
      }
      if (!isFound) throw notFound(traceId)
    }),
    call('FindTraces', true, async function* (by, bytes) {
      const { query } = readMessage(FindTracesRequestSchema, bytes)
      if (query === undefined) throw malformed('the request has no query')
      const { ids } = await queries().search(by, readQuery(query))
      for (const id of ids) yield* parts(queries(), by, id)
    }),
    call('GetServices', false, async function* (by) {
      yield message(GetServicesResponseSchema, { services: await queries().services(by) })
    }),
    call('GetOperations', false, async function* (by, bytes) {
      const { service, spanKind } = readMessage(GetOperationsRequestSchema, bytes)
      if (service === '') throw malformed('the request has no service')
      const kind = readKind('span_kind', spanKind)
      const operations = await queries().operations(by, service, kind)
      yield message(GetOperationsResponseSchema, { operations })
    }),
    call('GetDependencies', false, async function* (by, bytes) {
      const { startTime, endTime } = readMessage(GetDependenciesRequestSchema, bytes)
      const range = rangeOf('start_time', startTime, 'end_time', endTime)
      const found = await queries().dependencies(by, range)
      const dependencies = found.map((each) => ({ ...each, callCount: BigInt(each.callCount) }))
      yield message(DependenciesResponseSchema, { dependencies })
    }),
  ]
}

function call(name: string, streams: boolean, answer: GrpcMethod['answer']): GrpcMethod {
  return { path: `/jaeger.api_v3.QueryService/${name}`, streams, answer }
}

function message<Desc extends DescMessage>(
  schema: Desc,
  fields: MessageInitShape<Desc>,
): Uint8Array {
  return toBinary(schema, create(schema, fields))
}

/** A trace in parts; none where there is none. */
async function* parts(queries: JaegerQueries, by: Asked, id: string): AsyncGenerator<Uint8Array> {
  const stream = await queries.trace(by, id, 'protobuf')
  if (stream === null) return
  try {
    yield* chunks(stream)
  } finally {
    stream.close()
  }
}

function readQuery(query: TraceQueryParameters): TraceSearch {
  const { durationMin, durationMax } = query
  return {
    service: query.serviceName || null,
    operation: query.operationName || null,
    tags: new Map(Object.entries(query.attributes)),
    ...rangeOf('start_time_min', query.startTimeMin, 'start_time_max', query.startTimeMax),
    // Jaeger's own client sends 0 where none was set.
    minDurationNs: (durationMin && nanoseconds('duration_min', durationMin)) || null,
    maxDurationNs: (durationMax && nanoseconds('duration_max', durationMax)) || null,
    limit: readLimit('search_depth', String(query.searchDepth)),
  }
}

function rangeOf(
  from: string,
  start: Timestamp | undefined,
  to: string,
  end: Timestamp | undefined,
): ReturnType<typeof inOrder> {
  if (start === undefined || end === undefined) throw malformed(`${from} and ${to} are required`)
  return inOrder({ startNs: nanoseconds(from, start), endNs: nanoseconds(to, end) })
}

function nanoseconds(name: string, { seconds, nanos }: Timestamp | Duration): bigint {
  const sum = seconds * SECOND + BigInt(nanos)
  if (sum >= 0n && sum < 2n ** 63n) return sum
  throw malformed(`\`${name}\` is out of range`)
}
