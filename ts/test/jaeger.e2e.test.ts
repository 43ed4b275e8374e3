/**
 * Jaeger's query API of a running node: traces are sent over OTLP and read as Jaeger's UI, Grafana and a
 * client over gRPC read them. Some are in files, some in memory.
 */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  FindTracesRequestSchema,
  GetServicesResponseSchema,
  GetTraceRequestSchema,
  TracesDataSchema,
} from '../query/jaeger/generated/query_pb.js'
import { send } from '../testing/otlp.js'
import { ServerProcess, set, temporaryFolder } from '../testing/server.js'

const SECOND = 1_000_000_000n
/** A whole minute, so that steps of a minute begin with it. */
const START = (BigInt(Date.now()) / 60_000n - 10n) * 60n * SECOND
const TRACES = 5
/** More than one part of a trace's answer. */
const MANY = 9_000
const MANY_ID = 'ab'.repeat(16)

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeAll(async () => {
  folder = await temporaryFolder()
  // gRPC on the HTTP port needs the adapter that can tell it apart.
  const adapter = set({ 'http.adapter': 'node' })
  server = await ServerProcess.start(folder.path, ['--cluster', '127.0.0.1:0', ...adapter])
  for (let number = 1; number <= TRACES; number++) {
    expect(await send(server, 'traces', trace(number))).toBe(true)
    if (number === 3) await server.flush()
  }
  const spans = Array.from({ length: MANY }, (_, index) => ({
    ...{ traceId: MANY_ID, spanId: hex(index + 1, 16), name: 'tick', kind: 1 },
    startTimeUnixNano: String(START),
    endTimeUnixNano: String(START + 1000n),
  }))
  expect(await send(server, 'traces', { resourceSpans: [resource('clock', spans)] })).toBe(true)
})

afterAll(async () => {
  await server?.kill()
  await folder?.remove()
})

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}

/** Ids of 64 bits and of 128. */
const idOf = (number: number) => (number === 1 ? hex(1, 32) : `${hex(number, 16)}${hex(7, 16)}`)
const shownId = (number: number) => (number === 1 ? hex(1, 16) : idOf(number))

function resource(service: string, spans: unknown[]): unknown {
  const attributes = [{ key: 'service.name', value: { stringValue: service } }]
  return { resource: { attributes }, scopeSpans: [{ scope: { name: 'lib' }, spans }] }
}

/** A shop that calls a cart; the fifth call fails. */
function trace(number: number): unknown {
  const start = START + BigInt(number) * SECOND
  const times = (from: bigint, milliseconds: bigint) => ({
    startTimeUnixNano: String(from),
    endTimeUnixNano: String(from + milliseconds * 1_000_000n),
  })
  const traceId = idOf(number)
  const isFailed = number === TRACES
  const root = {
    ...{ traceId, spanId: hex(number * 2, 16), name: 'GET /', kind: 2 },
    ...times(start, BigInt(number) * 100n),
    attributes: [{ key: 'number', value: { intValue: String(number) } }],
  }
  const child = {
    ...{ traceId, spanId: hex(number * 2 + 1, 16), parentSpanId: root.spanId },
    ...{ name: 'add', kind: 2, ...times(start + 1000n, 50n) },
    status: isFailed ? { code: 2, message: 'full' } : {},
    events: isFailed
      ? [{ timeUnixNano: String(start + 2000n), name: 'exception', attributes: [] }]
      : [],
  }
  return { resourceSpans: [resource('shop', [root]), resource('cart', [child])] }
}

async function get<T>(path: string, parameters: [string, string | number][] = []): Promise<T> {
  const query = new URLSearchParams(
    parameters.map(([name, value]): [string, string] => [name, String(value)]),
  )
  const response = await fetch(server.url(`/jaeger/api${path}?${query}`))
  const body = await response.text()
  if (!response.ok) throw new Error(`${path} ${query}: ${response.status} ${body}`)
  return JSON.parse(body) as T
}

interface Trace {
  traceID: string
  spans: {
    spanID: string
    operationName: string
    references: { refType: string; traceID: string; spanID: string }[]
    startTime: number
    duration: number
    tags: { key: string; type: string; value: unknown }[]
    logs: { timestamp: number; fields: unknown[] }[]
    processID: string
  }[]
  processes: Record<string, { serviceName: string }>
}

const micros = (nanoseconds: bigint) => Number(nanoseconds / 1000n)
const RANGE: [string, number][] = [
  ['start', micros(START)],
  ['end', micros(START + 120n * SECOND)],
]

describe('what needs no search', () => {
  test('services and their operations', async () => {
    expect(await get('/services')).toMatchObject({ data: ['cart', 'clock', 'shop'], total: 3 })
    expect(await get('/services/shop/operations')).toMatchObject({ data: ['GET /'] })
    expect(await get('/operations', [['service', 'cart']])).toMatchObject({
      data: [{ name: 'add', spanKind: 'server' }],
    })
    const clients: [string, string][] = [
      ['service', 'cart'],
      ['spanKind', 'client'],
    ]
    expect(await get('/operations', clients)).toMatchObject({ data: [] })
  })

  test('a trace by its id, of files and of memory', async () => {
    for (const number of [1, TRACES]) {
      const { data } = await get<{ data: Trace[] }>(`/traces/${shownId(number)}`)
      expect(data).toHaveLength(1)
      const [found] = data as [Trace]
      expect(found.traceID).toBe(shownId(number))
      const service = (span: Trace['spans'][number]) => found.processes[span.processID]?.serviceName
      const root = found.spans.find((span) => service(span) === 'shop')
      const child = found.spans.find((span) => service(span) === 'cart')
      expect(found.spans).toHaveLength(2)
      expect(root).toMatchObject({
        ...{ operationName: 'GET /', references: [], duration: number * 100_000 },
        startTime: micros(START + BigInt(number) * SECOND),
      })
      expect(root?.tags).toContainEqual({ key: 'number', type: 'int64', value: number })
      expect(root?.tags).toContainEqual({ key: 'span.kind', type: 'string', value: 'server' })
      expect(child?.references).toEqual([
        { refType: 'CHILD_OF', traceID: shownId(number), spanID: root?.spanID },
      ])
      const error = { key: 'error', type: 'bool', value: true }
      if (number === TRACES) expect(child?.tags).toContainEqual(error)
      else expect(child?.tags).not.toContainEqual(error)
      expect(child?.logs).toHaveLength(number === TRACES ? 1 : 0)
    }
  })

  test('again from what was answered before, and anew once a span has come', async () => {
    const path = `/traces/${shownId(2)}`
    const first = await get<{ data: Trace[] }>(path)
    expect(await get(path)).toEqual(first)
    // Other forms of the same trace are not taken for this one.
    const v3 = await get<{ result: { resourceSpans: unknown[] } }>(`/v3/traces/${idOf(2)}`)
    expect(v3.result.resourceSpans).toHaveLength(2)
    const late = {
      ...{ traceId: idOf(2), spanId: 'fe'.repeat(8), name: 'late', kind: 1 },
      ...{ startTimeUnixNano: String(START), endTimeUnixNano: String(START) },
    }
    expect(await send(server, 'traces', { resourceSpans: [resource('shop', [late])] })).toBe(true)
    expect((await get<{ data: Trace[] }>(path)).data[0]?.spans).toHaveLength(3)
  })

  test('a large trace comes whole, in both forms', async () => {
    const { data } = await get<{ data: Trace[] }>(`/traces/${MANY_ID}`)
    expect(new Set(data[0]?.spans.map(({ spanID }) => spanID)).size).toBe(MANY)
    expect(Object.keys(data[0]?.processes ?? {})).toEqual(['p1'])
    const { result } = await get<{
      result: { resourceSpans: { scopeSpans: { spans: unknown[] }[] }[] }
    }>(`/v3/traces/${MANY_ID}`)
    const spans = result.resourceSpans.flatMap(({ scopeSpans }) =>
      scopeSpans.flatMap((each) => each.spans),
    )
    expect(spans).toHaveLength(MANY)
  })

  test('many by their ids', async () => {
    const ids = [1, 4, 99].map((number): [string, string] => ['traceID', shownId(number)])
    const { data, errors } = await get<{ data: Trace[]; errors: unknown[] }>('/traces', ids)
    expect(data.map(({ traceID }) => traceID)).toEqual([shownId(1), shownId(4)])
    expect(errors).toMatchObject([{ code: 404, traceID: idOf(99) }])
  })

  test('dependencies', async () => {
    const range: [string, number][] = [
      ['endTs', Number((START + 120n * SECOND) / 1_000_000n)],
      ['lookback', 120_000],
    ]
    expect(await get('/dependencies', range)).toMatchObject({
      data: [{ parent: 'shop', child: 'cart', callCount: TRACES }],
    })
  })

  test('what is not there and what is no id', async () => {
    const missing = await fetch(server.url(`/jaeger/api/traces/${hex(99, 16)}`))
    expect([missing.status, await missing.json()]).toMatchObject([
      404,
      { data: null, errors: [{ code: 404, msg: 'trace not found' }] },
    ])
    expect((await fetch(server.url('/jaeger/api/traces/xyz'))).status).toBe(400)
    expect((await fetch(server.url('/jaeger/api/traces'))).status).toBe(400)
  })
})

describe('searches', () => {
  const search = async (...parameters: [string, string | number][]) => {
    const { data } = await get<{ data: Trace[] }>('/traces', [...RANGE, ...parameters])
    return data.map(({ traceID }) => traceID).sort()
  }
  const ids = (...numbers: number[]) => numbers.map(shownId).sort()

  test('by service, operation, durations and tags', async () => {
    const shop: [string, string] = ['service', 'shop']
    expect(await search(shop)).toEqual(ids(1, 2, 3, 4, 5))
    expect(await search(shop, ['limit', 2])).toHaveLength(2)
    expect(await search(['service', 'cart'], ['operation', 'add'])).toEqual(ids(1, 2, 3, 4, 5))
    expect(await search(shop, ['operation', 'add'])).toEqual([])
    expect(await search(shop, ['minDuration', '200ms'], ['maxDuration', '0.4s'])).toEqual(
      ids(2, 3, 4),
    )
    expect(await search(shop, ['tags', '{"number":"3"}'])).toEqual(ids(3))
    expect(await search(shop, ['tag', 'number:4'], ['tag', 'span.kind:server'])).toEqual(ids(4))
    expect(await search(['service', 'cart'], ['tag', 'error:true'])).toEqual(ids(5))
    expect(await search(['service', 'cart'], ['tag', 'event:exception'])).toEqual(ids(5))
    expect(await search(shop, ['tag', 'otel.scope.name:lib'])).toEqual(ids(1, 2, 3, 4, 5))
    expect(await search(shop, ['tag', `x:' OR 1=1 --`])).toEqual([])
  })

  test('version 3', async () => {
    const iso = (nanoseconds: bigint) => new Date(Number(nanoseconds / 1_000_000n)).toISOString()
    const { result } = await get<{ result: { resourceSpans: unknown[] } }>('/v3/traces', [
      ['query.service_name', 'shop'],
      ['query.attributes', '{"number":"3"}'],
      ['query.start_time_min', iso(START)],
      ['query.start_time_max', iso(START + 120n * SECOND)],
    ])
    expect(result.resourceSpans).toHaveLength(2)
  })

  test('the monitor tab', async () => {
    const common: [string, string | number][] = [
      ['service', 'cart'],
      ['endTs', Number((START + 60n * SECOND) / 1_000_000n)],
      ['lookback', 60_000],
      ['step', 60_000],
      ['groupByOperation', 'true'],
    ]
    const values = async (name: string, ...more: [string, string][]) => {
      const { metrics } = await get<{
        metrics: {
          labels: { name: string; value: string }[]
          metricPoints: { gaugeValue: { doubleValue: number } }[]
        }[]
      }>(`/metrics/${name}`, [...common, ...more])
      expect(metrics).toMatchObject([
        {
          labels: [
            { name: 'operation', value: 'add' },
            { name: 'service_name', value: 'cart' },
          ],
        },
      ])
      return metrics[0]?.metricPoints.map(({ gaugeValue }) => gaugeValue.doubleValue)
    }
    expect(await values('calls')).toContainEqual(expect.closeTo(TRACES / 60))
    expect(await values('errors')).toContainEqual(expect.closeTo(1 / TRACES))
    // Quantiles are of buckets of powers of two.
    const [latency = 0] = (await values('latencies', ['quantile', '0.5'])) ?? []
    expect(latency).toBeGreaterThan(30)
    expect(latency).toBeLessThan(70)
  })
})

describe('gRPC', () => {
  const path = (name: string) => `/jaeger.api_v3.QueryService/${name}`
  const bytes = (message: Uint8Array) => Buffer.from(message)
  const withClient = async <T>(use: (client: grpc.Client) => Promise<T>): Promise<T> => {
    const client = new grpc.Client(server.addresses.http, grpc.credentials.createInsecure())
    try {
      return await use(client)
    } finally {
      client.close()
    }
  }
  const resourceSpans = (name: string, request: Uint8Array) =>
    withClient(async (client) => {
      const read = (message: Buffer) => fromBinary(TracesDataSchema, message)
      let count = 0
      for await (const { resourceSpans } of client.makeServerStreamRequest(
        ...([path(name), bytes, read, request] as const),
      )) {
        count += resourceSpans.length
      }
      return count
    })

  test('services and a trace', async () => {
    const services = await withClient(
      (client) =>
        new Promise((resolve, reject) => {
          const read = (message: Buffer) => fromBinary(GetServicesResponseSchema, message)
          client.makeUnaryRequest(
            ...([path('GetServices'), bytes, read, new Uint8Array()] as const),
            (error, message) => (error ? reject(error) : resolve(message)),
          )
        }),
    )
    expect(services).toMatchObject({ services: ['cart', 'clock', 'shop'] })
    const traceId = shownId(3)
    const request = toBinary(GetTraceRequestSchema, create(GetTraceRequestSchema, { traceId }))
    expect(await resourceSpans('GetTrace', request)).toBe(2)
  })

  test('a search', async () => {
    const seconds = START / SECOND
    const query = {
      ...{ serviceName: 'shop', attributes: { number: '3' }, searchDepth: 10 },
      startTimeMin: { seconds },
      startTimeMax: { seconds: seconds + 120n },
    }
    const request = toBinary(FindTracesRequestSchema, create(FindTracesRequestSchema, { query }))
    expect(await resourceSpans('FindTraces', request)).toBe(2)
  })
})
