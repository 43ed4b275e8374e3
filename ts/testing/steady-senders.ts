/**
 * Clients that go on at a steady rate whatever else a node does: the OpenTelemetry SDK's own exporters,
 * over gRPC and HTTP, and the count of what was acknowledged to them.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { context, type Tracer, trace } from '@opentelemetry/api'
import { OTLPTraceExporter as TraceGrpc } from '@opentelemetry/exporter-trace-otlp-grpc'
import { OTLPTraceExporter as TraceProto } from '@opentelemetry/exporter-trace-otlp-proto'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-base'
import type { ServerProcess } from './server.js'

/** Of each sender. */
const PERIOD_MS = 50
const TRACES_PER_REQUEST = 5
const CHILDREN = 3
/** How long an exporter waits: longer than on any machine where others work, too. */
const EXPORT_TIMEOUT_MS = 60_000
/** What an exporter's result says of a success. */
const SUCCESS = 0

/** One sender's spans, all of one service. */
interface Sender {
  service: string
  exporter: SpanExporter
  acknowledged: number
  requests: number
  failures: Error[]
}

export class SteadySenders {
  readonly #senders: Sender[]
  #isStopped = false
  #running: Promise<unknown> = Promise.resolve()

  /** Two over gRPC and two over HTTP; services are `steady-0` and so on. */
  constructor(server: ServerProcess) {
    const { otlpGrpc, otlpHttp } = server.addresses
    const timeoutMillis = EXPORT_TIMEOUT_MS
    const exporters = [
      () => new TraceGrpc({ url: `http://${otlpGrpc}`, timeoutMillis }),
      () => new TraceProto({ url: `http://${otlpHttp}/v1/traces`, timeoutMillis }),
    ]
    this.#senders = [...exporters, ...exporters].map((exporter, index) => ({
      service: `steady-${index}`,
      exporter: exporter(),
      ...{ acknowledged: 0, requests: 0, failures: [] },
    }))
  }

  start(): void {
    this.#running = Promise.all(this.#senders.map((sender) => this.#send(sender)))
  }

  /** Ends once what was under way is answered. */
  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
    await Promise.all(this.#senders.map(({ exporter }) => exporter.shutdown()))
  }

  /** Acknowledged requests of each sender. */
  requests(): number[] {
    return this.#senders.map(({ requests }) => requests)
  }

  /** Acknowledged spans by service. */
  acknowledged(): Record<string, number> {
    return Object.fromEntries(
      this.#senders.map(({ service, acknowledged }) => [service, acknowledged]),
    )
  }

  /** What exporters gave up on. */
  failures(): Error[] {
    return this.#senders.flatMap(({ failures }) => failures)
  }

  async #send(sender: Sender): Promise<void> {
    const memory = new InMemorySpanExporter()
    const provider = new BasicTracerProvider({
      resource: resourceFromAttributes({ 'service.name': sender.service }),
      spanProcessors: [new SimpleSpanProcessor(memory)],
    })
    const tracer = provider.getTracer('steady')
    while (!this.#isStopped) {
      for (let made = 0; made < TRACES_PER_REQUEST; made++) makeTrace(tracer)
      await provider.forceFlush()
      const spans = memory.getFinishedSpans()
      const error = await new Promise<Error | null>((resolve) => {
        sender.exporter.export(spans, ({ code, error }) =>
          resolve(code === SUCCESS ? null : (error ?? new Error(`code ${code}`))),
        )
      })
      if (error === null) {
        sender.acknowledged += spans.length
        sender.requests += 1
      } else sender.failures.push(error)
      memory.reset()
      await sleep(PERIOD_MS)
    }
    await provider.shutdown()
  }
}

function makeTrace(tracer: Tracer): void {
  const root = tracer.startSpan('GET /steady', { attributes: { 'http.request.method': 'GET' } })
  for (let child = 0; child < CHILDREN; child++) {
    const inside = trace.setSpan(context.active(), root)
    tracer.startSpan('query', { attributes: { 'db.number': child } }, inside).end()
  }
  root.end()
}
