/**
 * A TCP relay between a client and a node. It remembers what clients sent, the proof that a
 * configured compression was really used; it can swallow the node's answers, so that what the
 * node has stored is not acknowledged when it dies; and it can be gone for a while, as a server is
 * that was killed.
 */

import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** How much of what clients sent is remembered: the whole of a short program's. */
const KEPT_BYTES = 1024 * 1024

export class Relay {
  private readonly chunks: Buffer[] = []
  private readonly sockets = new Set<Socket>()
  private size = 0

  private silent = false

  private port = 0

  private constructor(
    private readonly server: Server,
    private target: string,
  ) {}

  /** Listens on a port of its own and passes each connection on to `target`, `HOST:PORT`. */
  static async start(target: string): Promise<Relay> {
    const server = createServer()
    const relay = new Relay(server, target)
    server.on('connection', (client) => relay.join(client))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    relay.port = (server.address() as AddressInfo).port
    return relay
  }

  /** From now on no answer gets through. */
  mute(): void {
    this.silent = true
  }

  /** Answers get through again; connections from now on go to `target`. */
  restore(target: string): void {
    this.silent = false
    this.target = target
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** Breaks every connection and refuses further ones. */
  cut(): Promise<void> {
    return this.close()
  }

  /** Listens again, at the address of before. */
  async mend(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(this.port, '127.0.0.1', resolve))
  }

  /** Whether the first bytes of the clients hold the text as it is. */
  saw(text: string): boolean {
    return Buffer.concat(this.chunks).includes(text)
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private join(client: Socket): void {
    const [host = '', port] = this.target.split(':')
    const upstream = connect(Number(port), host)
    client.on('data', (chunk) => this.keep(chunk))
    client.pipe(upstream)
    upstream.on('data', (chunk) => {
      if (!this.silent) client.write(chunk)
    })
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      this.sockets.add(socket)
      // The close that follows an error ends the other side too.
      socket.on('error', () => {})
      socket.on('close', () => {
        this.sockets.delete(socket)
        other.destroy()
      })
    }
  }

  private keep(chunk: Buffer): void {
    if (this.size >= KEPT_BYTES) return
    this.size += chunk.length
    this.chunks.push(chunk)
  }
}
