/**
 * What the OpenTelemetry JavaScript SDK sends, over each transport and encoding, compressed and
 * not, is what SQL answers, field by field (I8), as soon as the export has succeeded (I7).
 */

import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { SeverityNumber } from '@opentelemetry/api-logs'
import { OTLPLogExporter as LogGrpc } from '@opentelemetry/exporter-logs-otlp-grpc'
import { OTLPLogExporter as LogJson } from '@opentelemetry/exporter-logs-otlp-http'
import { OTLPLogExporter as LogProto } from '@opentelemetry/exporter-logs-otlp-proto'
import { OTLPMetricExporter as MetricGrpc } from '@opentelemetry/exporter-metrics-otlp-grpc'
import { OTLPMetricExporter as MetricJson } from '@opentelemetry/exporter-metrics-otlp-http'
import { OTLPMetricExporter as MetricProto } from '@opentelemetry/exporter-metrics-otlp-proto'
import { OTLPTraceExporter as TraceGrpc } from '@opentelemetry/exporter-trace-otlp-grpc'
import { OTLPTraceExporter as TraceJson } from '@opentelemetry/exporter-trace-otlp-http'
import { OTLPTraceExporter as TraceProto } from '@opentelemetry/exporter-trace-otlp-proto'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  BatchLogRecordProcessor,
  LoggerProvider,
  type LogRecordExporter,
} from '@opentelemetry/sdk-logs'
import {
  AggregationType,
  MeterProvider,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
} from '@opentelemetry/sdk-metrics'
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  type SpanExporter,
} from '@opentelemetry/sdk-trace-base'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ServerProcess, temporaryFolder } from '../testing/server.js'
import { Relay } from './clients/relay.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeAll(async () => {
  folder = await temporaryFolder()
  server = await ServerProcess.start(folder.path)
})

afterAll(async () => {
  await server?.stop()
  await folder?.remove()
})

interface Transport {
  name: string
  /** Whether what it sends is found on the wire as it is. */
  compressed: boolean
  service: string
  spans(): Promise<SpanExporter>
  metrics(): Promise<PushMetricExporter>
  logs(): Promise<LogRecordExporter>
}

/** Between the SDK and the node: what it saw proves that a compression was really used. */
const relays: Relay[] = []

const wires = [
  { port: 'otlpGrpc', name: 'grpc', spans: TraceGrpc, metrics: MetricGrpc, logs: LogGrpc },
  {
    port: 'otlpHttp',
    name: 'http-protobuf',
    spans: TraceProto,
    metrics: MetricProto,
    logs: LogProto,
  },
  { port: 'otlpHttp', name: 'http-json', spans: TraceJson, metrics: MetricJson, logs: LogJson },
] as const

const transports: Transport[] = wires.flatMap((wire) =>
  ['none', 'gzip'].map((compression) => {
    const options = async (signal: string) => {
      const relay = await Relay.start(server.addresses[wire.port])
      relays.push(relay)
      const path = wire.port === 'otlpHttp' ? `/v1/${signal}` : ''
      // Exporters read it when they are made.
      process.env.OTEL_EXPORTER_OTLP_COMPRESSION = compression
      return { url: `http://${relay.address}${path}` }
    }
    return {
      name: `${wire.name}, compression ${compression}`,
      service: `sdk-${wire.name}-${compression}`,
      compressed: compression === 'gzip',
      spans: async () => new wire.spans(await options('traces')),
      metrics: async () => new wire.metrics(await options('metrics')),
      logs: async () => new wire.logs(await options('logs')),
    }
  }),
)

const nanos = ([seconds, nanoseconds]: [number, number]) =>
  BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds)

interface SpanRow {
  trace_id: string
  span_id: string
  parent_span_id: string | null
  name: string
  kind: number
  start_time_unix_nano: string
  duration_ns: string | number
  status_code: number
  status_message: string | null
  service_name: string
  http_request_method: string | null
  http_response_status_code: number | null
  attributes: string
  resource_attributes: string
  scope_name: string
  scope_version: string
  events: { time_unix_nano: string; name: string; attributes: string }[]
  links: { trace_id: string; span_id: string; attributes: string }[]
  tenant: string
}

describe.each(transports)('the SDK over $name', ({ service, compressed, spans, metrics, logs }) => {
  afterEach(async () => {
    for (const relay of relays.splice(0)) await relay.close()
    delete process.env.OTEL_EXPORTER_OTLP_COMPRESSION
  })

  /** The text was sent, as it is or compressed. */
  const expectOnTheWire = (text: string) =>
    expect(relays.at(-1)?.saw(text), `"${text}" is readable on the wire`).toBe(!compressed)

  const resource = resourceFromAttributes({
    'service.name': service,
    'service.instance.id': 'a',
    'deployment.ports': [4317, 4318],
  })

  test('spans arrive with every field', async () => {
    const memory = new InMemorySpanExporter()
    const provider = new BasicTracerProvider({
      resource,
      spanProcessors: [new BatchSpanProcessor(await spans()), new SimpleSpanProcessor(memory)],
    })
    const tracer = provider.getTracer('shop', '1.2.3')
    const other = tracer.startSpan('linked')
    other.end()
    const root = tracer.startSpan('GET /cart', {
      kind: SpanKind.SERVER,
      links: [{ context: other.spanContext(), attributes: { 'link.reason': 'retry' } }],
      attributes: {
        'http.request.method': 'GET',
        'http.response.status_code': 500,
        'app.ratio': 0.25,
        'app.whole': 2,
        'app.cached': false,
        'app.items': ['tea', 'cup "large"', 'naïve\n'],
        'app.empty': '',
      },
    })
    const child = tracer.startSpan('query', {}, trace.setSpan(context.active(), root))
    child.addEvent('rows', { count: 3 })
    child.setStatus({ code: SpanStatusCode.ERROR, message: 'timed out' })
    child.end()
    root.end()
    await provider.forceFlush()

    expectOnTheWire('link.reason')
    const sent = memory.getFinishedSpans()
    expect(sent).toHaveLength(3)
    const stored = await server.rows<SpanRow>('SELECT * FROM spans WHERE service_name = $1', [
      service,
    ])
    expect(stored).toHaveLength(3)
    for (const span of sent) {
      const row = stored.find((candidate) => candidate.span_id === span.spanContext().spanId)
      if (!row) throw new Error(`span ${span.name} is not stored`)
      expect(row.trace_id).toBe(span.spanContext().traceId)
      expect(row.parent_span_id).toBe(span.parentSpanContext?.spanId ?? null)
      expect(row.name).toBe(span.name)
      // The SDK counts kinds from 0, OTLP from 1.
      expect(row.kind).toBe(span.kind + 1)
      expect(BigInt(row.start_time_unix_nano)).toBe(nanos(span.startTime))
      expect(BigInt(row.start_time_unix_nano) + BigInt(row.duration_ns)).toBe(nanos(span.endTime))
      expect(row.status_code).toBe(span.status.code)
      expect(row.status_message).toBe(span.status.message ?? null)
      expect(row.service_name).toBe(service)
      expect(JSON.parse(row.attributes)).toEqual(span.attributes)
      expect(JSON.parse(row.resource_attributes)).toEqual(span.resource.attributes)
      expect(row.scope_name).toBe('shop')
      expect(row.scope_version).toBe('1.2.3')
      expect(row.tenant).toBe('default')
      expect(
        row.events.map((event) => ({
          name: event.name,
          time: BigInt(event.time_unix_nano),
          attributes: JSON.parse(event.attributes),
        })),
      ).toEqual(
        span.events.map((event) => ({
          name: event.name,
          time: nanos(event.time),
          attributes: event.attributes ?? {},
        })),
      )
      expect(
        row.links.map((link) => [link.trace_id, link.span_id, JSON.parse(link.attributes)]),
      ).toEqual(
        span.links.map((link) => [link.context.traceId, link.context.spanId, link.attributes]),
      )
    }
    const [cart] = stored.filter((row) => row.name === 'GET /cart')
    expect(cart?.http_request_method).toBe('GET')
    expect(cart?.http_response_status_code).toBe(500)
    // The number's OTLP type is kept: 0.25 is a double, 2 an integer.
    expect(cart?.attributes).toContain('"app.ratio":0.25')
    expect(cart?.attributes).toContain('"app.whole":2,')
    await provider.shutdown()
  })

  test('the trace is found by its id and is OTLP', async () => {
    const provider = new BasicTracerProvider({
      resource,
      spanProcessors: [new BatchSpanProcessor(await spans())],
    })
    const tracer = provider.getTracer('shop')
    const root = tracer.startSpan('root')
    tracer.startSpan('leaf', {}, trace.setSpan(context.active(), root)).end()
    root.end()
    await provider.forceFlush()

    const { traceId, spanId } = root.spanContext()
    const response = await fetch(server.url(`/api/v1/traces/${traceId}`))
    expect(response.status).toBe(200)
    const body = (await response.json()) as {
      resourceSpans: {
        resource: { attributes: { key: string; value: { stringValue?: string } }[] }
        scopeSpans: { spans: { traceId: string; spanId: string; parentSpanId?: string }[] }[]
      }[]
    }
    const found = body.resourceSpans.flatMap((r) => r.scopeSpans.flatMap((s) => s.spans))
    expect(found).toHaveLength(2)
    expect(found.every((span) => span.traceId === traceId)).toBe(true)
    expect(found.filter((span) => span.parentSpanId === spanId)).toHaveLength(1)
    const [name] =
      body.resourceSpans[0]?.resource.attributes.filter(
        (attribute) => attribute.key === 'service.name',
      ) ?? []
    expect(name?.value.stringValue).toBe(service)

    const absent = await fetch(server.url(`/api/v1/traces/${'0'.repeat(31)}1`))
    expect(absent.status).toBe(404)
    await provider.shutdown()
  })

  test('metrics arrive with every field', async () => {
    const reader = new PeriodicExportingMetricReader({
      exporter: await metrics(),
      exportIntervalMillis: 3_600_000,
    })
    const provider = new MeterProvider({
      resource,
      readers: [reader],
      views: [
        {
          instrumentName: 'spread',
          aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM },
        },
        {
          instrumentName: 'wait',
          aggregation: {
            type: AggregationType.EXPLICIT_BUCKET_HISTOGRAM,
            options: { boundaries: [1, 10, 100] },
          },
        },
      ],
    })
    const meter = provider.getMeter('shop', '1.2.3')
    const orders = meter.createCounter('orders', { unit: '{order}', description: 'Orders placed' })
    orders.add(3, { country: 'NL' })
    orders.add(4, { country: 'NL' })
    const wait = meter.createHistogram('wait', { unit: 'ms' })
    for (const value of [0.5, 5, 50, 500]) wait.record(value)
    const spread = meter.createHistogram('spread')
    for (const value of [1, 2, 4, 8]) spread.record(value)
    meter.createObservableGauge('load').addCallback((result) => result.observe(0.75))
    await provider.forceFlush()

    expectOnTheWire('Orders placed')
    const where = 'WHERE service_name = $1'
    const [sum] = await server.rows(`SELECT * FROM metrics_sum ${where}`, [service])
    expect(sum).toMatchObject({
      name: 'orders',
      unit: '{order}',
      description: 'Orders placed',
      value: 7,
      aggregation_temporality: 2,
      is_monotonic: true,
      scope_name: 'shop',
      attributes: '{"country":"NL"}',
    })
    const [gauge] = await server.rows(`SELECT * FROM metrics_gauge ${where}`, [service])
    expect(gauge).toMatchObject({ name: 'load', value: 0.75, value_int: null })
    const [histogram] = await server.rows(`SELECT * FROM metrics_histogram ${where}`, [service])
    expect(histogram).toMatchObject({
      name: 'wait',
      count: 4,
      sum: 555.5,
      min: 0.5,
      max: 500,
      bucket_counts: [1, 1, 1, 1],
      explicit_bounds: [1, 10, 100],
    })
    const [exponential] = await server.rows<Record<string, unknown>>(
      `SELECT * FROM metrics_exponential_histogram ${where}`,
      [service],
    )
    expect(exponential).toMatchObject({ name: 'spread', count: 4, sum: 15, min: 1, max: 8 })
    const buckets = exponential?.positive_bucket_counts as number[]
    expect(buckets.reduce((total, bucket) => total + bucket, 0)).toBe(4)
    await provider.shutdown()
  })

  test('logs arrive with every field', async () => {
    const provider = new LoggerProvider({
      resource,
      processors: [new BatchLogRecordProcessor({ exporter: await logs() })],
    })
    const logger = provider.getLogger('shop', '1.2.3')
    logger.emit({
      timestamp: [1_700_000_000, 123_456_789],
      severityNumber: SeverityNumber.WARN,
      severityText: 'WARN',
      body: 'stock is low',
      attributes: { sku: 'tea-1', left: 2 },
    })
    logger.emit({
      timestamp: [1_700_000_001, 0],
      severityNumber: SeverityNumber.INFO,
      body: { order: { id: 7, paid: true }, tags: ['a', 'b'] },
    })
    await provider.forceFlush()

    expectOnTheWire('stock is low')
    const rows = await server.rows(
      'SELECT * FROM logs WHERE service_name = $1 ORDER BY time_unix_nano',
      [service],
    )
    expect(rows).toHaveLength(2)
    expect(rows[0]).toMatchObject({
      time_unix_nano: '1700000000123456789',
      severity_number: 13,
      severity_text: 'WARN',
      body: 'stock is low',
      body_value: null,
      attributes: '{"sku":"tea-1","left":2}',
      scope_name: 'shop',
      scope_version: '1.2.3',
    })
    expect(JSON.parse(String(rows[1]?.body_value))).toEqual({
      order: { id: 7, paid: true },
      tags: ['a', 'b'],
    })
    await provider.shutdown()
  })
})
