/**
 * The HTTP port on uWebSockets.js, an optional peer: the package is large, and only a node with
 * many HTTP clients gains from it.
 */

import {
  bodyTooLarge,
  type Handler,
  type HttpRequest,
  type HttpResponse,
  type HttpServer,
  type Listen,
  portTaken,
  splitAddress,
} from './port.js'

/** What is used of uWebSockets.js; the package need not be there to compile this. */
interface Uws {
  App(): UwsApp
  us_socket_local_port(socket: unknown): number
  us_listen_socket_close(socket: unknown): void
}

interface UwsApp {
  any(pattern: string, handler: (response: UwsResponse, request: UwsRequest) => void): UwsApp
  listen(host: string, port: number, callback: (socket: unknown) => void): UwsApp
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
  close(): UwsResponse
}

const POLL_MS = 10

/** The adapter, or null where uWebSockets.js is not installed or does not fit this machine. */
export async function loadUws(): Promise<Listen | null> {
  // A name in a variable: TypeScript must not look for the optional package.
  const name = 'uWebSockets.js'
  try {
    const module = (await import(name)) as { default?: Uws } & Uws
    const uws = module.default ?? module
    return (address, handler) => listen(uws, address, handler)
  } catch {
    return null
  }
}

async function listen(uws: Uws, address: string, handler: Handler): Promise<HttpServer> {
  const { host, port } = splitAddress(address)
  const app = uws.App()
  const open = new Set<UwsAnswer>()
  app.any('/*', (raw, rawRequest) => {
    const response = new UwsAnswer(raw, () => open.delete(response))
    open.add(response)
    handler(uwsRequest(raw, rawRequest, response), response).catch(() => response.abort())
  })
  const socket = await new Promise<unknown>((resolve, reject) => {
    app.listen(host, port, (listening) => {
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
  let limit = Number.POSITIVE_INFINITY
  let finish: (() => void) | undefined
  let fail: ((error: unknown) => void) | undefined
  let complete = false
  raw.onData((chunk, isLast) => {
    length += chunk.byteLength
    if (length <= limit) {
      // The memory is taken back when this returns.
      chunks.push(Buffer.from(chunk.slice(0)))
    } else {
      fail?.(bodyTooLarge(limit))
    }
    if (isLast) {
      complete = true
      finish?.()
    }
  })
  return {
    method: request.getMethod().toUpperCase(),
    path: decodePath(request.getUrl()),
    query: new URLSearchParams(request.getQuery() ?? ''),
    header: (name) => headers.get(name.toLowerCase()),
    body(limitBytes) {
      limit = limitBytes
      return new Promise((resolve, reject) => {
        fail = reject
        finish = () => resolve(Buffer.concat(chunks))
        if (length > limitBytes) reject(bodyTooLarge(limitBytes))
        else if (complete) finish()
        response.gone.addEventListener('abort', () => reject(new Error('the client went away')))
      })
    },
  }
}

/** As `URL` does it, so that both adapters see the same path. */
function decodePath(path: string): string {
  return new URL(path, 'http://localhost').pathname
}

class UwsAnswer implements HttpResponse {
  readonly #raw: UwsResponse
  readonly #gone = new AbortController()
  readonly #done: () => void
  #ended = false
  #begun: { status: number; headers: Record<string, string> } | null = null

  constructor(raw: UwsResponse, done: () => void) {
    this.#raw = raw
    this.#done = done
    raw.onAborted(() => {
      this.#ended = true
      this.#gone.abort()
      done()
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
    this.#raw.writeStatus(`${this.#begun.status}`)
    for (const [name, value] of Object.entries(this.#begun.headers)) {
      if (name.toLowerCase() !== 'content-length') this.#raw.writeHeader(name, value)
    }
    this.#begun = null
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#ended) return Promise.resolve()
    let taken = true
    this.#raw.cork(() => {
      this.#writeHead()
      taken = this.#raw.write(chunk)
    })
    if (taken) return Promise.resolve()
    return new Promise((resolve) => {
      this.#raw.onWritable(() => {
        resolve()
        return true
      })
      this.gone.addEventListener('abort', () => resolve())
    })
  }

  end(chunk?: Uint8Array | string): void {
    if (this.#ended) return
    this.#ended = true
    this.#raw.cork(() => {
      this.#writeHead()
      this.#raw.end(chunk)
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
