/** The HTTP port on node:http. It can hand over connections that begin HTTP/2. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import {
  bodyTooLarge,
  HTTP_LIMITS,
  type HttpRequest,
  type HttpResponse,
  type Listen,
  type OnHttp2,
  portTaken,
  SLICE_BYTES,
  slices,
  splitAddress,
  splitTarget,
} from './port.js'

/** How often Node.js looks for connections that are late with a request. */
const CHECK_MS = 1000
/** How long the whole of a request may take; bodies are small here. */
const REQUEST_MS = 60_000

export const listenNode: Listen = async (address, handler, limits = HTTP_LIMITS, onHttp2) => {
  const { host, port } = splitAddress(address)
  const options = {
    headersTimeout: limits.headersMs,
    requestTimeout: REQUEST_MS,
    connectionsCheckingInterval: Math.min(CHECK_MS, limits.headersMs),
  }
  const server = createServer(options, (incoming, outgoing) => {
    const response = new NodeResponse(outgoing, limits.stallMs)
    handler(nodeRequest(incoming), response).catch(() => response.abort())
  })
  server.maxConnections = limits.connections
  // The server knows nothing of these: those that sent nothing yet, and those handed over.
  const waiting = new Set<Socket>()
  const handed = new Set<Socket>()
  if (onHttp2) {
    tellApart(server, waiting, limits.headersMs, (socket) => {
      handed.add(socket)
      socket.once('close', () => handed.delete(socket))
      onHttp2(socket)
    })
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(portTaken(address, error)))
    server.listen(port, host, resolve)
  })
  const bound = server.address() as AddressInfo
  const shown = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address
  return {
    address: `${shown}:${bound.port}`,
    async close(graceMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      for (const socket of waiting) socket.destroy()
      const timer = setTimeout(() => {
        server.closeAllConnections()
        for (const socket of handed) socket.destroy()
      }, graceMs)
      await closed
      clearTimeout(timer)
    },
  }
}

/** What a client that speaks HTTP/2 begins with (RFC 9113, 3.4); no method of HTTP/1.1 begins so. */
const HTTP2_BEGINS = Buffer.from('PRI * HTTP/2.0')

/**
 * Looks at what comes first on each connection of `server`, and hands over those that begin HTTP/2. The
 * others go on as if nobody had looked: what was read is put back. `waiting` has those that sent too
 * little so far.
 */
function tellApart(server: Server, waiting: Set<Socket>, limitMs: number, onHttp2: OnHttp2): void {
  const listeners = server.listeners('connection') as ((socket: Socket) => void)[]
  server.removeAllListeners('connection')
  server.on('connection', (socket: Socket) => {
    // Until the server has the connection, nobody else watches over it.
    const late = setTimeout(() => socket.destroy(), limitMs)
    let head: Buffer = Buffer.alloc(0)
    const look = (chunk: Buffer) => {
      head = Buffer.concat([head, chunk])
      const compared = head.subarray(0, HTTP2_BEGINS.length)
      const mayBe = compared.equals(HTTP2_BEGINS.subarray(0, compared.length))
      if (mayBe && compared.length < HTTP2_BEGINS.length) return
      stop()
      socket.pause()
      socket.unshift(head)
      if (mayBe) {
        // Whoever takes it over lets it flow; what comes before must not be lost.
        socket.allowHalfOpen = false
        onHttp2(socket)
        return
      }
      for (const listener of listeners) listener.call(server, socket)
      socket.resume()
    }
    const end = () => socket.destroy()
    const ignore = () => undefined
    const stop = () => {
      clearTimeout(late)
      waiting.delete(socket)
      socket.off('data', look).off('end', end).off('error', ignore).off('close', stop)
    }
    waiting.add(socket)
    socket.on('data', look).on('end', end).on('error', ignore).on('close', stop)
  })
}

function nodeRequest(incoming: IncomingMessage): HttpRequest {
  return {
    method: incoming.method ?? 'GET',
    ...splitTarget(incoming.url ?? '/'),
    header(name) {
      const value = incoming.headers[name.toLowerCase()]
      return Array.isArray(value) ? value.join(', ') : value
    },
    async body(limitBytes) {
      const chunks: Buffer[] = []
      let length = 0
      for await (const chunk of incoming) {
        length += (chunk as Buffer).length
        if (length > limitBytes) throw bodyTooLarge(limitBytes)
        chunks.push(chunk as Buffer)
      }
      return Buffer.concat(chunks)
    },
  }
}

class NodeResponse implements HttpResponse {
  readonly #outgoing: ServerResponse
  readonly #gone = new AbortController()

  constructor(
    outgoing: ServerResponse,
    private readonly stallMs: number,
  ) {
    this.#outgoing = outgoing
    outgoing.once('close', () => {
      if (!outgoing.writableFinished) this.#gone.abort()
    })
  }

  get gone(): AbortSignal {
    return this.#gone.signal
  }

  head(status: number, headers: Record<string, string>): void {
    this.#outgoing.writeHead(status, headers)
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (const slice of slices(chunk)) await this.#take(slice)
  }

  #take(slice: Uint8Array): Promise<void> {
    const outgoing = this.#outgoing
    if (this.gone.aborted || outgoing.write(slice)) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.abort(), this.stallMs)
      const done = () => {
        clearTimeout(timer)
        outgoing.off('drain', done)
        outgoing.off('close', done)
        resolve()
      }
      outgoing.on('drain', done)
      outgoing.on('close', done)
    })
  }

  end(chunk: Uint8Array | string = ''): void {
    const body = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    if (body.length > SLICE_BYTES) {
      void this.write(body).then(() => this.end())
      return
    }
    const timer = setTimeout(() => this.abort(), this.stallMs)
    this.#outgoing.once('finish', () => clearTimeout(timer))
    this.#outgoing.once('close', () => clearTimeout(timer))
    this.#outgoing.end(body)
  }

  abort(): void {
    this.#outgoing.destroy()
  }
}
