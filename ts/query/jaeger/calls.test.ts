/** `jaeger.api_v3.QueryService` on the HTTP port, through real sockets. */

import { create, type DescMessage, fromBinary, toBinary } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../base/clock.js'
import { listenNode } from '../../base/http/node.js'
import { HTTP_LIMITS, type HttpServer } from '../../base/http/port.js'
import { FakeEngine, FakeStream } from '../../testing/fake-engine.js'
import { router } from '../answers.js'
import { QueryGrpc } from '../grpc.js'
import { parseTraceql } from '../traceql/parse.js'
import { jaegerCalls } from './calls.js'
import {
  DependenciesResponseSchema,
  FindTracesRequestSchema,
  GetDependenciesRequestSchema,
  GetOperationsRequestSchema,
  GetOperationsResponseSchema,
  GetServicesRequestSchema,
  GetServicesResponseSchema,
  GetTraceRequestSchema,
  TracesDataSchema,
} from './generated/query_pb.js'
import { jaegerRoutes } from './routes.js'

const ID = '5b8efff798038103d269b633813fc60c'
const OTHER = '0000000000000000d269b633813fc60c'

let engine: FakeEngine
let server: HttpServer
let service: QueryGrpc
let client: grpc.Client
let isReady: boolean

beforeEach(async () => {
  engine = new FakeEngine()
  isReady = true
  const options = { tokens: [], clock: systemClock }
  service = new QueryGrpc(
    jaegerCalls(() => engine, systemClock),
    { ...options, isReady: () => isReady },
  )
  service.start()
  const handler = router(jaegerRoutes(engine, options), () => undefined)
  server = await listenNode('127.0.0.1:0', handler, HTTP_LIMITS, (socket) => service.inject(socket))
  client = new grpc.Client(server.address, grpc.credentials.createInsecure())
})

afterEach(async () => {
  client.close()
  await Promise.all([service.stop(500), server.close(500)])
  for (const stream of engine.streams) expect(stream.closed).toBe(true)
})

const path = (name: string) => `/jaeger.api_v3.QueryService/${name}`
const bytes = (message: Uint8Array) => Buffer.from(message)

/** The resource spans of each message of a call. */
async function stream(
  name: string,
  request: DescMessage,
  fields: Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<string[][]> {
  const metadata = new grpc.Metadata()
  for (const [key, value] of Object.entries(headers)) metadata.set(key, value)
  const read = (message: Buffer) => fromBinary(TracesDataSchema, message)
  const body = toBinary(request, create(request, fields))
  const messages: string[][] = []
  for await (const message of client.makeServerStreamRequest(
    ...([path(name), bytes, read, body, metadata] as const),
  )) {
    messages.push(message.resourceSpans.map((each: Uint8Array) => Buffer.from(each).toString()))
  }
  return messages
}

function unary(
  name: string,
  request: DescMessage,
  response: DescMessage,
  fields: Record<string, unknown> = {},
): Promise<unknown> {
  const body = toBinary(request, create(request, fields))
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      ...([path(name), bytes, (message: Buffer) => fromBinary(response, message), body] as const),
      (error, message) => (error ? reject(error) : resolve(message)),
    )
  })
}

const spans = (...texts: string[]) =>
  Buffer.concat(texts.map((text) => Buffer.from([0x0a, text.length, ...Buffer.from(text)])))
const rows = (list: unknown[]) => {
  engine.answer = () => new FakeStream([`{"columns":[],"rows":${JSON.stringify(list)}}`])
}

test('GetTrace gives a message for each part of a trace', async () => {
  engine.traces.set(ID, [spans('a', 'b'), spans('c')])
  engine.traces.set(OTHER, spans('d'))
  const headers = { 'x-scope-orgid': 'blue' }
  const answer = await stream('GetTrace', GetTraceRequestSchema, { traceId: ID }, headers)
  expect(answer).toEqual([['a', 'b'], ['c']])
  expect(engine.traceCalls[0]).toMatchObject({
    ...{ traceId: ID, tenant: 'blue', encoding: 'protobuf' },
    ...{ startNs: null, endNs: null, partial: null },
  })
  const short = { traceId: OTHER.slice(16) }
  expect(await stream('GetTrace', GetTraceRequestSchema, short)).toEqual([['d']])
})

test('FindTraces gives each trace that a search found', async () => {
  engine.traceqlAnswer = () => ({
    json: JSON.stringify({ traces: [{ traceID: ID }, { traceID: OTHER }] }),
  })
  engine.traces.set(ID, [spans('a'), spans('b')])
  engine.traces.set(OTHER, spans('c'))
  const query = {
    ...{ serviceName: 's', operationName: 'o', attributes: { k: 'v' }, searchDepth: 3 },
    startTimeMin: { seconds: 100n, nanos: 1 },
    startTimeMax: { seconds: 200n },
    durationMin: { seconds: 1n },
    durationMax: { seconds: 2n, nanos: 500_000_000 },
  }
  const found = await stream('FindTraces', FindTracesRequestSchema, { query })
  expect(found).toEqual([['a'], ['b'], ['c']])
  const text =
    '{ resource.service.name = "s" && name = "o" && duration >= 1s && duration <= 2500ms && ' +
    '(span.k = "v" || resource.k = "v") }'
  expect(engine.traceql[0]?.request).toMatchObject({
    ...{ startNs: '100000000001', endNs: '200000000000', limit: 3 },
    query: JSON.parse(JSON.stringify(parseTraceql(text))),
  })
})

test('a duration of 0 is none: Jaeger’s own client sends it where none was set', async () => {
  const query = {
    ...{ serviceName: 's', durationMin: {}, durationMax: {} },
    ...{ startTimeMin: { seconds: 100n }, startTimeMax: { seconds: 200n } },
  }
  await stream('FindTraces', FindTracesRequestSchema, { query })
  expect(JSON.stringify(engine.traceql.at(-1)?.request)).not.toContain('duration')
})

test('GetServices, GetOperations and GetDependencies', async () => {
  rows([{ name: 'shop' }])
  expect(
    await unary('GetServices', GetServicesRequestSchema, GetServicesResponseSchema),
  ).toMatchObject({ services: ['shop'] })
  rows([{ name: 'GET', kind: 2 }])
  const operations = { service: 'shop', spanKind: 'server' }
  expect(
    await unary(
      ...(['GetOperations', GetOperationsRequestSchema, GetOperationsResponseSchema] as const),
      operations,
    ),
  ).toMatchObject({ operations: [{ name: 'GET', spanKind: 'server' }] })
  expect(JSON.parse(engine.queries[1]?.parameters ?? '')).toEqual(['shop', expect.any(String), 2])
  rows([{ parent: 'a', child: 'b', calls: 2 }])
  const range = { startTime: { seconds: 5000n }, endTime: { seconds: 6000n } }
  expect(
    await unary(
      ...(['GetDependencies', GetDependenciesRequestSchema, DependenciesResponseSchema] as const),
      range,
    ),
  ).toMatchObject({ dependencies: [{ parent: 'a', child: 'b', callCount: 2n }] })
})

test('what goes wrong has its status', async () => {
  const { INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE } = grpc.status
  for (const [name, schema, fields, code] of [
    ['GetTrace', GetTraceRequestSchema, { traceId: ID }, NOT_FOUND],
    ['GetTrace', GetTraceRequestSchema, { traceId: 'xyz' }, INVALID_ARGUMENT],
    ['FindTraces', FindTracesRequestSchema, {}, INVALID_ARGUMENT],
    ['FindTraces', FindTracesRequestSchema, { query: { serviceName: 's' } }, INVALID_ARGUMENT],
    [
      ...(['FindTraces', FindTracesRequestSchema] as const),
      { query: { startTimeMin: { seconds: -1n }, startTimeMax: { seconds: 1n } } },
      INVALID_ARGUMENT,
    ],
  ] as const) {
    await expect(stream(name, schema, fields)).rejects.toMatchObject({ code })
  }
  const operations = [GetOperationsRequestSchema, GetOperationsResponseSchema] as const
  await expect(unary('GetOperations', ...operations)).rejects.toMatchObject({
    code: INVALID_ARGUMENT,
  })
  // Bytes that are no message: a text that ends before its length.
  const torn = new Promise((resolve, reject) => {
    const request = Buffer.from([0x0a, 0x7f])
    client.makeUnaryRequest(path('GetOperations'), bytes, bytes, request, (error, message) =>
      error ? reject(error) : resolve(message),
    )
  })
  await expect(torn).rejects.toMatchObject({ code: INVALID_ARGUMENT })
  isReady = false
  await expect(stream('GetTrace', GetTraceRequestSchema, { traceId: ID })).rejects.toMatchObject({
    code: UNAVAILABLE,
  })
})

test('HTTP goes on beside', async () => {
  rows([])
  const response = await fetch(`http://${server.address}/jaeger/api/services`)
  expect(await response.json()).toMatchObject({ data: [], errors: null })
})
