/**
 * gRPC services on the connections of the HTTP port that begin HTTP/2: who asks, what an error's status
 * is, how a stop waits. What a call answers is its API's (`tempo/streaming.ts`, `jaeger/calls.ts`).
 */

import type { Socket } from 'node:net'
import { type DescMessage, fromBinary, type MessageShape } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import type { Clock } from '../base/clock.js'
import { type ErrorKind, OtlakeError } from '../base/errors.js'
import type { Token } from '../native/binding.js'
import { type Asked, asked } from './access.js'

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

/** A call of a service. */
export interface GrpcMethod {
  /** `/package.Service/Method` */
  path: string
  /** Whether its answer is a stream of messages; else it is the only one that `answer` gives. */
  streams: boolean
  /** The messages of the answer in protobuf; what it throws is the call's error. */
  answer(by: Asked, request: Uint8Array): AsyncIterable<Uint8Array>
}

/** Reads a request. Throws `HTTP_MALFORMED` for what is no such message. */
export function readMessage<Desc extends DescMessage>(
  schema: Desc,
  bytes: Uint8Array,
): MessageShape<Desc> {
  try {
    return fromBinary(schema, bytes)
  } catch (cause) {
    const message = `the request is no ${schema.typeName}`
    throw new OtlakeError('HTTP_MALFORMED', message, { cause })
  }
}

export class QueryGrpc {
  #server: grpc.Server | undefined
  #injector: grpc.ConnectionInjector | undefined

  constructor(
    private readonly methods: readonly GrpcMethod[],
    private readonly options: { tokens: readonly Token[]; clock: Clock; isReady: () => boolean },
  ) {}

  start(): void {
    const server = new grpc.Server({
      'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
      'grpc.max_concurrent_streams': MAX_CALLS,
    })
    server.addService(
      Object.fromEntries(this.methods.map((method) => [method.path, definition(method)])),
      Object.fromEntries(this.methods.map((method) => [method.path, this.#handler(method)])),
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

  #handler(method: GrpcMethod): grpc.UntypedHandleCall {
    if (method.streams) {
      return (call: grpc.ServerWritableStream<Buffer, Uint8Array>) => {
        this.#stream(method, call).catch((thrown) => call.emit('error', failure(thrown)))
      }
    }
    return (
      call: grpc.ServerUnaryCall<Buffer, Uint8Array>,
      done: grpc.sendUnaryData<Uint8Array>,
    ) => {
      this.#only(method, call).then(
        (message) => done(null, message),
        (thrown) => done(failure(thrown)),
      )
    }
  }

  #messages(
    method: GrpcMethod,
    { metadata, request }: { metadata: grpc.Metadata; request: Buffer },
  ): AsyncIterable<Uint8Array> {
    const { tokens, isReady } = this.options
    const by = asked({ header: (name) => metadata.get(name)[0]?.toString() }, tokens)
    if (!isReady()) {
      const message = 'the node has not joined the others yet: ask another, or again'
      throw new OtlakeError('QUERY_INCOMPLETE', message)
    }
    return method.answer(by, request)
  }

  async #only(
    method: GrpcMethod,
    call: grpc.ServerUnaryCall<Buffer, Uint8Array>,
  ): Promise<Uint8Array> {
    for await (const message of this.#messages(method, call)) return message
    throw new OtlakeError('INTERNAL', `${method.path} gave no answer`)
  }

  async #stream(
    method: GrpcMethod,
    call: grpc.ServerWritableStream<Buffer, Uint8Array>,
  ): Promise<void> {
    for await (const message of this.#messages(method, call)) {
      if (call.cancelled) return
      if (!call.write(message)) await drained(call)
    }
    call.end()
  }
}

function definition({ path, streams }: GrpcMethod): grpc.MethodDefinition<Buffer, Uint8Array> {
  return {
    path,
    requestStream: false,
    responseStream: streams,
    requestSerialize: (bytes) => bytes,
    requestDeserialize: (bytes) => bytes,
    responseSerialize: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
    responseDeserialize: (bytes) => bytes,
  }
}

function failure(thrown: unknown): { code: grpc.status; details: string } {
  const { kind, code, message } = OtlakeError.from(thrown)
  return { code: STATUS[kind], details: `${code}: ${message}` }
}

/** Waits until the client takes more, or is gone. */
function drained(call: grpc.ServerWritableStream<Buffer, Uint8Array>): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off('drain', done).off('cancelled', done).off('close', done)
      resolve()
    }
    call.on('drain', done).on('cancelled', done).on('close', done)
    if (call.cancelled) done()
  })
}
