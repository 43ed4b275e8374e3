/**
 * What clients of a cluster send of each signal: requests whose records follow from a number, and how
 * a node tells these records apart.
 */

import { createHash } from 'node:crypto'

/** As the path of OTLP/HTTP has it. */
export type Signal = 'traces' | 'metrics' | 'logs'

export const SIGNALS: readonly Signal[] = ['traces', 'metrics', 'logs']

/** Records of one request, with keys of their own, so that many nodes own a part of it. */
export const RECORDS = 20
const EPOCH = 1_700_000_000_000_000_000n

interface Kind {
  /** Where the records are. */
  table: string
  /** The column in which no two records of a service are alike. */
  identity: string
  /** Record `at` of a service as OTLP/JSON. `at` counts over all its requests. */
  record(service: string, at: number): object
  /** A request of such records. */
  request(resource: object, records: object[]): object
}

export const KINDS: Readonly<Record<Signal, Kind>> = {
  traces: {
    table: 'spans',
    identity: 'span_id',
    record: (service, at) => ({
      ...ids(service, at),
      name: `request ${Math.floor(at / RECORDS)}`,
      kind: 2,
      startTimeUnixNano: String(EPOCH + BigInt(at)),
      endTimeUnixNano: String(EPOCH + BigInt(at) + 1000n),
    }),
    request: (resource, spans) => ({ resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }),
  },
  // A metric has one owner, by its name: each of a request is one of its own.
  metrics: {
    table: 'metrics_gauge',
    identity: 'value',
    record: (_, at) => ({
      name: `gauge ${at % RECORDS}`,
      gauge: { dataPoints: [{ timeUnixNano: String(EPOCH + BigInt(at)), asDouble: at }] },
    }),
    request: (resource, metrics) => ({
      resourceMetrics: [{ resource, scopeMetrics: [{ metrics }] }],
    }),
  },
  // A record has its trace's owner, and one without a trace its resource's: there are both.
  logs: {
    table: 'logs',
    identity: 'body',
    record: (service, at) => ({
      timeUnixNano: String(EPOCH + BigInt(at)),
      severityNumber: 9,
      body: { stringValue: `record ${at}` },
      ...(at % 2 === 0 ? ids(service, at) : {}),
    }),
    request: (resource, logRecords) => ({
      resourceLogs: [{ resource, scopeLogs: [{ logRecords }] }],
    }),
  },
}

/** Request `number` of a service; the same bytes whenever it is made. */
export function request(signal: Signal, service: string, number: number): string {
  const kind = KINDS[signal]
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: service } }] }
  const records = Array.from({ length: RECORDS }, (_, index) =>
    kind.record(service, number * RECORDS + index),
  )
  return JSON.stringify(kind.request(resource, records))
}

function ids(service: string, at: number): { traceId: string; spanId: string } {
  const id = createHash('sha256').update(`${service} ${at}`).digest('hex')
  return { traceId: id.slice(0, 32), spanId: id.slice(32, 48) }
}
