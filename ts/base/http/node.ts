/** The HTTP port on node:http. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  bodyTooLarge,
  HTTP_LIMITS,
  type HttpRequest,
  type HttpResponse,
  type Listen,
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

export const listenNode: Listen = async (address, handler, limits = HTTP_LIMITS) => {
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
      const timer = setTimeout(() => server.closeAllConnections(), graceMs)
      await closed
      clearTimeout(timer)
    },
  }
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
