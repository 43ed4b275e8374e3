/** The native servers as parts of a node: OTLP in, Flight SQL out. */

import type { Engine, FlightServer, Receiver } from '../native/binding.js'
import type { NodeConfig } from '../node/config.js'
import type { Part } from '../node/lifecycle.js'

/** The OTLP servers (role `gateway`). */
export class OtlpPart implements Part {
  readonly name = 'otlp'
  /** In a cluster it starts when the node has joined, and stops before it leaves. */
  readonly needs = ['storage', 'cluster']
  #receiver: Receiver | undefined

  constructor(
    private readonly engine: () => Engine,
    private readonly config: NodeConfig,
  ) {}

  get grpc(): string | null {
    return this.#receiver?.grpc ?? null
  }

  get http(): string | null {
    return this.#receiver?.http ?? null
  }

  async start(): Promise<void> {
    const { listen, receive, tokens } = this.config
    if (listen.otlpGrpc === null && listen.otlpHttp === null) return
    this.#receiver = await this.engine().startReceiver({
      grpc: listen.otlpGrpc,
      http: listen.otlpHttp,
      maxRequestBytes: receive.maxRequestBytes,
      maxInFlightBytes: receive.maxInFlightBytes,
      corsOrigins: receive.corsOrigins,
      tokens,
      retryAfterMs: receive.retryAfterMs,
    })
  }

  async stop(): Promise<void> {
    await this.#receiver?.stop(this.config.graceMs)
  }
}

/** The Flight SQL server (role `query`). */
export class FlightPart implements Part {
  readonly name = 'flight'
  readonly needs = ['storage']
  #server: FlightServer | undefined

  constructor(
    private readonly engine: () => Engine,
    private readonly config: NodeConfig,
  ) {}

  get address(): string | null {
    return this.#server?.address ?? null
  }

  async start(): Promise<void> {
    const { listen, tokens } = this.config
    if (listen.flight === null) return
    this.#server = await this.engine().startFlight({ address: listen.flight, tokens })
  }

  async stop(): Promise<void> {
    await this.#server?.stop(this.config.graceMs)
  }
}
