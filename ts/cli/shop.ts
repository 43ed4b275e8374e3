/** The telemetry of a small shop, made with the OpenTelemetry SDK as an application would. */

import { context, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { SeverityNumber } from '@opentelemetry/api-logs'
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-proto'
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs'
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { systemClock } from '../base/clock.js'

const COUNTRIES = ['NL', 'SE', 'PT', 'JP']
const PAYMENTS = ['card', 'invoice', 'voucher']

/** What was sent. */
export interface Sent {
  spans: number
  logs: number
  /** One of the traces. */
  traceId: string
}

/** Sends the telemetry of `orders` orders to an OTLP/HTTP endpoint; resolves when all is stored. */
export async function sendShopTelemetry(endpoint: string, orders: number): Promise<Sent> {
  const services = ['frontend', 'orders', 'payment', 'stock'].map((name) => service(name, endpoint))
  const [frontend, order, payment, stock] = services as [Service, Service, Service, Service]
  const placed = order.meter.createCounter('shop.orders', { unit: '{order}' })
  const took = frontend.meter.createHistogram('http.server.request.duration', { unit: 's' })
  const sent: Sent = { spans: 0, logs: 0, traceId: '' }
  // Everything happened in the last minute, one order after the other.
  let now = systemClock.now() - 60_000

  for (let number = 0; number < orders; number++) {
    const country = COUNTRIES[number % COUNTRIES.length] ?? 'NL'
    const method = PAYMENTS[number % PAYMENTS.length] ?? 'card'
    const failed = method === 'voucher' && number % 2 === 0
    const began = now
    const start = (from: Service, name: string, kind: SpanKind, parent?: Span, attributes = {}) => {
      sent.spans++
      const above = parent ? trace.setSpan(context.active(), parent) : context.active()
      return from.tracer.startSpan(name, { kind, startTime: now, attributes }, above)
    }
    const say = (from: Service, span: Span, severity: SeverityNumber, body: string) => {
      sent.logs++
      from.logger.emit({
        timestamp: now,
        severityNumber: severity,
        severityText: SeverityNumber[severity] ?? '',
        body,
        attributes: { 'shop.order': number },
        context: trace.setSpan(context.active(), span),
      })
    }

    const root = start(frontend, 'POST /orders', SpanKind.SERVER, undefined, {
      'http.request.method': 'POST',
      'http.route': '/orders',
      'http.response.status_code': failed ? 402 : 201,
      'shop.country': country,
      'shop.payment.method': method,
      'shop.items': [`tea-${number % 5}`, `cup-${number % 3}`],
    })
    now += 2
    const create = start(order, 'create order', SpanKind.INTERNAL, root)
    const reserve = start(stock, 'reserve stock', SpanKind.CLIENT, create, {
      'db.system.name': 'postgresql',
      'db.query.text': 'UPDATE stock SET reserved = reserved + 1 WHERE sku = $1',
    })
    now += 3 + (number % 7)
    if (number % 9 === 0) {
      reserve.addEvent('cache.miss', { 'cache.key': `stock:tea-${number % 5}` }, now)
      say(stock, reserve, SeverityNumber.WARN, `stock of tea-${number % 5} is low`)
      now += 40
    }
    reserve.end(now)
    const charge = start(payment, `charge ${method}`, SpanKind.CLIENT, create, {
      'shop.payment.method': method,
      'shop.amount': 12.5 + number,
    })
    charge.addLink({ context: reserve.spanContext() })
    now += 8 + (number % 11) * 2
    if (failed) {
      charge.setStatus({ code: SpanStatusCode.ERROR, message: 'the voucher has expired' })
      root.setStatus({ code: SpanStatusCode.ERROR, message: 'payment refused' })
      say(payment, charge, SeverityNumber.ERROR, 'the voucher has expired')
      sent.traceId = root.spanContext().traceId
    } else {
      placed.add(1, { 'shop.country': country })
      say(order, create, SeverityNumber.INFO, `order ${number} placed`)
    }
    charge.end(now)
    create.end(now + 1)
    now += 2
    root.end(now)
    took.record((now - began) / 1000, { 'http.route': '/orders' })
    now += 20
  }
  for (const { flush } of services) await flush()
  return sent
}

type Service = ReturnType<typeof service>

function service(name: string, endpoint: string) {
  const resource = resourceFromAttributes({ 'service.name': name, 'service.version': '1.0.0' })
  const spans = new BasicTracerProvider({
    resource,
    spanProcessors: [
      new BatchSpanProcessor(new OTLPTraceExporter({ url: `${endpoint}/v1/traces` })),
    ],
  })
  const logs = new LoggerProvider({
    resource,
    processors: [
      new BatchLogRecordProcessor({
        exporter: new OTLPLogExporter({ url: `${endpoint}/v1/logs` }),
      }),
    ],
  })
  const exporter = new OTLPMetricExporter({ url: `${endpoint}/v1/metrics` })
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  const metrics = new MeterProvider({ resource, readers: [reader] })
  return {
    tracer: spans.getTracer('shop'),
    logger: logs.getLogger('shop'),
    meter: metrics.getMeter('shop'),
    async flush() {
      await spans.shutdown()
      await logs.shutdown()
      await metrics.shutdown()
    },
  }
}
