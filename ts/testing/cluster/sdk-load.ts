/**
 * The OpenTelemetry SDK as clients of a cluster: spans, metrics and log records through its batch
 * processors and its OTLP exporters, and whatever those do by themselves about a request that fails.
 * What an exporter tells as exported has to be found exactly once; what it gave up on, once or never.
 *
 * ```ts
 * const sdks = await SdkLoad.of('rolling', cluster.nodes)
 * sdks.start()
 * await sdks.warm()
 * …
 * await sdks.end()
 * expect(await sdks.judge(cluster.running)).toEqual([])
 * ```
 */

import { SeverityNumber } from '@opentelemetry/api-logs'
import { OTLPLogExporter as LogGrpc } from '@opentelemetry/exporter-logs-otlp-grpc'
import { OTLPLogExporter as LogProto } from '@opentelemetry/exporter-logs-otlp-proto'
import { OTLPMetricExporter as MetricGrpc } from '@opentelemetry/exporter-metrics-otlp-grpc'
import { OTLPMetricExporter as MetricProto } from '@opentelemetry/exporter-metrics-otlp-proto'
import { OTLPTraceExporter as TraceGrpc } from '@opentelemetry/exporter-trace-otlp-grpc'
import { OTLPTraceExporter as TraceProto } from '@opentelemetry/exporter-trace-otlp-proto'
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources'
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs'
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { systemClock, systemMonotonic } from '../../base/clock.js'
import { Balancer } from '../balancer.js'
import { ask } from './cluster-load.js'
import type { ClusterNode } from './nodes.js'
import { notOnce } from './once.js'
import { KINDS, SIGNALS, type Signal } from './signals.js'

/** How often a client makes spans and log records, and how many. */
const PERIOD_MS = 100
const SPANS = 2
const LOGS = 1
/** How long its processors gather what they export together. */
const BATCH_MS = 400
/** Metrics of a client, each of one series; points are exported one collection after the other. */
const GAUGES = 4
/** A period that is never over: collections are asked for. */
const NEVER_MS = 3_600_000
/** What an exporter's result says of a success. */
const SUCCESS = 0
/** How long `warm` waits. */
const WARM_MS = 30_000
/** How many of its failures it names where it waited in vain. */
const MAX_NAMED = 5

const EXPORTERS = {
  grpc: { traces: TraceGrpc, metrics: MetricGrpc, logs: LogGrpc },
  http: { traces: TraceProto, metrics: MetricProto, logs: LogProto },
}

type Transport = keyof typeof EXPORTERS

interface SdkClient {
  name: string
  transport: Transport
  /** `HOST:PORT` of a node, or of a balancer. */
  address: string
}

/** The clients with an address for all nodes, a balancer's. */
export const BALANCED: Readonly<Record<Transport, string>> = {
  grpc: 'gRPC, any node',
  http: 'HTTP, any node',
}

/** What exporters were given of a signal, and what they told of it. */
interface Told {
  readonly sent: Set<string>
  readonly exported: Set<string>
}

interface SdkFailure {
  client: string
  signal: Signal
  error: Error
}

/** What batch processors and readers are given; the SDK's own result has more in it. */
interface Exporter<Batch> {
  export(batch: Batch, done: (result: { code: number; error?: Error }) => void): void
}

export class SdkLoad {
  /** Exports that exporters gave up on. */
  readonly failures: SdkFailure[] = []
  readonly #told: Record<Signal, Told> = { traces: told(), metrics: told(), logs: told() }
  /** Clients, with a signal, of which something was exported. */
  readonly #exporting = new Set<string>()
  readonly #clients: { begin(): void; end(): Promise<void> }[]
  #value = 0

  private constructor(
    readonly service: string,
    private readonly at: readonly SdkClient[],
    private readonly balancers: readonly Balancer[],
  ) {
    this.#clients = at.map((client) => {
      const signals = [this.#spans(client), this.#metrics(client), this.#logs(client)]
      return {
        begin: () => {
          for (const signal of signals) signal.begin()
        },
        end: async () => {
          await Promise.all(signals.map((signal) => signal.end()))
        },
      }
    })
  }

  /**
   * An SDK for each node, by turns over gRPC and HTTP, and one of each with a balancer's address before
   * all of them.
   */
  static async of(service: string, nodes: readonly ClusterNode[]): Promise<SdkLoad> {
    const clients = nodes.map(({ name, addresses }, index): SdkClient => {
      return index % 2 === 0
        ? { name: `gRPC, ${name}`, transport: 'grpc', address: addresses.otlpGrpc }
        : { name: `HTTP, ${name}`, transport: 'http', address: addresses.otlpHttp }
    })
    const grpc = await Balancer.start(nodes.map(({ addresses }) => addresses.otlpGrpc))
    const http = await Balancer.start(nodes.map(({ addresses }) => addresses.otlpHttp))
    const balanced = [
      { name: BALANCED.grpc, transport: 'grpc', address: grpc.address },
      { name: BALANCED.http, transport: 'http', address: http.address },
    ] as const
    return new SdkLoad(service, [...balanced, ...clients], [grpc, http])
  }

  start(): void {
    for (const client of this.#clients) client.begin()
  }

  /** Makes nothing new, and resolves when exporters have told about all that they were given. */
  async end(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.end()))
    await Promise.all(this.balancers.map((balancer) => balancer.close()))
  }

  /** Resolves when every client has exported something of every signal. */
  async warm(): Promise<void> {
    const until = systemMonotonic.monotonic() + WARM_MS
    for (let idle = this.#idle(); idle.length > 0; idle = this.#idle()) {
      if (systemMonotonic.monotonic() > until) {
        const told = this.failures.slice(0, MAX_NAMED).map(({ error }) => error.message)
        throw new Error(`nothing was exported of ${idle.join('; ')}: ${told.join('; ')}`)
      }
      await systemClock.sleep(PERIOD_MS)
    }
  }

  /** Records that were told as exported. */
  exported(signal: Signal): number {
    return this.#told[signal].exported.size
  }

  /** What the exporters of a client gave up on. */
  failuresOf(client: string): SdkFailure[] {
    return this.failures.filter((failure) => failure.client === client)
  }

  /** What is not once at each node, at `strong`. */
  async judge(nodes: readonly ClusterNode[]): Promise<string[]> {
    const found: string[] = []
    for (const signal of SIGNALS) {
      const { sent, exported } = this.#told[signal]
      for (const node of nodes) {
        const stored = await this.#stored(node, signal)
        for (const wrong of notOnce(sent, exported, stored)) {
          found.push(`${node.name}, of ${exported.size} exported ${signal}: ${wrong}`)
        }
      }
    }
    return found
  }

  /** One line about all of it for whoever reads the test's output. */
  tell(): void {
    const counts = SIGNALS.map((signal) => `${this.exported(signal)} ${signal}`).join(', ')
    const gaveUp = this.at.flatMap(({ name }) => {
      const { length } = this.failuresOf(name)
      return length === 0 ? [] : [`${length} (${name})`]
    })
    const exports = gaveUp.length === 0 ? 'none' : gaveUp.join(', ')
    process.stderr.write(`${this.service}: SDKs exported ${counts}; exports given up: ${exports}\n`)
  }

  /** Clients and signals of which nothing was exported so far. */
  #idle(): string[] {
    const each = this.at.flatMap(({ name }) => SIGNALS.map((signal) => `${name}, ${signal}`))
    return each.filter((one) => !this.#exporting.has(one))
  }

  #spans(client: SdkClient) {
    const exporter = new EXPORTERS[client.transport].traces({ url: url(client, 'traces') })
    this.#watch(client, 'traces', exporter, (spans) =>
      spans.map((span) => span.spanContext().spanId),
    )
    const processor = new BatchSpanProcessor(exporter, { scheduledDelayMillis: BATCH_MS })
    const provider = new BasicTracerProvider({
      resource: this.#resource(client),
      spanProcessors: [processor],
    })
    const tracer = provider.getTracer('load')
    return periodic(provider, exporter, () => {
      for (let made = 0; made < SPANS; made++) tracer.startSpan('GET /load').end()
    })
  }

  #logs(client: SdkClient) {
    const exporter = new EXPORTERS[client.transport].logs({ url: url(client, 'logs') })
    this.#watch(client, 'logs', exporter, (records) => records.map(({ body }) => String(body)))
    const processor = new BatchLogRecordProcessor({ exporter, scheduledDelayMillis: BATCH_MS })
    const provider = new LoggerProvider({
      resource: this.#resource(client),
      processors: [processor],
    })
    const logger = provider.getLogger('load')
    let number = 0
    return periodic(provider, exporter, () => {
      for (let made = 0; made < LOGS; made++) {
        const body = `${client.name} says ${number++}`
        logger.emit({ severityNumber: SeverityNumber.INFO, body })
      }
    })
  }

  /** Its points are collected and exported one time after the other, as often as that is done. */
  #metrics(client: SdkClient) {
    const exporter = new EXPORTERS[client.transport].metrics({ url: url(client, 'metrics') })
    this.#watch(client, 'metrics', exporter, ({ scopeMetrics }) =>
      scopeMetrics.flatMap(({ metrics }) =>
        metrics.flatMap(({ dataPoints }) => dataPoints.map(({ value }) => String(value))),
      ),
    )
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: NEVER_MS })
    const provider = new MeterProvider({ resource: this.#resource(client), readers: [reader] })
    const meter = provider.getMeter('load')
    for (let gauge = 0; gauge < GAUGES; gauge++) {
      // No value is told twice, so each point is known by its own.
      meter
        .createObservableGauge(`gauge ${gauge}`)
        .addCallback((result) => result.observe(this.#value++))
    }
    let isEnding = false
    let running = Promise.resolve()
    const collect = async () => {
      while (!isEnding) {
        await provider.forceFlush().catch(() => undefined)
        await systemClock.sleep(BATCH_MS)
      }
    }
    return {
      begin: () => {
        running = collect()
      },
      end: async () => {
        isEnding = true
        await running
        await close(provider, exporter)
      },
    }
  }

  #resource({ name }: SdkClient): Resource {
    return resourceFromAttributes({ 'service.name': this.service, 'service.instance.id': name })
  }

  /** Has an exporter's results written down before the SDK hears of them. */
  #watch<Batch>(
    client: SdkClient,
    signal: Signal,
    exporter: Exporter<Batch>,
    idsOf: (batch: Batch) => string[],
  ): void {
    const send = exporter.export.bind(exporter)
    exporter.export = (batch, done) => {
      const ids = idsOf(batch)
      const { sent, exported } = this.#told[signal]
      for (const id of ids) sent.add(id)
      send(batch, (result) => {
        if (result.code === SUCCESS) {
          for (const id of ids) exported.add(id)
          this.#exporting.add(`${client.name}, ${signal}`)
        } else {
          const error = result.error ?? new Error(`code ${result.code}`)
          this.failures.push({ client: client.name, signal, error })
        }
        done(result)
      })
    }
  }

  /** How often a node has each record. */
  async #stored(node: ClusterNode, signal: Signal): Promise<Map<string, number>> {
    const { table, identity } = KINDS[signal]
    const rows = await ask<{ id: unknown; n: unknown }>(
      node,
      `SELECT ${identity} AS id, count(*) AS n FROM ${table}
       WHERE service_name = '${this.service}' GROUP BY 1`,
    )
    return new Map(rows.map(({ id, n }) => [String(id), Number(n)]))
  }
}

const told = (): Told => ({ sent: new Set(), exported: new Set() })

function url({ transport, address }: SdkClient, signal: Signal): string {
  return transport === 'http' ? `http://${address}/v1/${signal}` : `http://${address}`
}

interface Provider {
  forceFlush(): Promise<void>
  shutdown(): Promise<void>
}

/** Makes something again and again, until the provider is to end. */
function periodic(provider: Provider, exporter: Pick<Provider, 'forceFlush'>, make: () => void) {
  let stop = () => {}
  return {
    begin: () => {
      stop = systemClock.every(PERIOD_MS, make)
    },
    end: () => {
      stop()
      return close(provider, exporter)
    },
  }
}

/** Has a provider give out what is left; resolves when its exporter has told of everything. */
async function close(provider: Provider, exporter: Pick<Provider, 'forceFlush'>): Promise<void> {
  // What is given up on is told by the exporter, and a provider does not wait for the rest then.
  await provider.forceFlush().catch(() => undefined)
  await exporter.forceFlush()
  await provider.shutdown().catch(() => undefined)
}
