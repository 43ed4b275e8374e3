/**
 * The transport of real nodes: UDP for datagrams, TCP on the same port for exchanges. On a stream a
 * length of four bytes, big-endian, stands before each message.
 */

import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { type Clock, systemClock } from '../base/clock.js'
import { portTaken, splitAddress } from '../base/http/port.js'
import { MAX_STREAMS, STREAM_BYTES, STREAM_TIMEOUT_MS } from './settings.js'
import type { ExchangeFailure, Transport, TransportHandlers } from './transport.js'

const LENGTH_BYTES = 4
/** How often a free port for both protocols is looked for, where any will do. */
const PORT_TRIES = 20

export interface NodeTransportOptions {
  /** `HOST:PORT` to tell others where it is not the one that is bound, as behind `0.0.0.0`. */
  readonly advertise?: string
  readonly clock?: Clock
}

/** Binds both to `HOST:PORT`; port 0 takes a free one. Rejects with `NODE_PORT_TAKEN`. */
export async function openNodeTransport(
  address: string,
  options: NodeTransportOptions = {},
): Promise<Transport> {
  const { host, port } = splitAddress(address)
  for (let tries = 1; ; tries++) {
    const server = createServer({ allowHalfOpen: true })
    server.maxConnections = MAX_STREAMS
    const udp = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    try {
      server.listen(port, host)
      await once(server, 'listening')
      const bound = (server.address() as { port: number }).port
      udp.bind(bound, host)
      await once(udp, 'listening')
      const shown = host.includes(':') ? `[${host}]` : host
      const told = options.advertise ?? `${shown}:${bound}`
      return new NodeTransport(told, server, udp, options.clock ?? systemClock)
    } catch (error) {
      server.close()
      udp.close()
      // The port that TCP was given may be another program's for UDP.
      const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
      if (port !== 0 || !isTaken || tries === PORT_TRIES) throw portTaken(address, error)
    }
  }
}

class NodeTransport implements Transport {
  readonly #streams = new Set<Socket>()
  #handlers: TransportHandlers | null = null
  #asking = 0
  #closed = false

  constructor(
    readonly address: string,
    private readonly server: Server,
    private readonly udp: UdpSocket,
    private readonly clock: Clock,
  ) {
    udp.on('message', (bytes) => this.#handlers?.onPacket(bytes))
    // What cannot be delivered is lost, as any datagram may be.
    udp.on('error', () => undefined)
    server.on('error', () => undefined)
    server.on('connection', (socket) => this.#serve(socket))
  }

  listen(handlers: TransportHandlers): void {
    this.#handlers = handlers
  }

  send(to: string, bytes: Uint8Array): void {
    if (this.#closed) return
    const { host, port } = splitAddress(to)
    this.udp.send(bytes, port, host, () => undefined)
  }

  exchange(
    to: string,
    bytes: Uint8Array,
    done: (answer: Uint8Array | ExchangeFailure) => void,
  ): void {
    if (this.#closed) return
    const finish = (answer: Uint8Array | ExchangeFailure) => {
      if (!this.#closed) done(answer)
    }
    if (this.#asking >= MAX_STREAMS) {
      this.clock.sleep(0).then(() => finish('unreachable'))
      return
    }
    this.#asking++
    const { host, port } = splitAddress(to)
    const socket = connect(port, host)
    let answer: Uint8Array | null = null
    let failure: ExchangeFailure = 'closed'
    this.#limit(socket, () => {
      failure = 'timeout'
    })
    socket.once('error', ({ code }: NodeJS.ErrnoException) => {
      failure =
        code === 'ECONNREFUSED' ? 'refused' : code === 'ECONNRESET' ? 'closed' : 'unreachable'
    })
    readFrame(socket, (frame) => {
      answer = frame
      socket.destroy()
    })
    socket.once('close', () => {
      this.#asking--
      finish(answer ?? failure)
    })
    writeFrame(socket, bytes)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const closed = [once(this.server, 'close'), once(this.udp, 'close')]
    this.server.close()
    this.udp.close()
    for (const socket of this.#streams) socket.destroy()
    await Promise.all(closed)
  }

  #serve(socket: Socket): void {
    this.#limit(socket, () => undefined)
    socket.on('error', () => undefined)
    readFrame(socket, (frame) => {
      const answer = this.#closed ? null : (this.#handlers?.onRequest(frame) ?? null)
      if (answer === null) socket.destroy()
      else writeFrame(socket, answer)
    })
    // The asker is done: with the answer, or without patience.
    socket.once('end', () => socket.end())
  }

  /** Ends a stream that takes too long, and all of them when the transport closes. */
  #limit(socket: Socket, onTimeout: () => void): void {
    this.#streams.add(socket)
    socket.once('close', () => this.#streams.delete(socket))
    this.clock.sleep(STREAM_TIMEOUT_MS).then(() => {
      if (socket.destroyed) return
      onTimeout()
      socket.destroy()
    })
  }
}

function writeFrame(socket: Socket, bytes: Uint8Array): void {
  const length = Buffer.alloc(LENGTH_BYTES)
  length.writeUInt32BE(bytes.length)
  socket.write(Buffer.concat([length, bytes]))
}

/** Calls `done` with the first message of a stream; ends a stream whose message is too long. */
function readFrame(socket: Socket, done: (frame: Uint8Array) => void): void {
  const chunks: Buffer[] = []
  let received = 0
  let wanted: number | null = null
  const read = (chunk: Buffer) => {
    chunks.push(chunk)
    received += chunk.length
    if (wanted === null && received >= LENGTH_BYTES) {
      wanted = LENGTH_BYTES + Buffer.concat(chunks).readUInt32BE()
      if (wanted > LENGTH_BYTES + STREAM_BYTES) {
        socket.destroy()
        return
      }
    }
    if (wanted === null || received < wanted) return
    socket.off('data', read)
    done(Buffer.concat(chunks).subarray(LENGTH_BYTES, wanted))
  }
  socket.on('data', read)
}
