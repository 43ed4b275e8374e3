/**
 * The port to an HTTP server: what the APIs need, and no more. Two adapters stand behind it,
 * `node.ts` (always there) and `uws.ts` (where uWebSockets.js is installed); `contract.test.ts`
 * holds both to the same promises.
 */

import type { Socket } from 'node:net'
import { OtlakeError } from '../errors.js'

export interface HttpRequest {
  readonly method: string
  /** Without the query. */
  readonly path: string
  readonly query: URLSearchParams
  header(name: string): string | undefined
  /** The whole body. Rejects with `HTTP_TOO_LARGE` beyond `limitBytes`. */
  body(limitBytes: number): Promise<Buffer>
}

export interface HttpResponse {
  /** Aborted when the client goes away before the end. */
  readonly gone: AbortSignal
  /** Sends the head. Call it once, before anything else. */
  head(status: number, headers: Record<string, string>): void
  /**
   * Sends a chunk; resolves when the socket can take more, or the client is gone. One that stands
   * still for `HttpLimits.stallMs` is made to go: what waits for it must not stay in memory.
   */
  write(chunk: Uint8Array): Promise<void>
  /** Ends a whole answer. The answer to HEAD is its head alone, whatever is written. */
  end(chunk?: Uint8Array | string): void
  /** Breaks the connection: the client must not take what it has for the whole. */
  abort(): void
}

export type Handler = (request: HttpRequest, response: HttpResponse) => Promise<void>

export interface HttpServer {
  /** `IP:PORT`, with the port that was bound. */
  readonly address: string
  /** Takes no new connections, and resolves when what is in flight is done or `graceMs` passed. */
  close(graceMs: number): Promise<void>
}

/** What one server takes (I5). */
export interface HttpLimits {
  /** Connections at once; a further one is closed. */
  connections: number
  /** How long a connection may take to a request's head. */
  headersMs: number
  /** How long a client may take for the next 256 KiB of an answer that waits for it. */
  stallMs: number
}

export const HTTP_LIMITS: HttpLimits = { connections: 4096, headersMs: 10_000, stallMs: 60_000 }

/** Takes over a connection whose client began HTTP/2 by itself; it is paused, with nothing taken. */
export type OnHttp2 = (socket: Socket) => void

/**
 * Listens on `HOST:PORT`. With `onHttp2` the port has HTTP/2, too, where the adapter can tell: one
 * that cannot answers such a client with an error of HTTP/1.1, or closes.
 */
export type Listen = (
  address: string,
  handler: Handler,
  limits?: HttpLimits,
  onHttp2?: OnHttp2,
) => Promise<HttpServer>

/** Splits `HOST:PORT`; an IPv6 host stands in brackets. */
export function splitAddress(address: string): { host: string; port: number } {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(address) ?? []
  const host = bracketed ?? plain
  if (host === undefined || Number(port) > 65_535) {
    throw new OtlakeError('CONFIG_INVALID', `\`${address}\` is not HOST:PORT`)
  }
  return { host, port: Number(port) }
}

/**
 * The path and query of a request target as it came. It is split by hand, because `URL` throws
 * on targets that a client may send (`//`), and one request must not end the process.
 */
export function splitTarget(target: string): { path: string; query: URLSearchParams } {
  // A proxy may send the absolute form.
  const local = target.replace(/^https?:\/\/[^/?#]*/i, '')
  const [, path = '', query = ''] = /^([^?#]*)(?:\?([^#]*))?/.exec(local) ?? []
  return { path: path === '' ? '/' : path, query: new URLSearchParams(query) }
}

/** What is given to a socket at a time; a client that takes one within `stallMs` goes on. */
export const SLICE_BYTES = 256 * 1024

/** The chunk in slices. */
export function* slices(chunk: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < chunk.length; start += SLICE_BYTES) {
    yield chunk.subarray(start, start + SLICE_BYTES)
  }
}

export function portTaken(address: string, cause: unknown): OtlakeError {
  const why = cause instanceof Error ? `: ${cause.message}` : ''
  return new OtlakeError('NODE_PORT_TAKEN', `listening on ${address} failed${why}`, { cause })
}

export function bodyTooLarge(limitBytes: number): OtlakeError {
  return new OtlakeError('HTTP_TOO_LARGE', `the body has more than ${limitBytes} bytes`)
}
