/**
 * The control calls on the cluster port: gRPC, `proto/otlake/v1/control.proto`. With tokens
 * configured each call needs one, as `authorization: Bearer …` in its metadata.
 */

import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { type ErrorKind, OtlakeError } from '../base/errors.js'
import { portTaken, splitAddress } from '../base/http/port.js'
import type { JobsPart } from '../jobs/jobs.js'
import { type Engine, packageVersion, type Token } from '../native/binding.js'
import { tokenTenant } from '../query/access.js'
import { hostPort } from './cluster-config.js'
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

/** The codes of errors that are not otlake's own fault. */
const STATUS: Partial<Record<ErrorKind, grpc.status>> = {
  invalid: grpc.status.INVALID_ARGUMENT,
  denied: grpc.status.UNAUTHENTICATED,
  unavailable: grpc.status.UNAVAILABLE,
}

/** Calls beside those of a single node, by their names in the service. */
export type Calls = Readonly<Record<ClusterCall, (request: never) => Promise<object>>>
export type ClusterCall = (typeof CLUSTER_CALLS)[number]

const CLUSTER_CALLS = [
  'ClusterStatus',
  'ClusterDrain',
  'ClusterLeave',
  'ClusterRemove',
  'ClusterRecover',
  'ListShards',
  'PinShards',
  'UnpinShards',
  'WeighNode',
  'RebalanceShards',
  'HoldLogs',
  'LendFile',
  'FindCopies',
] as const

/** What a node by itself answers to the cluster's calls. */
const NO_CLUSTER = Object.fromEntries(
  CLUSTER_CALLS.map((name) => [
    name,
    async () => {
      throw new OtlakeError('NODE_STATE', 'this node is in no cluster: start it with --join')
    },
  ]),
) as unknown as Calls

export interface ControlOptions {
  /** `HOST:PORT`; null: nowhere, or on connections that `inject` gives. */
  listen: string | null
  /** In a cluster: where the port is that the connections come from. */
  port?: () => string
  engine: () => Engine
  health: Health
  state: () => State
  roles: readonly string[]
  tokens: readonly Token[]
  jobs: () => JobsPart
  /** What a cluster's node answers beside. */
  calls?: Calls
}

export class ControlPart implements Part {
  readonly name = 'control'
  /** In a cluster its port is there first, and stays until the last call is answered. */
  readonly needs = ['storage', 'port']
  #server: grpc.Server | undefined
  #injector: grpc.ConnectionInjector | undefined
  #address: string | null = null

  constructor(private readonly options: ControlOptions) {}

  get address(): string | null {
    return this.#address
  }

  async start(): Promise<void> {
    const { listen, port, engine, tokens, calls } = this.options
    if (listen === null && port === undefined) return
    const server = new grpc.Server()
    const answer = (work: (request: object) => Promise<object>) => answering(work, tokens)
    const beside = Object.entries(calls ?? NO_CLUSTER).map(([name, call]) => [
      name,
      answer((request) => call(request as never)),
    ])
    server.addService(controlService().service, {
      ...Object.fromEntries(beside),
      Status: answer(async () => this.#status()),
      Flush: answer(async () => {
        await engine().flush()
        return {}
      }),
      RunJob: answer(async (request) => this.#runJob(request as { job: string })),
      ListJobs: answer(async () => this.#listJobs()),
    })
    this.#server = server
    if (port !== undefined) {
      this.#injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure())
      this.#address = port()
    } else if (listen !== null) this.#address = await bind(server, listen)
  }

  /** Takes over a connection that speaks HTTP/2. */
  inject(socket: Socket): void {
    if (this.#injector) this.#injector.injectConnection(socket)
    else socket.destroy()
  }

  async stop(): Promise<void> {
    const server = this.#server
    this.#injector = undefined
    if (server) await new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
  }

  async #runJob({ job }: { job: string }): Promise<object> {
    const report = await this.options.jobs().run(job)
    return {
      duration_ms: report.durationMs,
      tables: report.tables.map((work) => ({
        table: work.table,
        files_in: work.filesIn,
        bytes_in: work.bytesIn,
        files_out: work.filesOut,
        bytes_out: work.bytesOut,
        duplicates: work.duplicates,
        rows_expired: work.rowsExpired,
        log_files: work.logFiles,
      })),
    }
  }

  #listJobs(): object {
    const jobs = this.options.jobs().states()
    return {
      jobs: jobs.map(({ job, schedule, due, running, last }) => ({
        job,
        schedule: schedule ?? '',
        due_unix_ms: due ?? 0,
        running,
        last_unix_ms: last?.startedAt ?? 0,
        last_duration_ms: last?.durationMs ?? 0,
        last_outcome: last?.outcome ?? '',
        last_message: last?.message ?? '',
      })),
    }
  }

  #status(): object {
    const stats = this.options.engine().stats()
    return {
      version: packageVersion(),
      state: this.options.state(),
      roles: this.options.roles,
      stream: stats.stream,
      last_durable: Number(stats.lastDurable),
      live_rows: stats.liveRows,
      live_bytes: stats.liveBytes,
      log_bytes: stats.logBytes,
      file_rows: stats.fileRows,
      file_bytes: stats.fileBytes,
      checks: this.options.health.states().map(({ name, healthy, message }) => ({
        name,
        healthy,
        message: message ?? '',
      })),
    }
  }
}

/** Listens on `HOST:PORT`; resolves with the same and the port that was bound. */
async function bind(server: grpc.Server, address: string): Promise<string> {
  const { host } = splitAddress(address)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(portTaken(address, error)) : resolve(bound),
    )
  })
  return hostPort(host, port)
}

function answering(
  work: (request: object) => Promise<object>,
  tokens: readonly Token[],
): grpc.handleUnaryCall<object, object> {
  const admitted = async (metadata: grpc.Metadata, request: object) => {
    if (tokens.length > 0) tokenTenant(metadata.get('authorization')[0]?.toString(), tokens)
    return work(request)
  }
  return (call, callback) => {
    admitted(call.metadata, call.request).then(
      (response) => callback(null, response),
      (thrown) => {
        const error = OtlakeError.from(thrown)
        const code = STATUS[error.kind] ?? grpc.status.INTERNAL
        callback({ code, details: `${error.code}: ${error.message}` })
      },
    )
  }
}
