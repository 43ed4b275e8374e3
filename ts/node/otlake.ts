/** otlake inside a Node.js process, as a library. */

import { type Table, tableFromIPC } from 'apache-arrow'
import { OtlakeError } from '../base/errors.js'
import type {
  ByteStream,
  Engine,
  Format,
  IngestResult,
  Signal,
  Stats,
  TraceRequest,
} from '../native/binding.js'
import type { Addresses } from '../query/page.js'
import { loadConfig, type Raw } from './config.js'
import { type Logger, Node } from './node.js'

const OFF = {
  'listen.otlp_grpc': 'off',
  'listen.otlp_http': 'off',
  'listen.http': 'off',
  'listen.flight': 'off',
  'listen.cluster': 'off',
}

const SILENT: Logger = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  debug: () => undefined,
}

export interface OpenOptions {
  /** Folder of the log and the tables. */
  dataDir: string
  /** Any setting of docs/settings.md, by its path: `{ 'flush.interval_ms': 1000 }`. */
  settings?: Record<string, unknown>
  /** Where the store logs to; nowhere by default. */
  logger?: Logger
}

export interface ReadOptions {
  /** `strong` (default), `session` or `eventual`. */
  consistency?: 'strong' | 'session' | 'eventual'
  /** The token that `session` reads at. */
  session?: string
  /** The tenant whose rows are seen; every tenant's by default. */
  tenant?: string
}

/** `HOST:PORT` of each server; what is left out does not listen. Port 0 takes any. */
export interface ServeOptions {
  /** OTLP/gRPC. */
  otlpGrpc?: string
  /** OTLP/HTTP. */
  otlpHttp?: string
  /** SQL, traces, health, metrics. */
  http?: string
  /** Arrow Flight SQL. */
  flight?: string
}

/** An open store. */
export class Otlake {
  private constructor(
    private node: Node,
    private readonly options: OpenOptions,
  ) {}

  /**
   * Opens the store below `dataDir` and replays its log. Rejects with an `OtlakeError`, as every
   * call does.
   */
  static async open(options: OpenOptions): Promise<Otlake> {
    const node = makeNode(options, OFF)
    await node.start()
    return new Otlake(node, options)
  }

  /**
   * Stores one OTLP request, protobuf bytes or an OTLP/JSON text; resolves when it is durable
   * and visible to the next query.
   */
  ingest(
    signal: Signal,
    request: Uint8Array | string,
    options: { tenant?: string } = {},
  ): Promise<IngestResult> {
    const encoding = typeof request === 'string' ? 'json' : 'protobuf'
    // A copy: the native module reads it after this call has returned.
    const body = Buffer.from(request as Uint8Array)
    return this.node.engine.ingest(signal, encoding, options.tenant ?? 'default', body)
  }

  /** Runs one statement. `parameters` are the values of $1, $2, … */
  async sql(
    statement: string,
    parameters: readonly (string | number | boolean | null)[] = [],
    options: ReadOptions = {},
  ): Promise<Table> {
    return tableFromIPC(await answer(this.node.engine, statement, parameters, options, 'arrow'))
  }

  /**
   * Runs one statement that selects all columns of one table, and gives its rows back as the OTLP
   * that they came in: a protobuf message that `ingest` takes.
   */
  async otlp(
    statement: string,
    parameters: readonly (string | number | boolean | null)[] = [],
    options: ReadOptions = {},
  ): Promise<Uint8Array> {
    return answer(this.node.engine, statement, parameters, options, 'otlp')
  }

  /** A whole trace as OTLP/JSON; null where no span of it is stored. */
  async trace(traceId: string, options: ReadOptions = {}): Promise<object | null> {
    const { tenant = null, consistency = null, session = null } = options
    const asking: TraceRequest = {
      ...{ traceId, tenant, consistency, session, encoding: 'json' },
      ...{ startNs: null, endNs: null, partial: null },
    }
    const { engine } = this.node
    const trace = engine.knownTrace(asking) ?? (await engine.trace(asking))
    if (trace === null) return null
    const text = trace instanceof Uint8Array ? trace : await whole(trace)
    return JSON.parse(text.toString('utf8')) as object
  }

  /** Writes everything acknowledged so far to files. */
  flush(): Promise<void> {
    return this.node.engine.flush()
  }

  /** A token that covers everything acknowledged up to now. */
  session(): string {
    return this.node.engine.session()
  }

  /** What the store holds. */
  stats(): Stats {
    return this.node.engine.stats()
  }

  /**
   * Opens the store's ports; resolves with the addresses. The store is closed and opened again
   * for it, so nothing else may be in flight.
   */
  async serve(options: ServeOptions): Promise<Addresses> {
    const listen = Object.fromEntries(
      [
        ['listen.otlp_grpc', options.otlpGrpc],
        ['listen.otlp_http', options.otlpHttp],
        ['listen.http', options.http],
        ['listen.flight', options.flight],
      ].filter((entry) => entry[1] !== undefined),
    )
    const node = makeNode(this.options, { ...OFF, ...listen })
    await this.node.stop()
    await node.start()
    this.node = node
    return node.addresses
  }

  /** Finishes what is in flight, flushes and closes. */
  async close(): Promise<void> {
    if (this.node.state !== 'running') {
      throw new OtlakeError('HANDLE_CLOSED', 'the store was closed already')
    }
    await this.node.stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.node.state === 'running') await this.node.stop()
  }
}

function makeNode(options: OpenOptions, listen: Raw): Node {
  const flags = { ...options.settings, ...listen, data_dir: options.dataDir }
  return new Node(loadConfig({ flags }), options.logger ?? SILENT)
}

/** The bytes of a whole answer. */
async function answer(
  engine: Engine,
  statement: string,
  parameters: readonly (string | number | boolean | null)[],
  options: ReadOptions,
  format: Format,
): Promise<Buffer> {
  const stream = await engine.query({
    id: null,
    sql: statement,
    parameters: JSON.stringify(parameters),
    format,
    consistency: options.consistency ?? (options.session ? 'session' : null),
    session: options.session ?? null,
    partial: null,
    tenant: options.tenant ?? null,
    maxRows: null,
    timeoutMs: null,
    memoryBytes: null,
  })
  return whole(stream)
}

/** All that a stream gives. */
async function whole(stream: ByteStream): Promise<Buffer> {
  const chunks: Buffer[] = []
  for (let chunk = await stream.next(); chunk !== null; chunk = await stream.next()) {
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
