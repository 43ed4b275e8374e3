/** The gRPC service on the HTTP port, through real sockets, as Grafana calls it. */

import { createHash } from 'node:crypto'
import { create, type DescMessage, fromBinary, toBinary } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../base/clock.js'
import { listenNode } from '../../base/http/node.js'
import { HTTP_LIMITS, type HttpServer } from '../../base/http/port.js'
import type { Token } from '../../native/binding.js'
import { FakeEngine } from '../../testing/fake-engine.js'
import { router } from '../answers.js'
import { QueryGrpc } from '../grpc.js'
import { parseTraceql } from '../traceql/parse.js'
import {
  QueryInstantRequestSchema,
  QueryInstantResponseSchema,
  QueryRangeRequestSchema,
  QueryRangeResponseSchema,
  SearchRequestSchema,
  SearchResponseSchema,
  SearchTagsRequestSchema,
  SearchTagsResponseSchema,
  SearchTagsV2ResponseSchema,
  SearchTagValuesRequestSchema,
  SearchTagValuesResponseSchema,
  SearchTagValuesV2ResponseSchema,
} from './generated/tempo_pb.js'
import { tempoRoutes } from './routes.js'
import { tempoCalls } from './streaming.js'

let engine: FakeEngine
let server: HttpServer
let streaming: QueryGrpc
let client: grpc.Client

const start = async (tokens: Token[] = []) => {
  const options = { tokens, clock: systemClock, version: '0', isReady: () => true }
  streaming = new QueryGrpc(
    tempoCalls(() => engine, options.clock),
    options,
  )
  streaming.start()
  const handler = router(tempoRoutes(engine, options), () => undefined)
  const onHttp2 = (socket: import('node:net').Socket) => streaming.inject(socket)
  server = await listenNode('127.0.0.1:0', handler, HTTP_LIMITS, onHttp2)
  client = new grpc.Client(server.address, grpc.credentials.createInsecure())
}

beforeEach(async () => {
  engine = new FakeEngine()
  await start()
})

afterEach(async () => {
  client.close()
  await Promise.all([streaming.stop(500), server.close(500)])
})

/** All messages of a call; rejects with the call's error. */
async function call(
  name: string,
  request: DescMessage,
  response: DescMessage,
  fields: Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<unknown[]> {
  const metadata = new grpc.Metadata()
  for (const [key, value] of Object.entries(headers)) metadata.set(key, value)
  const stream = client.makeServerStreamRequest(
    `/tempopb.StreamingQuerier/${name}`,
    (message: Uint8Array) => Buffer.from(message),
    (bytes) => fromBinary(response, bytes),
    toBinary(request, create(request, fields)),
    metadata,
  )
  const messages: unknown[] = []
  for await (const message of stream) messages.push(message)
  return messages
}

const json = (value: unknown) => JSON.parse(JSON.stringify(value))

test('Search', async () => {
  engine.traceqlAnswer = () => ({ json: '{"traces":[{"traceID":"ab","durationMs":7}]}' })
  const fields = { Query: '{ .a }', Limit: 7, SpansPerSpanSet: 5, start: 100, end: 200 }
  const headers = { 'x-scope-orgid': 'blue' }
  const answer = await call('Search', SearchRequestSchema, SearchResponseSchema, fields, headers)
  expect(answer).toMatchObject([{ traces: [{ traceID: 'ab', durationMs: 7 }] }])
  expect(engine.traceql[0]).toMatchObject({
    call: 'searchTraces',
    request: {
      ...{ tenant: 'blue', limit: 7, spansPerSpanset: 5 },
      ...{ startNs: '100000000000', endNs: '200000000000' },
      query: json(parseTraceql('{ .a }')),
    },
  })
})

test('Search by tags and durations', async () => {
  const fields = { Tags: { a: 'b "c"' }, MinDurationMs: 100 }
  await call('Search', SearchRequestSchema, SearchResponseSchema, fields)
  const query = '{ .a = "b \\"c\\"" && traceDuration >= 100ms }'
  expect(engine.traceql[0]?.request).toMatchObject({ query: json(parseTraceql(query)), limit: 20 })
})

test('tags and their values, in both versions', async () => {
  engine.traceqlAnswer = (asked) => ({
    json:
      asked === 'traceTags'
        ? '{"scopes":[{"name":"span","tags":["a"]}]}'
        : '{"tagValues":[{"type":"string","value":"b"}]}',
  })
  const tags = { scope: 'span', query: '{ .x = }', start: 1, end: 2, maxTagsPerScope: 9 }
  expect(
    await call('SearchTags', SearchTagsRequestSchema, SearchTagsResponseSchema, tags),
  ).toMatchObject([{ tagNames: ['a'] }])
  expect(
    await call('SearchTagsV2', SearchTagsRequestSchema, SearchTagsV2ResponseSchema, tags),
  ).toMatchObject([{ scopes: [{ name: 'span', tags: ['a'] }] }])
  expect(engine.traceql[1]?.request).toMatchObject({ scope: 'span', query: null, limit: 9 })
  const values = { tagName: 'span.a b', query: '{ .x = 1 }', maxTagValues: 8 }
  expect(
    await call(
      'SearchTagValues',
      SearchTagValuesRequestSchema,
      SearchTagValuesResponseSchema,
      values,
    ),
  ).toMatchObject([{ tagValues: ['b'] }])
  expect(
    await call(
      'SearchTagValuesV2',
      SearchTagValuesRequestSchema,
      SearchTagValuesV2ResponseSchema,
      values,
    ),
  ).toMatchObject([{ tagValues: [{ type: 'string', value: 'b' }] }])
  expect(engine.traceql[3]?.request).toMatchObject({
    tag: { kind: 'attribute', scope: 'span', name: 'a b' },
    query: json(parseTraceql('{ .x = 1 }')),
    limit: 8,
  })
})

test('metrics over a range and at once', async () => {
  engine.traceqlAnswer = () => ({ json: '{"series":[{"labels":[]}]}' })
  const query = '{ } | rate()'
  const range = { query, start: 1_000_000_000_000n, end: 2_000_000_000_000n, step: 60_000_000_000n }
  const name = 'MetricsQueryRange'
  const fields = { ...range, exemplars: 3 }
  expect(await call(name, QueryRangeRequestSchema, QueryRangeResponseSchema, fields)).toMatchObject(
    [{ series: [{}] }],
  )
  // Numbers of 13 digits would be milliseconds in a URL; here they are nanoseconds.
  expect(engine.traceql[0]?.request).toMatchObject({
    ...{ startNs: '1000000000000', endNs: '2000000000000', stepNs: '60000000000', exemplars: 3 },
  })
  const instant = { query, start: range.start, end: range.end }
  await call('MetricsQueryInstant', QueryInstantRequestSchema, QueryInstantResponseSchema, instant)
  expect(engine.traceql[1]?.request).toMatchObject({ stepNs: null, endNs: '2000000000000' })
})

test('an error has its code, and HTTP goes on beside', async () => {
  const bad = call('Search', SearchRequestSchema, SearchResponseSchema, { Query: '{ 1 }' })
  await expect(bad).rejects.toMatchObject({
    code: grpc.status.INVALID_ARGUMENT,
    details: expect.stringContaining('TRACEQL_TYPE'),
  })
  expect(await (await fetch(`http://${server.address}/tempo/api/echo`)).text()).toBe('echo')
  await expect(
    call('Nothing', SearchRequestSchema, SearchResponseSchema, {}),
  ).rejects.toMatchObject({ code: grpc.status.UNIMPLEMENTED })
})

test('with tokens, only a known one is answered', async () => {
  client.close()
  await Promise.all([streaming.stop(500), server.close(500)])
  const sha256 = createHash('sha256').update('secret').digest('hex')
  await start([{ sha256, tenant: 'green' }])
  await expect(call('Search', SearchRequestSchema, SearchResponseSchema, {})).rejects.toMatchObject(
    { code: grpc.status.UNAUTHENTICATED },
  )
  const headers = { authorization: 'Bearer secret' }
  await call('Search', SearchRequestSchema, SearchResponseSchema, {}, headers)
  expect(engine.traceql[0]?.request).toMatchObject({ tenant: 'green' })
})
