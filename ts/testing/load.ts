/**
 * Load for tests that push a node to its limits: protobuf requests of any size, clients over
 * plain sockets that say how they were refused, and what the node's process and metrics show.
 */

import { readFile } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import { type ClientHttp2Session, connect } from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ServerProcess } from './server.js'

const EXPORT = '/opentelemetry.proto.collector.trace.v1.TraceService/Export'
/** How long a refused client waits: shorter than it is told, to keep up the pressure. */
const IMPATIENCE_MS = 25

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  while (rest > 127) {
    bytes.push((rest % 128) | 128)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
  return Buffer.from(bytes)
}

function field(number: number, ...parts: Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([varint((number << 3) | 2), varint(length), ...parts])
}

function attribute(key: string, value: string): Buffer {
  return Buffer.concat([field(1, Buffer.from(key)), field(2, field(1, Buffer.from(value)))])
}

/**
 * A protobuf request of `spans` spans, each with an attribute of `bytes` bytes. Ids follow from
 * `number`, so that no two requests are alike; `traceId` (32 hex digits) overrides the trace's.
 */
export function spansRequest(
  service: string,
  number: number,
  spans: number,
  bytes: number,
  traceId?: string,
): Buffer {
  const trace = Buffer.from(traceId ?? (number + 1).toString(16).padStart(32, '0'), 'hex')
  const value = field(9, attribute('filling', 'x'.repeat(bytes)))
  const name = field(5, Buffer.from(`request ${number}`))
  const times = Buffer.alloc(18)
  times[0] = (7 << 3) | 1
  times.writeBigUInt64LE(1_700_000_000_000_000_000n, 1)
  times[9] = (8 << 3) | 1
  times.writeBigUInt64LE(1_700_000_001_000_000_000n, 10)
  const all = Array.from({ length: spans }, (_, index) => {
    const id = Buffer.alloc(8)
    id.writeBigUInt64BE(BigInt(number + 1) * 1_000_000n + BigInt(index))
    return field(2, field(1, trace), field(2, id), name, times, value)
  })
  const resource = field(1, field(1, attribute('service.name', service)))
  return field(1, resource, field(2, ...all))
}

export interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Buffer
}

/** Posts protobuf to OTLP/HTTP; rejects where the connection breaks. */
export function post(
  server: ServerProcess,
  body: Buffer,
  options: { agent?: Agent; tenant?: string; encoding?: string } = {},
): Promise<Answer> {
  const { agent, tenant, encoding } = options
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      `http://${server.addresses.otlpHttp}/v1/traces`,
      {
        method: 'POST',
        agent: agent ?? false,
        headers: {
          'content-type': 'application/x-protobuf',
          'content-length': body.length,
          ...(tenant ? { 'x-scope-orgid': tenant } : {}),
          ...(encoding ? { 'content-encoding': encoding } : {}),
        },
      },
      (incoming) => {
        const chunks: Buffer[] = []
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
        incoming.on('end', () => {
          // Refused before all of it was sent: the rest is not wanted.
          if (!outgoing.writableFinished) outgoing.destroy()
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: Buffer.concat(chunks),
          })
        })
        incoming.on('error', reject)
      },
    )
    outgoing.once('socket', (socket) => {
      // A server that refuses early closes while there is more to send, after its answer.
      if (socket.listenerCount('error') < 3) socket.on('error', () => undefined)
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

/** An agent whose sockets are kept, as an exporter's are. */
export const keptAgent = (): Agent => new Agent({ keepAlive: true, maxSockets: 1 })

/**
 * Posts until it is acknowledged; the number of refusals. Each refusal must be one that OTLP
 * lets a client try again, with the time to wait. Throws for any other answer. A connection that
 * broke while it was written to counts as a refusal, as it does for exporters: Node.js does not
 * read an answer that came before all was sent.
 */
export async function postUntilTaken(
  server: ServerProcess,
  body: Buffer,
  options: { agent?: Agent; tenant?: string } = {},
): Promise<number> {
  for (let refusals = 0; ; refusals++) {
    const given = await post(server, body, options).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE' || error.code === 'ECONNRESET') return null
      throw error
    })
    if (given === null) {
      await sleep(IMPATIENCE_MS)
      continue
    }
    const { status, headers, body: answer } = given
    if (status === 200) return refusals
    if (status !== 429 && status !== 503) throw new Error(`${status}: ${answer.toString()}`)
    if (!(Number(headers['retry-after']) >= 1)) throw new Error('no retry-after')
    if (!answer.includes('google.rpc.RetryInfo')) throw new Error('no RetryInfo')
    await sleep(IMPATIENCE_MS)
  }
}

const SESSION_MEMORY_MB = 1000

/** A connection for gRPC calls. */
export function grpcSession(server: ServerProcess): ClientHttp2Session {
  // Node.js would refuse, by itself, calls with more than 10 MB together.
  const session = connect(`http://${server.addresses.otlpGrpc}`, {
    maxSessionMemory: SESSION_MEMORY_MB,
  })
  session.on('error', () => undefined)
  return session
}

export interface GrpcAnswer {
  code: number
  /** `grpc-status-details-bin`, decoded. */
  details: Buffer
}

/** One export call; `encoding` says how `message` is compressed. */
export function grpcExport(
  session: ClientHttp2Session,
  message: Buffer,
  options: { encoding?: string; tenant?: string; announced?: number } = {},
): Promise<GrpcAnswer> {
  const { encoding, tenant, announced } = options
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': EXPORT,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...(encoding ? { 'grpc-encoding': encoding } : {}),
      ...(tenant ? { 'x-scope-orgid': tenant } : {}),
    })
    const seen: Record<string, unknown> = {}
    stream.on('response', (headers) => Object.assign(seen, headers))
    stream.on('trailers', (headers) => Object.assign(seen, headers))
    stream.on('error', reject)
    stream.on('close', () => {
      const details = Buffer.from(String(seen['grpc-status-details-bin'] ?? ''), 'base64')
      if (seen['grpc-status'] === undefined) reject(new Error('the call has no status'))
      else resolve({ code: Number(seen['grpc-status']), details })
    })
    stream.resume()
    const prefix = Buffer.alloc(5)
    prefix[0] = encoding ? 1 : 0
    prefix.writeUInt32BE(announced ?? message.length, 1)
    stream.write(Buffer.concat([prefix, message]))
    // A message that is announced and does not come leaves the call open.
    if (announced === undefined) stream.end()
  })
}

/** Senders of `pace`, and what each sends. */
const PACERS = 4
const PACE_SPANS = 10
const PACE_BYTES = 100
/** Where the numbers of their requests begin: beyond those of any test. */
let paced = 10_000_000

/** Acknowledged requests a second of a few ordinary senders, over `milliseconds`. */
export async function pace(server: ServerProcess, milliseconds: number): Promise<number> {
  const started = performance.now()
  let acknowledged = 0
  const sender = async () => {
    const agent = keptAgent()
    while (performance.now() < started + milliseconds) {
      const body = spansRequest('pace', paced++, PACE_SPANS, PACE_BYTES)
      const answer = await post(server, body, { agent }).catch(() => null)
      if (answer?.status === 200) acknowledged++
      else await sleep(IMPATIENCE_MS)
    }
    agent.destroy()
  }
  await Promise.all(Array.from({ length: PACERS }, sender))
  return Math.round((acknowledged * 1000) / (performance.now() - started))
}

/** One of the node's own figures: the sum over its labels. */
export async function metric(server: ServerProcess, name: string): Promise<number> {
  const text = await (await fetch(server.url('/metrics'))).text()
  const lines = text.split('\n').filter((line) => line.split(/[{ ]/)[0] === name)
  if (lines.length === 0) throw new Error(`there is no metric ${name}`)
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

/** Waits until a figure is at most `limit`; the test's own time-out ends a wait without hope. */
export async function settles(server: ServerProcess, name: string, limit = 0): Promise<void> {
  while ((await metric(server, name)) > limit) await sleep(50)
}

/** The resident memory of the node's process and its peak, in MiB, as the kernel counts them. */
export async function resident(server: ServerProcess): Promise<{ now: number; peak: number }> {
  const text = await readFile(`/proc/${server.child.pid}/status`, 'utf8')
  const of = (key: string) => Number(new RegExp(`${key}:\\s+(\\d+) kB`).exec(text)?.[1]) / 1024
  return { now: of('VmRSS'), peak: of('VmHWM') }
}
