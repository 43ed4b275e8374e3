/**
 * The engine's port in memory, for tests of what stands on it: it answers what a test puts in,
 * and keeps what it was asked and which streams are still open.
 */

import { OtlakeError } from '../base/errors.js'
import type {
  ByteStream,
  Engine,
  FlightConfig,
  FlightServer,
  IngestResult,
  JobReport,
  QueryRequest,
  Receiver,
  ReceiverConfig,
  RunningQuery,
  Signal,
  Stats,
  TailRequest,
  TraceRequest,
} from '../native/binding.js'
import type { NativeCluster, NativeClusterConfig } from '../native/cluster.js'
import type { Answer, TraceqlEngine } from '../native/traceql.js'

/** Chunks that a test pushes; the reader waits for those that are not there yet. */
export class FakeStream implements ByteStream {
  /** How many chunks were pulled. */
  pulled = 0
  closed = false
  session: string | null = null
  partial: string | null = null
  readonly #ready: (Buffer | Error | null)[]
  #wake: (() => void) | undefined

  /** A stream of `chunks` that then ends; without them one that waits for `push`. */
  constructor(chunks?: readonly (Buffer | string | Error)[]) {
    this.#ready = chunks ? [...chunks.map(bytes), null] : []
  }

  push(chunk: Buffer | string | Error): void {
    this.#ready.push(bytes(chunk))
    this.#wake?.()
  }

  async next(): Promise<Buffer | null> {
    while (this.#ready.length === 0 && !this.closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    if (this.closed) throw new OtlakeError('HANDLE_CLOSED', 'the stream was closed')
    const chunk = this.#ready.shift() ?? null
    if (chunk instanceof Error) throw chunk
    if (chunk !== null) this.pulled++
    return chunk
  }

  close(): void {
    this.closed = true
    this.#wake?.()
  }
}

function bytes(chunk: Buffer | string | Error): Buffer | Error {
  return typeof chunk === 'string' ? Buffer.from(chunk) : chunk
}

function checked(id: string): string {
  if (/^[0-9a-f]{32}$/i.test(id)) return id
  throw new OtlakeError('TRACE_ID', `\`${id}\` is no trace id`)
}

export class FakeEngine implements Engine, TraceqlEngine {
  readonly queries: QueryRequest[] = []
  readonly tails: TailRequest[] = []
  readonly traceCalls: TraceRequest[] = []
  readonly ingested: { signal: Signal; encoding: string; tenant: string; body: Buffer }[] = []
  /** Every stream that was given out, in order. */
  readonly streams: FakeStream[] = []
  /** Traces by id, those that are large as their chunks. */
  readonly traces = new Map<string, Buffer | (Buffer | string)[]>()
  /** What those that are large may lack. */
  partialTraces: string | null = null
  /** Those of them that are known already. */
  readonly knownTraces = new Set<string>()
  /** What the next query streams; a test may throw from it, too. */
  answer: (request: QueryRequest) => FakeStream | Promise<FakeStream> = () =>
    new FakeStream(['{"columns":[],"rows":[]}'])
  /** What was asked of the calls of TraceQL, in order, read from its JSON. */
  readonly traceql: { call: keyof TraceqlEngine; request: Record<string, unknown> }[] = []
  /** What they answer, the JSON of a message; a test may throw from it, too. */
  traceqlAnswer: (call: keyof TraceqlEngine) => Partial<Answer> = () => ({})
  /** The queries that a test says are running. */
  running: RunningQuery[] = []
  flushes = 0
  /** The jobs that were run, in order. */
  readonly jobs: string[] = []
  /** What a job does; a test may wait or throw in it. */
  work: (job: string) => Promise<JobReport> = async (job) => ({
    job,
    durationMs: 1,
    tables: [],
    more: false,
  })
  jobsStopped = false
  #sequence = 0
  #closed = false

  async ingest(
    signal: Signal,
    encoding: 'protobuf' | 'json',
    tenant: string,
    body: Buffer,
  ): Promise<IngestResult> {
    this.#open()
    this.ingested.push({ signal, encoding, tenant, body })
    this.#sequence++
    return { accepted: 1, rejected: 0, message: null, session: this.session() }
  }

  async startReceiver(config: ReceiverConfig): Promise<Receiver> {
    this.#open()
    return { grpc: config.grpc, http: config.http, stop: async () => undefined }
  }

  async startCluster(_config: NativeClusterConfig): Promise<NativeCluster> {
    throw new OtlakeError('INTERNAL', 'the tests of a cluster give a native side of their own')
  }

  async startFlight(config: FlightConfig): Promise<FlightServer> {
    this.#open()
    return { address: config.address, stop: async () => undefined }
  }

  async query(request: QueryRequest): Promise<ByteStream> {
    this.#open()
    this.queries.push(request)
    return this.#give(await this.answer(request))
  }

  async trace(request: TraceRequest): Promise<Buffer | ByteStream | null> {
    this.#open()
    this.traceCalls.push(request)
    const body = this.traces.get(checked(request.traceId))
    if (body === undefined) return null
    if (!Array.isArray(body)) return body
    const stream = this.#give(new FakeStream(body))
    stream.partial = this.partialTraces
    return stream
  }

  knownTrace({ traceId }: TraceRequest): Buffer | null {
    this.#open()
    const body = this.knownTraces.has(checked(traceId)) ? this.traces.get(traceId) : undefined
    return body instanceof Buffer ? body : null
  }

  async searchTraces(request: string): Promise<Answer> {
    return this.#traceql('searchTraces', request)
  }

  async traceTags(request: string): Promise<Answer> {
    return this.#traceql('traceTags', request)
  }

  async traceTagValues(request: string): Promise<Answer> {
    return this.#traceql('traceTagValues', request)
  }

  async traceMetrics(request: string): Promise<Answer> {
    return this.#traceql('traceMetrics', request)
  }

  runningQueries(): RunningQuery[] {
    this.#open()
    return this.running
  }

  tail(request: TailRequest): ByteStream {
    this.#open()
    if (request.table === 'absent') throw new OtlakeError('QUERY_INVALID', 'there is no table')
    this.tails.push(request)
    return this.#give(new FakeStream())
  }

  async flush(): Promise<void> {
    this.#open()
    this.flushes++
  }

  async runJob(job: string): Promise<JobReport> {
    this.#open()
    if (this.jobsStopped) throw new OtlakeError('JOB_STOPPED', 'the node is stopping')
    this.jobs.push(job)
    return this.work(job)
  }

  stopJobs(): void {
    this.jobsStopped = true
  }

  session(): string {
    return `${'ab'.repeat(16)}:${this.#sequence}`
  }

  stats(): Stats {
    return {
      stream: 'ab'.repeat(16),
      lastDurable: BigInt(this.#sequence),
      liveBytes: 0,
      liveRows: this.ingested.length,
      logBytes: 0,
      logSegments: 0,
      files: 0,
      fileBytes: 0,
      fileRows: 0,
    }
  }

  metrics(): string {
    return '# EOF\n'
  }

  async close(): Promise<void> {
    this.#open()
    this.#closed = true
  }

  #traceql(call: keyof TraceqlEngine, request: string): Answer {
    this.#open()
    this.traceql.push({ call, request: JSON.parse(request) })
    return { json: '{}', session: null, partial: null, ...this.traceqlAnswer(call) }
  }

  #give(stream: FakeStream): FakeStream {
    this.streams.push(stream)
    return stream
  }

  #open(): void {
    if (this.#closed) throw new OtlakeError('HANDLE_CLOSED', 'the store was closed')
  }
}
