/**
 * `tempopb.StreamingQuerier` over gRPC, on the connections that the HTTP port gives: Grafana asks it
 * where streaming is switched on in its data source. Each call is answered by one message, the whole
 * answer, and then ends.
 */

import type { Socket } from 'node:net'
import { type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import type { Clock } from '../../base/clock.js'
import { type ErrorKind, OtlakeError } from '../../base/errors.js'
import type { Token } from '../../native/binding.js'
import type { Answer, TraceqlEngine } from '../../native/traceql.js'
import { type Asked, asked } from '../access.js'
import {
  QueryInstantRequestSchema,
  QueryRangeRequestSchema,
  SearchRequestSchema,
  SearchTagsRequestSchema,
  SearchTagValuesRequestSchema,
} from './generated/tempo_pb.js'
import { KINDS, type Kind } from './messages.js'
import { type Parameters, TempoQueries } from './queries.js'

const STATUS: Record<ErrorKind, grpc.status> = {
  invalid: grpc.status.INVALID_ARGUMENT,
  denied: grpc.status.UNAUTHENTICATED,
  not_found: grpc.status.NOT_FOUND,
  exhausted: grpc.status.RESOURCE_EXHAUSTED,
  unavailable: grpc.status.UNAVAILABLE,
  corrupt: grpc.status.DATA_LOSS,
  cancelled: grpc.status.CANCELLED,
  internal: grpc.status.INTERNAL,
}
/** The largest message that a client may send (I5): a query, and little beside. */
const MAX_REQUEST_BYTES = 1024 * 1024
/** Calls at once of one connection (I5). */
const MAX_CALLS = 100

/** What a call does with its request. */
type Ask<Desc extends DescMessage> = (by: Asked, request: MessageShape<Desc>) => Promise<Answer>

interface Method {
  definition: grpc.MethodDefinition<unknown, unknown>
  handle: grpc.handleServerStreamingCall<unknown, unknown>
}

export class TempoStreaming {
  #server: grpc.Server | undefined
  #injector: grpc.ConnectionInjector | undefined

  constructor(
    private readonly engine: () => TraceqlEngine,
    private readonly options: { tokens: readonly Token[]; clock: Clock; isReady: () => boolean },
  ) {}

  start(): void {
    const server = new grpc.Server({
      'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
      'grpc.max_concurrent_streams': MAX_CALLS,
    })
    const methods = this.#methods()
    server.addService(
      Object.fromEntries(
        Object.entries(methods).map(([name, { definition }]) => [name, definition]),
      ) as grpc.ServiceDefinition,
      Object.fromEntries(Object.entries(methods).map(([name, { handle }]) => [name, handle])),
    )
    this.#server = server
    this.#injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure())
  }

  /** Takes over a connection that speaks HTTP/2. */
  inject(socket: Socket): void {
    if (this.#injector) this.#injector.injectConnection(socket)
    else socket.destroy()
  }

  /** Lets what is in flight finish, for `graceMs` at most. */
  async stop(graceMs: number): Promise<void> {
    const server = this.#server
    this.#injector = undefined
    this.#server = undefined
    if (server === undefined) return
    const ended = new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
    void this.options.clock.sleep(graceMs).then(() => server.forceShutdown())
    await ended
  }

  #methods(): Record<string, Method> {
    const queries = () => new TempoQueries(this.engine(), this.options.clock)
    return {
      Search: this.#method('Search', SearchRequestSchema, KINDS.search, (by, request) =>
        queries().search(by, searchParameters(request)),
      ),
      SearchTags: this.#method('SearchTags', SearchTagsRequestSchema, KINDS.tags, (by, request) =>
        queries().tags(by, tagsParameters(request)),
      ),
      SearchTagsV2: this.#method(
        'SearchTagsV2',
        SearchTagsRequestSchema,
        KINDS.tagsV2,
        (by, request) => queries().tags(by, tagsParameters(request)),
      ),
      SearchTagValues: this.#method(
        'SearchTagValues',
        SearchTagValuesRequestSchema,
        KINDS.tagValues,
        (by, request) => queries().tagValues(by, request.tagName, valuesParameters(request)),
      ),
      SearchTagValuesV2: this.#method(
        'SearchTagValuesV2',
        SearchTagValuesRequestSchema,
        KINDS.tagValuesV2,
        (by, request) => queries().tagValues(by, request.tagName, valuesParameters(request)),
      ),
      MetricsQueryRange: this.#method(
        'MetricsQueryRange',
        QueryRangeRequestSchema,
        KINDS.metricsRange,
        (by, request) =>
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
      MetricsQueryInstant: this.#method(
        'MetricsQueryInstant',
        QueryInstantRequestSchema,
        KINDS.metricsInstant,
        (by, { query, start, end }) =>
          queries().metrics(
            by,
            parameters({ q: query, start: time(start), end: time(end) }),
            false,
          ),
      ),
    }
  }

  #method<Desc extends DescMessage>(
    name: string,
    schema: Desc,
    kind: Kind,
    ask: Ask<Desc>,
  ): Method {
    return {
      definition: {
        path: `/tempopb.StreamingQuerier/${name}`,
        requestStream: false,
        responseStream: true,
        requestSerialize: (message) => Buffer.from(toBinary(schema, message as MessageShape<Desc>)),
        requestDeserialize: (bytes) => fromBinary(schema, bytes),
        responseSerialize: (message) => Buffer.from(toBinary(kind.schema, message as never)),
        responseDeserialize: (bytes) => fromBinary(kind.schema, bytes),
      },
      handle: (call) => {
        this.#answer(call, kind, ask as Ask<DescMessage>).catch((thrown) => {
          const { kind: of, code, message } = OtlakeError.from(thrown)
          call.emit('error', { code: STATUS[of], details: `${code}: ${message}` })
        })
      },
    }
  }

  async #answer(
    call: grpc.ServerWritableStream<unknown, unknown>,
    kind: Kind,
    ask: Ask<DescMessage>,
  ): Promise<void> {
    const { tokens, isReady } = this.options
    const header = (name: string) => call.metadata.get(name)[0]?.toString()
    const by = asked({ header }, tokens)
    if (!isReady()) {
      const message = 'the node has not joined the others yet: ask another, or again'
      throw new OtlakeError('QUERY_INCOMPLETE', message)
    }
    const answer = await ask(by, call.request as MessageShape<DescMessage>)
    if (call.cancelled) return
    call.write(kind.message(answer))
    call.end()
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
