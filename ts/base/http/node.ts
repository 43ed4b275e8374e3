/** The HTTP port on node:http. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  bodyTooLarge,
  type HttpRequest,
  type HttpResponse,
  type Listen,
  portTaken,
  splitAddress,
  splitTarget,
} from './port.js'

export const listenNode: Listen = async (address, handler) => {
  const { host, port } = splitAddress(address)
  const server = createServer((incoming, outgoing) => {
    const response = new NodeResponse(outgoing)
    handler(nodeRequest(incoming), response).catch(() => response.abort())
  })
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

  constructor(outgoing: ServerResponse) {
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

  write(chunk: Uint8Array): Promise<void> {
    const outgoing = this.#outgoing
    if (this.gone.aborted || outgoing.write(chunk)) return Promise.resolve()
    return new Promise((resolve) => {
      const done = () => {
        outgoing.off('drain', done)
        outgoing.off('close', done)
        resolve()
      }
      outgoing.on('drain', done)
      outgoing.on('close', done)
    })
  }

  end(chunk?: Uint8Array | string): void {
    this.#outgoing.end(chunk)
  }

  abort(): void {
    this.#outgoing.destroy()
  }
}
