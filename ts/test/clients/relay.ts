/**
 * A TCP relay that keeps what a client sent: the proof that a configured compression was really
 * used, without asking the client.
 */

import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** A test sends a few kilobytes; more than this is a defect of the test. */
const MAX_SENT_BYTES = 16 * 1024 * 1024

export class Relay {
  private readonly chunks: Buffer[] = []
  private readonly sockets = new Set<Socket>()
  private size = 0

  private constructor(private readonly server: Server) {}

  /** Listens on a port of its own and passes each connection on to `target`, `HOST:PORT`. */
  static async start(target: string): Promise<Relay> {
    const [host = '', port] = target.split(':')
    const server = createServer()
    const relay = new Relay(server)
    server.on('connection', (client) => {
      const upstream = connect(Number(port), host)
      client.on('data', (chunk) => relay.keep(chunk))
      client.pipe(upstream).pipe(client)
      for (const [socket, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        relay.sockets.add(socket)
        socket.on('error', () => other.destroy())
        socket.on('close', () => relay.sockets.delete(socket))
      }
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return relay
  }

  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  /** Whether the clients' bytes hold the text as it is. */
  saw(text: string): boolean {
    return Buffer.concat(this.chunks).includes(text)
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private keep(chunk: Buffer): void {
    this.size += chunk.length
    if (this.size > MAX_SENT_BYTES) throw new Error('a client sent more than the relay keeps')
    this.chunks.push(chunk)
  }
}
