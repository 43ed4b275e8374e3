/**
 * The control calls on the cluster port: gRPC, `proto/otlake/v1/control.proto`. With tokens
 * configured each call needs one, as `authorization: Bearer …` in its metadata.
 */

import { fileURLToPath } from 'node:url'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { type ErrorKind, OtlakeError } from '../base/errors.js'
import { portTaken, splitAddress } from '../base/http/port.js'
import type { JobsPart } from '../jobs/jobs.js'
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

/** The codes of errors that are not otlake's own fault. */
const STATUS: Partial<Record<ErrorKind, grpc.status>> = {
  invalid: grpc.status.INVALID_ARGUMENT,
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
    private readonly jobs: () => JobsPart,
  ) {}

  get address(): string | null {
    return this.#address
  }

  async start(): Promise<void> {
    if (this.listen === null) return
    const address = this.listen
    const server = new grpc.Server()
    const answer = (work: (request: object) => Promise<object>) => answering(work, this.tokens)
    server.addService(controlService().service, {
      Status: answer(async () => this.#status()),
      Flush: answer(async () => {
        await this.engine().flush()
        return {}
      }),
      RunJob: answer(async (request) => this.#runJob(request as { job: string })),
      ListJobs: answer(async () => this.#listJobs()),
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

  async #runJob({ job }: { job: string }): Promise<object> {
    const report = await this.jobs().run(job)
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
    const jobs = this.jobs().states()
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
