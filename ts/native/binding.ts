/**
 * The native module with types: gives the exports of the .node file that `loader.ts` finds their
 * types, and turns their errors into `OtlakeError`.
 *
 * The inventory below has the names, order and nesting of `native/binding/src/lib.rs`;
 * `binding.test.ts` compares them. Every field is present and `null` means none; u64 cross as
 * `bigint`. A buffer that was given to a call must not be written to afterwards.
 */

import { OtlakeError } from '../base/errors.js'
import type { NativeCluster, NativeClusterConfig } from './cluster.js'
import { loadNative, manifest } from './loader.js'
import type { Answer } from './traceql.js'

export type Signal = 'traces' | 'metrics' | 'logs'
export type Durability = 'fsync' | 'relaxed'
export type Format = 'json' | 'ndjson' | 'csv' | 'arrow' | 'parquet' | 'otlp' | 'otlp-json'

export interface RetentionRule {
  /** Whose rows; null for every tenant's. */
  tenant: string | null
  signal: Signal | null
  /** For how many days; null for ever. */
  days: number | null
}

/** A bucket of an S3-compatible store. Null leaves it to the AWS variables of the environment. */
export interface StoreConfig {
  /** `s3://bucket/prefix` */
  url: string
  endpoint: string | null
  region: string | null
  allowHttp: boolean
  accessKeyId: string | null
  secretAccessKey: string | null
}

/** What is derived of spans. */
export interface DeriveConfig {
  spanMetrics: boolean
  serviceGraph: boolean
  /** Attributes that become labels. */
  dimensions: string[]
  /** Attributes that name whom a client span called. */
  peerAttributes: string[]
  /** Seconds, ascending. */
  bounds: number[]
  intervalMs: number
  maxSeries: number
  edgeWaitMs: number
  maxWaiting: number
}

/** One thing that a policy asks of a trace; of a field that is not of its kind null. */
export interface SamplingCondition {
  kind: 'status' | 'latency' | 'attribute' | 'rate' | 'probability'
  /** OTLP's status codes. */
  codes: number[] | null
  /** What a latency, an attribute or a rate is of. */
  of: 'trace' | 'span' | 'any' | 'resource' | 'traces' | 'spans' | null
  atLeastMs: number | null
  /** An attribute's key. */
  key: string | null
  values: string[] | null
  /** A regular expression, in RE2's syntax. */
  matches: string | null
  perSecond: number | null
  /** Above 0, and 1 at most. */
  probability: number | null
}

export interface SamplingPolicy {
  name: string
  /** All have to hold. */
  conditions: SamplingCondition[]
}

/** Which traces are written to files; without policies all are. */
export interface SamplingConfig {
  policies: SamplingPolicy[]
  decisionWaitMs: number
  maxDecisions: number
}

/** A rule that rows go through on their way in. */
export interface ProcessingRule {
  name: string
  tables: string[]
  /** SQL; null for all rows. */
  when: string | null
  action: 'drop' | 'route' | 'redact' | 'rename' | 'set'
  /** Whose rows they become; null for other actions than `route`. */
  tenant: string | null
  /** Columns and attributes, each with the new key, or the SQL of its value; null where redacted. */
  changes: { target: string; to: string | null }[]
  /** What redacted values become, with the text or the key of the HMAC. */
  redaction: {
    kind: 'text' | 'sha256' | 'hmac-sha256' | 'remove'
    value: string | null
  } | null
}

export interface EngineConfig {
  dataDir: string
  /** The tables' folder; null for the one in `dataDir`. */
  tablesDir: string | null
  /** The bucket that the tables are in; null for a folder. */
  store: StoreConfig | null
  /** Whether the nodes of the cluster keep the tables' files on their own disks. */
  nodesKeepFiles: boolean
  /** Whether what the log holds of earlier starts is left to the cluster. */
  leaveEarlier: boolean
  durability: Durability
  logSegmentBytes: number
  logMaxBytes: number
  liveMaxBytes: number
  dedupeWindowMs: number
  dedupeRequests: number
  flushBytes: number
  flushRows: number
  flushIntervalMs: number
  rowGroupRows: number
  zstdLevel: number
  compactTargetBytes: number
  compactRunBytes: number
  jobMemoryBytes: number
  jobBytesPerSecond: number
  vacuumAfterMs: number
  retention: RetentionRule[]
  derive: DeriveConfig
  sampling: SamplingConfig
  rules: ProcessingRule[]
  recordMaxAttributes: number
  recordMaxAttributeKeyBytes: number
  recordMaxAttributeValueBytes: number
  recordMaxValueDepth: number
  recordMaxEvents: number
  recordMaxLinks: number
  queryMemoryBytes: number
  queryMaxRows: number
  queryTimeoutMs: number
  queryConcurrency: number
  queryQueue: number
  queryQueueMs: number
  queryDistributeBytes: number
  queryTraceFiltersBytes: number
  workerThreads: number
}

export interface LogEvent {
  level: 'error' | 'warn' | 'info' | 'debug'
  target: string
  message: string
}

export interface Token {
  /** 64 hexadecimal digits. */
  sha256: string
  tenant: string
}

export interface ReceiverConfig {
  grpc: string | null
  http: string | null
  maxRequestBytes: number
  maxInFlightBytes: number
  corsOrigins: string[]
  tokens: Token[]
  retryAfterMs: number
}

export interface FlightConfig {
  address: string
  tokens: Token[]
}

export interface IngestResult {
  /** Records that are durable (I1). */
  accepted: number
  /** Records refused for good. */
  rejected: number
  /** What was refused or changed, by reason, and the first refusal. */
  message: string | null
  /** The session token that covers what was stored. */
  session: string | null
}

export interface QueryRequest {
  /** What the client calls it, to ask how far it is; null where it does not. */
  id: string | null
  sql: string
  /** A JSON array: the values of $1, $2, … */
  parameters: string
  format: Format
  consistency: string | null
  session: string | null
  /** Whether an answer may lack the rows of nodes that do not answer; null means no. */
  partial: boolean | null
  tenant: string | null
  maxRows: number | null
  timeoutMs: number | null
  memoryBytes: number | null
}

/** A query that has come and not ended. */
export interface RunningQuery {
  /** What the client calls it; null where it said nothing. */
  id: string | null
  /** As queries are counted: `sql`, `flight`, `trace`, `traceql_search`, … */
  kind: string
  /** Whose rows it sees; null: every tenant's. */
  tenant: string | null
  /** `shared`: its files are read by many nodes, and how far they are this one does not know. */
  state: 'waiting' | 'planning' | 'reading' | 'shared'
  elapsedMs: number
  /** Rows that the plan at work has read or skipped, and has to. */
  rowsRead: number
  rowsToRead: number
  /** How much of everything is read, 0 to 1; null where that is not known. It only grows. */
  share: number | null
}

/** How a trace is written: OTLP's `TracesData`, as JSON too, or a trace of Jaeger's query API in JSON. */
export type TraceEncoding = 'json' | 'protobuf' | 'jaeger'

/** A trace by its id, and how it is answered. */
export interface TraceRequest {
  /** 32 hexadecimal digits. */
  traceId: string
  tenant: string | null
  consistency: string | null
  session: string | null
  encoding: TraceEncoding
  /**
   * Nanoseconds since 1970: files without a span that began from the one to the other are left out. Null
   * leaves a side open.
   */
  startNs: bigint | null
  endNs: bigint | null
  /** Whether an answer may lack the spans of nodes that do not answer; null means no. */
  partial: boolean | null
}

export interface TailRequest {
  table: string
  tenant: string | null
  service: string | null
}

export interface JobReport {
  job: string
  durationMs: number
  /** Every table. */
  tables: TableWork[]
  /** Whether it left work that another run can go on with at once. */
  more: boolean
}

export interface TableWork {
  table: string
  /** Files that left the newest version, or, by vacuum, the disk. */
  filesIn: number
  bytesIn: number
  /** Files that came in their place. */
  filesOut: number
  bytesOut: number
  /** Equal spans that were left out (I3). */
  duplicates: number
  rowsExpired: number
  /** Files of the table's log that were deleted. */
  logFiles: number
}

export interface Stats {
  /** The log stream that this start of the store writes. */
  stream: string
  /** The last sequence of it that is durable and readable; 0 before the first. */
  lastDurable: bigint
  /** Batches that no file holds yet. */
  liveBytes: number
  liveRows: number
  /** The log on disk. */
  logBytes: number
  logSegments: number
  /** The Parquet files of the newest snapshots of all tables. */
  files: number
  fileBytes: number
  fileRows: number
}

export interface ErrorInfo {
  code: string
  kind: string
  fix: string
}

export interface ByteStream {
  /** The session token that covers what the answer shows; null where the node's own does. */
  readonly session: string | null
  /** The streams whose rows a partial answer may lack, and their nodes; null where it lacks none. */
  readonly partial: string | null
  /** The next chunk; null at the end. The first call decides what fails before any byte. */
  next(): Promise<Buffer | null>
  /** Ends the work behind it. */
  close(): void
}

export interface Receiver {
  readonly grpc: string | null
  readonly http: string | null
  stop(graceMs: number): Promise<void>
}

export interface FlightServer {
  readonly address: string
  stop(graceMs: number): Promise<void>
}

export interface Engine {
  ingest(
    signal: Signal,
    encoding: 'protobuf' | 'json',
    tenant: string,
    body: Buffer,
  ): Promise<IngestResult>
  startReceiver(config: ReceiverConfig): Promise<Receiver>
  startFlight(config: FlightConfig): Promise<FlightServer>
  startCluster(config: NativeClusterConfig): Promise<NativeCluster>
  query(request: QueryRequest): Promise<ByteStream>
  trace(request: TraceRequest): Promise<Buffer | ByteStream | null>
  /** What `trace` answered before, where it would again; null does not tell that there is none. */
  knownTrace(request: TraceRequest): Buffer | null
  /** TraceQL, `traceql.ts`: a request's JSON text gives the JSON of a message of Tempo's. */
  searchTraces(request: string): Promise<Answer>
  traceTags(request: string): Promise<Answer>
  traceTagValues(request: string): Promise<Answer>
  traceMetrics(request: string): Promise<Answer>
  /** The oldest first. */
  runningQueries(): RunningQuery[]
  tail(request: TailRequest): ByteStream
  flush(): Promise<void>
  runJob(job: string): Promise<JobReport>
  stopJobs(): void
  session(): string
  stats(): Stats
  metrics(): string
  close(): Promise<void>
}

/** What the .node file exports. */
export interface NativeModule {
  version(): string
  errorTable(): ErrorInfo[]
  limits(): Record<string, number>
  openEngine(config: EngineConfig, onLog: (event: LogEvent) => void): Promise<Engine>
  /** `tables`: their folder where it is elsewhere; `store`: the bucket that they are in. */
  verify(dataDir: string, tables: string | null, store: StoreConfig | null): Promise<ByteStream>
  /** Whether a node runs on the copies that a data folder has of a cluster's tables. */
  copiesAreOpen(dataDir: string): Promise<boolean>
  /** `sums`: what stands beside a copy. Null where the file is whole, else what is wrong. */
  checkCopy(path: string, sums: string): Promise<string | null>
  /** The files that a table's newest version in a data folder names, by their paths below its folder. */
  namedFiles(dataDir: string, table: string): Promise<string[]>
}

let loaded: NativeModule | undefined

/** The native module. Throws `NATIVE_MISSING` where no file fits this machine. */
export function native(): NativeModule {
  loaded ??= loadNative<NativeModule>()
  return loaded
}

/** The version of this package. */
export function packageVersion(): string {
  return manifest().version
}

/** Opens a store whose every call throws `OtlakeError`. */
export async function openEngine(
  config: EngineConfig,
  onLog: (event: LogEvent) => void,
): Promise<Engine> {
  return typed(await typedErrors(() => native().openEngine(config, onLog)))
}

async function typedErrors<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw OtlakeError.from(error)
  }
}

/** Wraps a native handle, and the handles its calls give, so that errors are typed. */
function typed<T extends object>(handle: T): T {
  const calls = new Map<PropertyKey, unknown>()
  return new Proxy(handle, {
    get(target, name) {
      const known = calls.get(name)
      if (known !== undefined) return known
      const value = Reflect.get(target, name, target) as unknown
      if (typeof value !== 'function') return value
      const call = (...args: unknown[]) => {
        try {
          const result: unknown = value.apply(target, args)
          if (result instanceof Promise) {
            return result.then(wrap, (error) => {
              throw OtlakeError.from(error)
            })
          }
          return wrap(result)
        } catch (error) {
          throw OtlakeError.from(error)
        }
      }
      calls.set(name, call)
      return call
    },
  })
}

const HANDLES = new Set(['Engine', 'ByteStream', 'Receiver', 'FlightServer', 'NativeCluster'])

function wrap(result: unknown): unknown {
  const isHandle =
    typeof result === 'object' && result !== null && HANDLES.has(result.constructor.name)
  return isHandle ? typed(result as object) : result
}
