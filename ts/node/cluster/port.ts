/** The cluster's port: gossip over UDP and TCP, and the control calls on the same TCP port. */

import type { Socket } from 'node:net'
import { splitAddress } from '../../base/http/port.js'
import { openNodeTransport } from '../../cluster/node-transport.js'
import type { Transport } from '../../cluster/transport.js'
import { type ClusterConfig, hostPort } from '../cluster-config.js'
import type { Part } from '../lifecycle.js'

export class PortPart implements Part {
  readonly name = 'port'
  readonly needs = []
  #transport: Transport | undefined

  constructor(
    private readonly config: ClusterConfig,
    private readonly onHttp2: (socket: Socket) => void,
  ) {}

  /** `HOST:PORT` that others are told; empty before the start. */
  get address(): string {
    return this.#transport?.address ?? ''
  }

  /** The host that others are told. */
  get host(): string {
    return this.config.advertise?.host ?? splitAddress(this.config.listen).host
  }

  /**
   * The port for membership, which comes and goes while the port stays: a call is still to be
   * answered when the node has left.
   */
  transport(): Transport {
    const transport = this.#transport as Transport
    let isOpen = true
    return {
      address: transport.address,
      listen: (handlers) => transport.listen(handlers),
      send: (to, bytes) => {
        if (isOpen) transport.send(to, bytes)
      },
      exchange: (to, bytes, done) => {
        if (!isOpen) return
        transport.exchange(to, bytes, (answer) => {
          if (isOpen) done(answer)
        })
      },
      close: async () => {
        isOpen = false
        transport.listen({ onPacket: () => undefined, onRequest: () => null })
      },
    }
  }

  async start(): Promise<void> {
    const { listen, advertise } = this.config
    this.#transport = await openNodeTransport(listen, {
      onHttp2: this.onHttp2,
      ...(advertise === null
        ? {}
        : { advertise: (port: number) => hostPort(advertise.host, advertise.port ?? port) }),
    })
  }

  async stop(): Promise<void> {
    await this.#transport?.close()
  }
}
