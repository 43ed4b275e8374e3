/** Telemetry for the tests of the page, by OTLP: what the SDK of the demo sends, and large traces. */

import type { ServerProcess } from '../../testing/server.js'

async function post(server: ServerProcess, signal: string, body: unknown): Promise<void> {
  const response = await fetch(`http://${server.addresses.otlpHttp}/v1/${signal}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const answer = await response.text()
  if (!response.ok || answer.includes('rejected')) throw new Error(`${response.status}: ${answer}`)
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0')
const text = (key: string, value: string) => ({ key, value: { stringValue: value } })
const resource = (service: string) => ({ attributes: [text('service.name', service)] })

/** Spans of one request. */
const CHUNK = 20_000

/**
 * A trace of `count` spans below one root, eight below each, as a tree of calls has them; the last of each
 * hundred failed. Resolves with when it began, in milliseconds.
 */
export async function sendLargeTrace(
  server: ServerProcess,
  traceId: string,
  count: number,
  began: number,
): Promise<void> {
  const start = BigInt(began) * 1_000_000n
  const length = 10_000_000_000n
  const spans = Array.from({ length: count }, (_, index) => {
    const parent = index === 0 ? null : Math.floor((index - 1) / 8)
    const from = start + (length * BigInt(index)) / BigInt(count + 1)
    const to = index === 0 ? start + length : from + BigInt(1_000_000 + (index % 97) * 100_000)
    return {
      traceId,
      spanId: hex(index + 1, 16),
      ...(parent === null ? {} : { parentSpanId: hex(parent + 1, 16) }),
      name: `operation ${index % 50}`,
      kind: 1,
      startTimeUnixNano: String(from),
      endTimeUnixNano: String(to < start + length ? to : start + length),
      status: index % 100 === 99 ? { code: 2, message: 'no' } : {},
      attributes: [{ key: 'number', value: { intValue: String(index) } }],
    }
  })
  for (let first = 0; first < count; first += CHUNK) {
    const scopeSpans = [{ scope: { name: 'test' }, spans: spans.slice(first, first + CHUNK) }]
    await post(server, 'traces', {
      resourceSpans: [{ resource: resource('large'), scopeSpans }],
    })
  }
}

/** Points of a histogram and of a counter by the minute, the newest now; exemplars name `traceId`. */
export async function sendMetrics(
  server: ServerProcess,
  traceId: string,
  now: number,
): Promise<void> {
  const minutes = Array.from({ length: 10 }, (_, index) => 9 - index)
  const nanos = (ago: number) => String(BigInt(now - ago * 60_000) * 1_000_000n)
  const began = nanos(10)
  const histogram = {
    name: 'checkout.duration',
    unit: 's',
    description: 'How long checkouts take',
    histogram: {
      aggregationTemporality: 2,
      dataPoints: minutes.map((ago, index) => ({
        startTimeUnixNano: began,
        timeUnixNano: nanos(ago),
        count: String((index + 1) * 10),
        sum: (index + 1) * 3,
        bucketCounts: [String((index + 1) * 8), String((index + 1) * 2), '0'],
        explicitBounds: [0.25, 1],
        exemplars: [
          { timeUnixNano: nanos(ago), asDouble: 0.5, traceId, spanId: '00000000000000ab' },
        ],
      })),
    },
  }
  const counter = {
    name: 'checkouts',
    unit: '{checkout}',
    sum: {
      aggregationTemporality: 2,
      isMonotonic: true,
      dataPoints: ['card', 'voucher'].flatMap((payment, at) =>
        minutes.map((ago, index) => ({
          startTimeUnixNano: began,
          timeUnixNano: nanos(ago),
          asInt: String((index + 1) * 60 * (at + 1)),
          attributes: [text('payment', payment)],
        })),
      ),
    },
  }
  const scopeMetrics = [{ scope: { name: 'test' }, metrics: [histogram, counter] }]
  await post(server, 'metrics', {
    resourceMetrics: [{ resource: resource('checkout'), scopeMetrics }],
  })
}

/** One log record, now. */
export async function sendLog(
  server: ServerProcess,
  body: string,
  now: number,
  severityNumber = 9,
): Promise<void> {
  const at = String(BigInt(now) * 1_000_000n)
  const logRecords = [
    { timeUnixNano: at, severityNumber, body: { stringValue: body }, attributes: [text('a', 'b')] },
  ]
  await post(server, 'logs', {
    resourceLogs: [{ resource: resource('live'), scopeLogs: [{ scope: {}, logRecords }] }],
  })
}
