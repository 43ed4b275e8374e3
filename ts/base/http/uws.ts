/**
 * The HTTP port on uWebSockets.js, an optional peer: the package is large, and only a node with
 * many HTTP clients gains from it. It speaks HTTP/1.1 alone, and nobody can look at its connections
 * first: `onHttp2` is never called.
 */

import { STATUS_CODES } from 'node:http'
import {
  bodyTooLarge,
  type Handler,
  HTTP_LIMITS,
  type HttpLimits,
  type HttpRequest,
  type HttpResponse,
  type HttpServer,
  type Listen,
  portTaken,
  SLICE_BYTES,
  slices,
  splitAddress,
  splitTarget,
} from './port.js'

/** What is used of uWebSockets.js; the package need not be there to compile this. */
interface Uws {
  App(): UwsApp
  us_socket_local_port(socket: unknown): number
  us_listen_socket_close(socket: unknown): void
}

interface UwsApp {
  filter(handler: (response: UwsResponse, change: number) => void): UwsApp
  any(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): UwsApp
  listen(host: string, port: number, options: number, callback: (socket: unknown) => void): UwsApp
  close(): UwsApp
}

interface UwsRequest {
  getMethod(): string
  getUrl(): string
  getQuery(): string
  forEach(each: (name: string, value: string) => void): void
}

interface UwsResponse {
  onAborted(handler: () => void): UwsResponse
  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): UwsResponse
  onWritable(handler: () => boolean): UwsResponse
  cork(work: () => void): UwsResponse
  writeStatus(status: string): UwsResponse
  writeHeader(name: string, value: string): UwsResponse
  write(chunk: Uint8Array): boolean
  end(chunk?: Uint8Array | string): UwsResponse
  endWithoutBody(): UwsResponse
  close(): UwsResponse
}

/** LIBUS_LISTEN_EXCLUSIVE_PORT: without it a second node would share the port, and each get half. */
const EXCLUSIVE_PORT = 1
const POLL_MS = 10
/** Bytes of a body that nobody has asked for yet; beyond them it counts as too large (I5). */
const UNREAD_BODY_BYTES = 1024 * 1024

/** The adapter, or null where uWebSockets.js is not installed or does not fit this machine. */
export async function loadUws(): Promise<Listen | null> {
  // A name in a variable: TypeScript must not look for the optional package.
  const name = 'uWebSockets.js'
  try {
    const module = (await import(name)) as { default?: Uws } & Uws
    const uws = module.default ?? module
    return (address, handler, limits = HTTP_LIMITS) => listen(uws, address, handler, limits)
  } catch {
    return null
  }
}

async function listen(
  uws: Uws,
  address: string,
  handler: Handler,
  limits: HttpLimits,
): Promise<HttpServer> {
  const { host, port } = splitAddress(address)
  const app = uws.App()
  const open = new Set<UwsAnswer>()
  // uWebSockets.js has no limit of its own. Late heads it closes by itself, after 10 seconds.
  let connections = 0
  const count = (raw: UwsResponse, change: number) => {
    connections += change
    if (change > 0 && connections > limits.connections) raw.close()
  }
  app.filter(count)
  app.any('/*', (raw, rawRequest) => {
    const isHead = rawRequest.getMethod() === 'head'
    const response = new UwsAnswer(raw, isHead, limits.stallMs, () => open.delete(response))
    open.add(response)
    handler(uwsRequest(raw, rawRequest, response), response).catch(() => response.abort())
  })
  const socket = await new Promise<unknown>((resolve, reject) => {
    app.listen(host, port, EXCLUSIVE_PORT, (listening) => {
      if (listening) resolve(listening)
      else reject(portTaken(address, undefined))
    })
  })
  const shown = host.includes(':') ? `[${host}]` : host
  return {
    address: `${shown}:${uws.us_socket_local_port(socket)}`,
    async close(graceMs) {
      uws.us_listen_socket_close(socket)
      for (let waited = 0; open.size > 0 && waited < graceMs; waited += POLL_MS) {
        await new Promise((resolve) => setTimeout(resolve, POLL_MS))
      }
      app.close()
    },
  }
}

function uwsRequest(raw: UwsResponse, request: UwsRequest, response: UwsAnswer): HttpRequest {
  // The request is only valid now; what may be asked for later is copied.
  const headers = new Map<string, string>()
  request.forEach((name, value) => {
    const before = headers.get(name)
    headers.set(name, before === undefined ? value : `${before}, ${value}`)
  })
  const chunks: Buffer[] = []
  let length = 0
  let limit = UNREAD_BODY_BYTES
  let finish: (() => void) | undefined
  let fail: ((error: unknown) => void) | undefined
  let complete = false
  let isCut = false
  raw.onData((chunk, isLast) => {
    length += chunk.byteLength
    if (length <= limit) {
      // The memory is taken back when this returns.
      chunks.push(Buffer.from(chunk.slice(0)))
    } else {
      isCut = true
      chunks.length = 0
      fail?.(bodyTooLarge(limit))
    }
    if (isLast) {
      complete = true
      finish?.()
    }
  })
  return {
    method: request.getMethod().toUpperCase(),
    ...splitTarget(`${request.getUrl()}?${request.getQuery() ?? ''}`),
    header: (name) => headers.get(name.toLowerCase()),
    body(limitBytes) {
      limit = limitBytes
      return new Promise((resolve, reject) => {
        fail = reject
        finish = () => resolve(Buffer.concat(chunks))
        if (isCut || length > limitBytes) reject(bodyTooLarge(limitBytes))
        else if (complete) finish()
        response.gone.addEventListener('abort', () => reject(new Error('the client went away')))
      })
    },
  }
}

class UwsAnswer implements HttpResponse {
  readonly #raw: UwsResponse
  readonly #gone = new AbortController()
  readonly #done: () => void
  #ended = false
  #drained: (() => void) | undefined
  #begun: { status: number; headers: Record<string, string> } | null = null

  constructor(
    raw: UwsResponse,
    private readonly isHead: boolean,
    private readonly stallMs: number,
    done: () => void,
  ) {
    this.#raw = raw
    this.#done = done
    raw.onAborted(() => {
      this.#ended = true
      this.#gone.abort()
      this.#resume()
      done()
    })
    // One handler for good: uWebSockets.js puts the old one back after calling it, so that one
    // set by the write that follows would be lost.
    raw.onWritable(() => {
      this.#resume()
      return true
    })
  }

  get gone(): AbortSignal {
    return this.#gone.signal
  }

  head(status: number, headers: Record<string, string>): void {
    // It is written with the first chunk or the end, in one piece.
    this.#begun = { status, headers }
  }

  #writeHead(): void {
    if (!this.#begun) return
    // A status line without a reason needs its space, which uWebSockets.js would leave out.
    const { status } = this.#begun
    this.#raw.writeStatus(`${status} ${STATUS_CODES[status] ?? 'Other'}`)
    for (const [name, value] of Object.entries(this.#begun.headers)) {
      if (name.toLowerCase() !== 'content-length') this.#raw.writeHeader(name, value)
    }
    this.#begun = null
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (const slice of slices(chunk)) await this.#take(slice)
  }

  #take(slice: Uint8Array): Promise<void> {
    if (this.#ended || this.isHead) return Promise.resolve()
    let taken = true
    this.#raw.cork(() => {
      this.#writeHead()
      taken = this.#raw.write(slice)
    })
    if (taken) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.abort(), this.stallMs)
      this.#drained = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #resume(): void {
    const drained = this.#drained
    this.#drained = undefined
    drained?.()
  }

  end(chunk?: Uint8Array | string): void {
    if (this.#ended) return
    const body = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    if (body && body.length > SLICE_BYTES && !this.isHead) {
      void this.write(body).then(() => this.end())
      return
    }
    this.#ended = true
    this.#raw.cork(() => {
      this.#writeHead()
      // A body after HEAD would be read as the next answer on the connection.
      if (this.isHead) this.#raw.endWithoutBody()
      else this.#raw.end(body)
    })
    this.#done()
  }

  abort(): void {
    if (this.#ended) return
    this.#ended = true
    this.#raw.close()
    this.#done()
  }
}
