/**
 * The transport of real nodes: UDP for datagrams, TCP on the same port for exchanges. On a stream a
 * length of four bytes, big-endian, stands before each message. HTTP/2 may share the port: its
 * preface begins with `PRI `, which as a length is far beyond what a message may have.
 */

import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { type Clock, systemClock } from '../base/clock.js'
import { portTaken, splitAddress } from '../base/http/port.js'
import { MAX_STREAMS, STREAM_BYTES, STREAM_TIMEOUT_MS } from './settings.js'
import type { ExchangeFailure, Transport, TransportHandlers } from './transport.js'

const LENGTH_BYTES = 4
/** The first bytes of HTTP/2 (RFC 9113, 3.4), as a length. */
const HTTP2_PREFACE = Buffer.from('PRI ').readUInt32BE()
/** Connections of HTTP/2 that others may have open to a node at once. */
export const MAX_HTTP2_CONNECTIONS = 128
/** How often a free port for both protocols is looked for, where any will do. */
const PORT_TRIES = 20

export interface NodeTransportOptions {
  /**
   * `HOST:PORT` to tell others where it is not the one that is bound, as behind `0.0.0.0`; or what
   * makes it of the port that was bound.
   */
  readonly advertise?: string | ((port: number) => string)
  readonly clock?: Clock
  /** Takes over a connection that speaks HTTP/2; without it such a one is ended. */
  readonly onHttp2?: (socket: Socket) => void
}

/** Binds both to `HOST:PORT`; port 0 takes a free one. Rejects with `NODE_PORT_TAKEN`. */
export async function openNodeTransport(
  address: string,
  options: NodeTransportOptions = {},
): Promise<Transport> {
  const { host, port } = splitAddress(address)
  for (let tries = 1; ; tries++) {
    const server = createServer({ allowHalfOpen: true })
    server.maxConnections = MAX_STREAMS + (options.onHttp2 ? MAX_HTTP2_CONNECTIONS : 0)
    const udp = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    try {
      server.listen(port, host)
      await once(server, 'listening')
      const bound = (server.address() as { port: number }).port
      udp.bind(bound, host)
      await once(udp, 'listening')
      const shown = host.includes(':') ? `[${host}]` : host
      const { advertise = `${shown}:${bound}` } = options
      const told = typeof advertise === 'string' ? advertise : advertise(bound)
      const { clock = systemClock, onHttp2 = null } = options
      return new NodeTransport(told, server, udp, clock, onHttp2)
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
  #asked = 0
  #http2 = 0
  #closed = false

  constructor(
    readonly address: string,
    private readonly server: Server,
    private readonly udp: UdpSocket,
    private readonly clock: Clock,
    private readonly onHttp2: ((socket: Socket) => void) | null,
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
    readFrame(socket, Buffer.alloc(0), (frame) => {
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
    const goOn = this.#limit(socket, () => undefined)
    socket.on('error', () => undefined)
    firstBytes(socket, (head) => {
      if (this.onHttp2 !== null && head.readUInt32BE() === HTTP2_PREFACE) {
        // It lasts as long as its calls do.
        goOn()
        this.#handOver(socket, head, this.onHttp2)
      } else this.#answer(socket, head)
    })
  }

  #handOver(socket: Socket, head: Buffer, onHttp2: (socket: Socket) => void): void {
    if (this.#http2 >= MAX_HTTP2_CONNECTIONS) {
      socket.destroy()
      return
    }
    this.#http2++
    socket.once('close', () => this.#http2--)
    socket.pause()
    socket.unshift(head)
    socket.allowHalfOpen = false
    onHttp2(socket)
  }

  #answer(socket: Socket, head: Buffer): void {
    if (this.#asked >= MAX_STREAMS) {
      socket.destroy()
      return
    }
    this.#asked++
    socket.once('close', () => this.#asked--)
    // The asker is done: with the answer, or without patience.
    socket.once('end', () => socket.end())
    readFrame(socket, head, (frame) => {
      const answer = this.#closed ? null : (this.#handlers?.onRequest(frame) ?? null)
      if (answer === null) socket.destroy()
      else writeFrame(socket, answer)
    })
  }

  /**
   * Ends a stream that takes too long, unless the returned function is called, and all of them
   * when the transport closes.
   */
  #limit(socket: Socket, onTimeout: () => void): () => void {
    let isLimited = true
    this.#streams.add(socket)
    socket.once('close', () => this.#streams.delete(socket))
    this.clock.sleep(STREAM_TIMEOUT_MS).then(() => {
      if (socket.destroyed || !isLimited) return
      onTimeout()
      socket.destroy()
    })
    return () => {
      isLimited = false
    }
  }
}

function writeFrame(socket: Socket, bytes: Uint8Array): void {
  const length = Buffer.alloc(LENGTH_BYTES)
  length.writeUInt32BE(bytes.length)
  socket.write(Buffer.concat([length, bytes]))
}

/** Calls `done` once with what came first, as many bytes as tell what it is. */
function firstBytes(socket: Socket, done: (head: Buffer) => void): void {
  const chunks: Buffer[] = []
  const read = (chunk: Buffer) => {
    chunks.push(chunk)
    const head = Buffer.concat(chunks)
    if (head.length < LENGTH_BYTES) return
    socket.off('data', read)
    socket.off('end', end)
    done(head)
  }
  const end = () => socket.destroy()
  socket.on('data', read)
  socket.once('end', end)
}

/**
 * Calls `done` with the first message of a stream, of which `head` has been read already; ends a
 * stream whose message is too long.
 */
function readFrame(socket: Socket, head: Buffer, done: (frame: Uint8Array) => void): void {
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
  if (head.length > 0) read(head)
}
