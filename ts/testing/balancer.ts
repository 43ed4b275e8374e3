/**
 * A TCP balancer before several nodes, as a client's one address: each connection goes to the next of
 * them that takes it, and stays there as long as both sides keep it.
 */

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export class Balancer {
  readonly #sockets = new Set<Socket>()
  #turn = 0

  private constructor(
    private readonly server: Server,
    private readonly targets: readonly string[],
  ) {}

  /** Listens on a port of its own; `targets` are `HOST:PORT`. */
  static async start(targets: readonly string[]): Promise<Balancer> {
    // What a client says first waits for whoever is to hear it.
    const server = createServer({ pauseOnConnect: true })
    const balancer = new Balancer(server, targets)
    server.on('connection', (client) => balancer.#join(client, targets.length))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return balancer
  }

  /** `HOST:PORT` for clients. */
  get address(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  /** Breaks every connection and takes no other. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  /** Connects a client to the next target that listens; hangs up when `left` have been tried. */
  #join(client: Socket, left: number): void {
    this.#keep(client)
    if (left === 0) {
      client.destroy()
      return
    }
    const [host = '', port] = (this.targets[this.#turn++ % this.targets.length] ?? '').split(':')
    const node = connect(Number(port), host)
    this.#keep(node)
    const refused = () => this.#join(client, left - 1)
    node.once('error', refused)
    node.once('connect', () => {
      node.off('error', refused)
      client.pipe(node)
      node.pipe(client)
      client.once('close', () => node.destroy())
      node.once('close', () => client.destroy())
      if (client.destroyed) node.destroy()
    })
  }

  #keep(socket: Socket): void {
    if (this.#sockets.has(socket)) return
    this.#sockets.add(socket)
    // The close that follows an error ends the other side too.
    socket.on('error', () => {})
    socket.once('close', () => this.#sockets.delete(socket))
  }
}
