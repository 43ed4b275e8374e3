/**
 * The control calls on the cluster port: gRPC, `proto/otlake/v1/control.proto`. With tokens
 * configured each call needs one, as `authorization: Bearer …` in its metadata.
 */

import { fileURLToPath } from 'node:url'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { OtlakeError } from '../base/errors.js'
import { portTaken, splitAddress } from '../base/http/port.js'
import { type Engine, packageVersion, type Token } from '../native/binding.js'
import { tokenTenant } from '../query/access.js'
import type { Health } from './health.js'
import type { Part, State } from './lifecycle.js'

const PROTO = fileURLToPath(new URL('../../proto/otlake/v1/control.proto', import.meta.url))

/** The service's definition, for servers and clients alike. */
export function controlService(): grpc.ServiceClientConstructor {
  const definition = loadSync(PROTO, { keepCase: true, longs: Number, defaults: true })
  const root = grpc.loadPackageDefinition(definition) as unknown as {
    otlake: { v1: { Control: grpc.ServiceClientConstructor } }
  }
  return root.otlake.v1.Control
}

const STATUS: Partial<Record<OtlakeError['kind'], grpc.status>> = {
  denied: grpc.status.UNAUTHENTICATED,
  unavailable: grpc.status.UNAVAILABLE,
}

export class ControlPart implements Part {
  readonly name = 'control'
  readonly needs = ['storage']
  #server: grpc.Server | undefined
  #address: string | null = null

  constructor(
    private readonly listen: string | null,
    private readonly engine: () => Engine,
    private readonly health: Health,
    private readonly state: () => State,
    private readonly roles: readonly string[],
    private readonly tokens: readonly Token[],
  ) {}

  get address(): string | null {
    return this.#address
  }

  async start(): Promise<void> {
    if (this.listen === null) return
    const address = this.listen
    const server = new grpc.Server()
    const answer = (work: () => Promise<object>) => answering(work, this.tokens)
    server.addService(controlService().service, {
      Status: answer(async () => this.#status()),
      Flush: answer(async () => {
        await this.engine().flush()
        return {}
      }),
    })
    const { host } = splitAddress(address)
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(portTaken(address, error)) : resolve(bound),
      )
    })
    this.#server = server
    this.#address = `${host.includes(':') ? `[${host}]` : host}:${port}`
  }

  async stop(): Promise<void> {
    const server = this.#server
    if (server) await new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
  }

  #status(): object {
    const stats = this.engine().stats()
    return {
      version: packageVersion(),
      state: this.state(),
      roles: this.roles,
      stream: stats.stream,
      last_durable: Number(stats.lastDurable),
      live_rows: stats.liveRows,
      live_bytes: stats.liveBytes,
      log_bytes: stats.logBytes,
      file_rows: stats.fileRows,
      file_bytes: stats.fileBytes,
      checks: this.health.states().map(({ name, healthy, message }) => ({
        name,
        healthy,
        message: message ?? '',
      })),
    }
  }
}

function answering(
  work: () => Promise<object>,
  tokens: readonly Token[],
): grpc.handleUnaryCall<object, object> {
  const admitted = async (metadata: grpc.Metadata) => {
    if (tokens.length > 0) tokenTenant(metadata.get('authorization')[0]?.toString(), tokens)
    return work()
  }
  return (call, callback) => {
    admitted(call.metadata).then(
      (response) => callback(null, response),
      (thrown) => {
        const error = OtlakeError.from(thrown)
        callback({
          code: STATUS[error.kind] ?? grpc.status.INTERNAL,
          details: `${error.code}: ${error.message}`,
        })
      },
    )
  }
}
