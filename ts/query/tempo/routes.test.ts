/** The Tempo API over both HTTP adapters' real sockets, as Grafana asks it, on an engine in memory. */

import { createHash } from 'node:crypto'
import { fromBinary } from '@bufbuild/protobuf'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../base/clock.js'
import { listenNode } from '../../base/http/node.js'
import type { HttpServer, Listen } from '../../base/http/port.js'
import { loadUws } from '../../base/http/uws.js'
import type { Token } from '../../native/binding.js'
import type { TraceqlEngine } from '../../native/traceql.js'
import { FakeEngine } from '../../testing/fake-engine.js'
import { router } from '../answers.js'
import { parseTraceql } from '../traceql/parse.js'
import {
  PartialStatus,
  QueryInstantResponseSchema,
  QueryRangeResponseSchema,
  SearchResponseSchema,
  SearchTagsResponseSchema,
  SearchTagsV2ResponseSchema,
  SearchTagValuesV2ResponseSchema,
  TraceByIDResponseSchema,
  TraceSchema,
} from './generated/tempo_pb.js'
import { TEMPO_VERSION, tempoRoutes } from './routes.js'

const ID = '5b8efff798038103d269b633813fc60c'
const SECOND = 1_000_000_000n
const PROTOBUF = { accept: 'application/protobuf' }
const SEARCH = {
  traces: [
    {
      traceID: ID,
      rootServiceName: 'shop',
      rootTraceName: 'GET /',
      startTimeUnixNano: '1700000000000000001',
      durationMs: 12,
      spanSets: [
        {
          spans: [
            {
              spanID: 'eee19b7ec3c1b174',
              name: 'GET /',
              startTimeUnixNano: '1700000000000000001',
              durationNanos: '12000000',
              attributes: [{ key: 'http.status_code', value: { intValue: '200' } }],
            },
          ],
          matched: 3,
        },
      ],
    },
  ],
  metrics: { inspectedTraces: 1, inspectedBytes: '1000' },
}
const TAGS = {
  scopes: [
    { name: 'span', tags: ['http.route', 'shared'] },
    { name: 'resource', tags: ['service.name', 'shared'] },
    { name: 'intrinsic', tags: ['name', 'status'] },
  ],
}
const VALUES = {
  tagValues: [
    { type: 'string', value: 'a' },
    { type: 'int', value: '1' },
    { type: 'string', value: '1' },
  ],
}
const SERIES = {
  series: [
    {
      labels: [{ key: 'name', value: { stringValue: 'GET /' } }],
      samples: [{ timestampMs: '1700000000000', value: 0.5 }],
      exemplars: [
        {
          labels: [{ key: 'trace:id', value: { stringValue: ID } }],
          value: 0.012,
          timestampMs: '1700000000001',
        },
      ],
    },
  ],
}
const INSTANT = { series: [{ labels: SERIES.series[0]?.labels, value: 3 }] }
const ANSWERS: Record<keyof TraceqlEngine, unknown> = {
  searchTraces: SEARCH,
  traceTags: TAGS,
  traceTagValues: VALUES,
  traceMetrics: SERIES,
}

const uws = await loadUws()
const adapters: { name: string; listen: Listen }[] = [{ name: 'node:http', listen: listenNode }]
if (uws) adapters.push({ name: 'uWebSockets.js', listen: uws })

describe.each(adapters)('$name', ({ listen }) => {
  let engine: FakeEngine
  let server: HttpServer
  let isReady: boolean

  const start = async (tokens: Token[] = []) => {
    // 2023-11-14T22:13:20Z
    const clock = { ...systemClock, now: () => 1_700_000_000_000 }
    const options = { tokens, clock, version: '0.1.0', isReady: () => isReady }
    server = await listen(
      '127.0.0.1:0',
      router(tempoRoutes(engine, options), () => undefined),
    )
  }
  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(`http://${server.address}/tempo${path}`, { headers })
  const bytes = async (path: string) => {
    const response = await get(path, PROTOBUF)
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'application/protobuf',
    ])
    return new Uint8Array(await response.arrayBuffer())
  }
  const failure = async (path: string) => {
    const response = await get(path)
    const { error } = (await response.json()) as { error: Record<string, string> }
    return [response.status, error.code]
  }
  const asked = () => engine.traceql.at(-1)?.request
  const q = (text: string) => encodeURIComponent(text)

  beforeEach(async () => {
    engine = new FakeEngine()
    engine.traceqlAnswer = (call) => ({ json: JSON.stringify(ANSWERS[call]) })
    isReady = true
    await start()
  })

  afterEach(async () => {
    for (const stream of engine.streams) stream.close()
    await server.close(200)
  })

  describe('what a data source looks at first', () => {
    test('echo, readiness and a version that tells it what it may ask', async () => {
      expect(await (await get('/api/echo')).text()).toBe('echo')
      expect((await get('/ready')).status).toBe(200)
      isReady = false
      expect((await get('/ready')).status).toBe(503)
      for (const path of ['/api/status/buildinfo', '/status/buildinfo']) {
        expect(await (await get(path)).json()).toMatchObject({
          version: TEMPO_VERSION,
          revision: 'otlake 0.1.0',
        })
      }
    })
  })

  describe('a trace by its id', () => {
    // A ResourceSpans of three bytes, and one of 200.
    const first = Buffer.from([0x1a, 1, 0x61])
    const second = Buffer.concat([Buffer.from([0x1a, 0xc5, 0x01]), Buffer.alloc(197, 0x62)])
    const trace = Buffer.concat([
      ...[Buffer.of(0x0a, first.length), first],
      ...[Buffer.of(0x0a, 0xc8, 0x01), second],
    ])

    test('protobuf, wrapped in the second version and plain in the first', async () => {
      engine.traces.set(ID, trace)
      const range = 'start=1699990000&end=1700000000'
      const wrapped = fromBinary(
        TraceByIDResponseSchema,
        await bytes(`/api/v2/traces/${ID}?${range}`),
      )
      expect(wrapped.trace?.resourceSpans.map((each) => Buffer.from(each))).toEqual([first, second])
      expect([wrapped.status, wrapped.message]).toEqual([PartialStatus.COMPLETE, ''])
      const plain = fromBinary(TraceSchema, await bytes(`/api/traces/${ID}`))
      expect(plain.resourceSpans.map((each) => Buffer.from(each))).toEqual([first, second])
      expect(engine.traceCalls[0]).toEqual({
        ...{ traceId: ID, tenant: null, consistency: null, session: null, encoding: 'protobuf' },
        ...{ startNs: 1_699_990_000n * SECOND, endNs: 1_700_000_000n * SECOND, partial: null },
      })
      expect(engine.traceCalls[1]).toMatchObject({ startNs: null, endNs: null })
    })

    test('one in chunks is wrapped wherever they end, and says what it lacks', async () => {
      for (const size of [1, 2, 3, 4, 5, 7, 50, 500]) {
        const chunks = Array.from({ length: Math.ceil(trace.length / size) }, (_, index) =>
          trace.subarray(index * size, (index + 1) * size),
        )
        engine.traces.set(ID, chunks)
        engine.partialTraces = 'a stream of n2'
        const response = await get(`/api/v2/traces/${ID}`, {
          ...PROTOBUF,
          'otlake-partial': 'true',
        })
        expect(response.headers.get('otlake-partial')).toBe('a stream of n2')
        const body = new Uint8Array(await response.arrayBuffer())
        const wrapped = fromBinary(TraceByIDResponseSchema, body)
        expect(wrapped.trace?.resourceSpans.map((each) => Buffer.from(each))).toEqual([
          first,
          second,
        ])
        expect(wrapped.status).toBe(PartialStatus.PARTIAL)
        expect(wrapped.message).toContain('n2')
      }
    })

    test('JSON, whole and in chunks', async () => {
      for (const body of [
        Buffer.from('{"resourceSpans":[1]}'),
        ['{"resourceSpans":[', '1', ']}'],
      ]) {
        engine.traces.set(ID, body)
        expect(await (await get(`/api/v2/traces/${ID}`)).json()).toEqual({
          trace: { resourceSpans: [1] },
          metrics: {},
        })
        expect(await (await get(`/api/traces/${ID}`)).json()).toEqual({ batches: [1] })
      }
    })

    test('short ids are filled up; 404 where there is none, 400 for what is no id', async () => {
      engine.traces.set('00000000000000001234567890abcdef', Buffer.from('{"resourceSpans":[]}'))
      expect((await get('/api/v2/traces/1234567890abcdef')).status).toBe(200)
      for (const version of ['', '/v2']) {
        expect(await failure(`/api${version}/traces/${ID}`)).toEqual([404, 'TRACE_NOT_FOUND'])
        expect(await failure(`/api${version}/traces/xyz`)).toEqual([400, 'TRACE_ID'])
      }
    })

    test('start and end may come alone, 0 is none, and what is no range is refused', async () => {
      engine.traces.set(ID, Buffer.from('{"resourceSpans":[]}'))
      for (const [query, startNs, endNs] of [
        ['start=1700000000', 1_700_000_000n * SECOND, null],
        ['end=1700000000000000001', null, 1_700_000_000n * SECOND + 1n],
        ['start=0&end=0', null, null],
      ] as const) {
        expect((await get(`/api/v2/traces/${ID}?${query}`)).status).toBe(200)
        expect(engine.traceCalls.at(-1)).toMatchObject({ startNs, endNs })
      }
      for (const query of ['start=2&end=1', 'start=2&end=2', 'end=soon']) {
        expect(await failure(`/api/traces/${ID}?${query}`)).toEqual([400, 'HTTP_MALFORMED'])
      }
    })

    test('what is known is sent without asking the engine’s threads', async () => {
      engine.traces.set(ID, trace)
      engine.knownTraces.add(ID)
      const wrapped = fromBinary(TraceByIDResponseSchema, await bytes(`/api/v2/traces/${ID}`))
      expect(wrapped.trace?.resourceSpans).toHaveLength(2)
      expect(engine.traceCalls).toEqual([])
    })
  })

  describe('search', () => {
    test('by TraceQL, as the query editor asks it', async () => {
      const text = '{ resource.service.name = "shop" } >> { status = error }'
      const path = `/api/search?q=${q(text)}&limit=20&spss=3&start=1699996400&end=1700000000`
      const response = await get(path, { 'x-scope-orgid': 'blue' })
      expect(await response.json()).toEqual(SEARCH)
      expect(response.headers.get('otlake-session')).toBe(engine.session())
      expect(engine.traceql).toEqual([
        {
          call: 'searchTraces',
          request: {
            ...{ tenant: 'blue', consistency: null, session: null, partial: null, queryId: null },
            startNs: '1699996400000000000',
            endNs: '1700000000000000000',
            timeoutMs: null,
            query: JSON.parse(JSON.stringify(parseTraceql(text))),
            ...{ limit: 20, spansPerSpanset: 3, mostRecent: false },
          },
        },
      ])
    })

    test('in protobuf', async () => {
      const { traces, metrics } = fromBinary(SearchResponseSchema, await bytes('/api/search'))
      expect(traces[0]).toMatchObject({
        traceID: ID,
        startTimeUnixNano: 1_700_000_000_000_000_001n,
        spanSets: [{ matched: 3, spans: [{ durationNanos: 12_000_000n }] }],
      })
      expect(metrics?.inspectedBytes).toBe(1000n)
    })

    test('by tags and durations', async () => {
      const tags = q('service.name=shop name="GET /"')
      await get(`/api/search?tags=${tags}&minDuration=100ms&maxDuration=1.5s&limit=5`)
      const query =
        '{ .service.name = "shop" && name = "GET /" && traceDuration >= 100ms && traceDuration <= 1500ms }'
      expect(asked()).toMatchObject({
        query: JSON.parse(JSON.stringify(parseTraceql(query))),
        ...{ limit: 5, startNs: null, endNs: null },
      })
    })

    test('the newest where the query says so', async () => {
      await get(`/api/search?q=${q('{ } with(most_recent=true)')}`)
      expect(asked()).toMatchObject({ mostRecent: true })
    })

    test('headers say whose, how fresh, and what it lacks', async () => {
      engine.traceqlAnswer = () => ({ session: 'seen', partial: 'a stream of n2' })
      const response = await get('/api/search', {
        ...{ 'otlake-consistency': 'session', 'otlake-session': 'token', 'otlake-partial': 'true' },
      })
      expect(asked()).toMatchObject({ consistency: 'session', session: 'token', partial: true })
      expect(response.headers.get('otlake-session')).toBe('seen')
      expect(response.headers.get('otlake-partial')).toBe('a stream of n2')
    })

    test.each([
      ['/api/search?q=%7B', 400, 'TRACEQL_SYNTAX'],
      [`/api/search?q=${q('{ 1 = "a" }')}`, 400, 'TRACEQL_TYPE'],
      [`/api/search?q=${q('{ } | rate()')}`, 400, 'TRACEQL_UNSUPPORTED'],
      ['/api/search?tags=x', 400, 'TRACEQL_SYNTAX'],
      ['/api/search?limit=-1', 400, 'HTTP_MALFORMED'],
      ['/api/search?limit=1e9', 400, 'HTTP_MALFORMED'],
      ['/api/search?start=yesterday', 400, 'HTTP_MALFORMED'],
      ['/api/search?start=20&end=10', 400, 'HTTP_MALFORMED'],
      [`/api/search?q=${q(`{ ${'!'.repeat(200)}.a }`)}`, 422, 'TRACEQL_TOO_LARGE'],
    ])('%s is refused', async (path, status, code) => {
      expect(await failure(path)).toEqual([status, code])
      expect(engine.traceql).toEqual([])
    })
  })

  describe('tags', () => {
    test('by scope, as the query editor completes names', async () => {
      const text = '{ resource.service.name = "shop" }'
      const path = `/api/v2/search/tags?scope=span&q=${q(text)}&start=1699996400&end=1700000000&limit=5000`
      expect(await (await get(path)).json()).toEqual(TAGS)
      expect(asked()).toMatchObject({
        ...{ scope: 'span', limit: 5000, startNs: '1699996400000000000' },
        query: JSON.parse(JSON.stringify(parseTraceql(text))),
      })
      const message = fromBinary(SearchTagsV2ResponseSchema, await bytes('/api/v2/search/tags'))
      expect(message.scopes.map(({ name }) => name)).toEqual(['span', 'resource', 'intrinsic'])
      expect(asked()).toMatchObject({ scope: null, query: null })
    })

    test('of all scopes together in the first version', async () => {
      const names = ['http.route', 'service.name', 'shared']
      expect(await (await get('/api/search/tags')).json()).toEqual({ tagNames: names })
      const message = fromBinary(SearchTagsResponseSchema, await bytes('/api/search/tags'))
      expect(message.tagNames).toEqual(names)
    })

    test('a scope that is none is refused', async () => {
      expect(await failure('/api/v2/search/tags?scope=house')).toEqual([400, 'HTTP_MALFORMED'])
    })
  })

  describe('values of a tag', () => {
    const resource = { kind: 'attribute', scope: 'resource', parent: false, name: 'service.name' }

    test.each([
      ['resource.service.name', resource],
      ['.service.name', { ...resource, scope: 'any' }],
      ['service.name', { ...resource, scope: 'any' }],
      ['name', { kind: 'intrinsic', name: 'name' }],
      ['span:status', { kind: 'intrinsic', name: 'status' }],
      ['span.a/b c%d', { ...resource, scope: 'span', name: 'a/b c%d' }],
    ])('%s, encoded once or twice', async (tag, expected) => {
      const once = encodeURIComponent(tag)
      const paths = tag.includes('%')
        ? [encodeURIComponent(once)]
        : [once, encodeURIComponent(once)]
      for (const path of paths) {
        const response = await get(`/api/v2/search/tag/${path}/values`)
        expect(await response.json()).toEqual(VALUES)
        expect(asked()).toMatchObject({ tag: expected, query: null, limit: 5000 })
      }
    })

    test('filtered by what of the query can be read', async () => {
      for (const [text, filter] of [
        ['{ .a = "b" }', '{ .a = "b" }'],
        ['{ .a = "b" && .c = }', '{ .a = "b" }'],
        ['{ .a = "b" && (.c = 1 || .d) && ', '{ .a = "b" && (.c = 1 || .d) }'],
        ['{ .c = }', null],
        ['{ }', null],
        ['{', null],
        ['nonsense', null],
        ['"', null],
        ['{ .a } | count() > 1', null],
        ['', null],
      ] as const) {
        await get(`/api/v2/search/tag/span.x/values?q=${q(text)}`)
        const query = filter === null ? null : JSON.parse(JSON.stringify(parseTraceql(filter)))
        expect(asked()?.query, text).toEqual(query)
      }
    })

    test('in protobuf with types, and without in the first version', async () => {
      const path = '/api/v2/search/tag/span.x/values'
      const message = fromBinary(SearchTagValuesV2ResponseSchema, await bytes(path))
      expect(message.tagValues).toMatchObject(VALUES.tagValues)
      const plain = await get('/api/search/tag/x/values')
      expect(await plain.json()).toEqual({ tagValues: ['a', '1'] })
    })
  })

  describe('metrics', () => {
    const rate = q('{ } | rate() by (name)')

    test.each([
      // As seconds, nanoseconds, dates, and a length before now.
      ['start=1699996400&end=1700000000', '1699996400000000000', '1700000000000000000'],
      ['start=1699996400.5&end=1700000000', '1699996400500000000', '1700000000000000000'],
      [
        'start=1699996400000000001&end=1700000000000000002',
        '1699996400000000001',
        '1700000000000000002',
      ],
      ['start=1699996400000&end=1700000000000', '1699996400000000000', '1700000000000000000'],
      [
        'start=2023-11-14T21:13:20Z&end=2023-11-14T23:13:20.25%2B01:00',
        '1699996400000000000',
        '1700000000250000000',
      ],
      ['since=15m', '1699999100000000000', '1700000000000000000'],
      ['', '1699996400000000000', '1700000000000000000'],
    ])('a range by %s', async (range, startNs, endNs) => {
      const response = await get(`/api/metrics/query_range?q=${rate}&${range}&step=15s&exemplars=5`)
      expect(await response.json()).toEqual(SERIES)
      expect(asked()).toMatchObject({ startNs, endNs, stepNs: '15000000000', exemplars: 5 })
    })

    test.each([
      ['60', '60000000000'],
      ['1m', '60000000000'],
      ['0.5', '500000000'],
      // Of one hour.
      ['', '15000000000'],
    ])('a step of `%s`', async (step, stepNs) => {
      await get(`/api/metrics/query_range?q=${rate}&since=1h&step=${step}`)
      expect(asked()).toMatchObject({ stepNs, exemplars: 0 })
    })

    test('protobuf of a range, with exemplars', async () => {
      const body = await bytes(`/api/metrics/query_range?q=${rate}`)
      const { series } = fromBinary(QueryRangeResponseSchema, body)
      expect(series[0]).toMatchObject({
        labels: [{ key: 'name', value: { value: { case: 'stringValue', value: 'GET /' } } }],
        samples: [{ timestampMs: 1_700_000_000_000n, value: 0.5 }],
        exemplars: [{ value: 0.012 }],
      })
    })

    test('one value over a range', async () => {
      engine.traceqlAnswer = () => ({ json: JSON.stringify(INSTANT) })
      const path = `/api/metrics/query?q=${rate}&since=1h`
      expect(await (await get(path)).json()).toEqual(INSTANT)
      expect(asked()).toMatchObject({ stepNs: null })
      const { series } = fromBinary(QueryInstantResponseSchema, await bytes(path))
      expect(series).toMatchObject([{ value: 3 }])
    })

    test.each([
      [`/api/metrics/query_range?q=${q('{ }')}`, 'TRACEQL_UNSUPPORTED'],
      ['/api/metrics/query_range', 'TRACEQL_SYNTAX'],
      [`/api/metrics/query_range?q=${rate}&step=often`, 'HTTP_MALFORMED'],
      [`/api/metrics/query_range?q=${rate}&since=1y&step=1s`, 'HTTP_MALFORMED'],
      [`/api/metrics/query_range?q=${rate}&start=1700000001`, 'HTTP_MALFORMED'],
      [`/api/metrics/query?q=${rate}&since=soon`, 'HTTP_MALFORMED'],
    ])('%s is refused', async (path, code) => {
      expect(await failure(path)).toEqual([400, code])
    })
  })

  test('with tokens, only a known one is answered, and it decides the tenant', async () => {
    await server.close(200)
    const sha256 = createHash('sha256').update('secret').digest('hex')
    await start([{ sha256, tenant: 'green' }])
    for (const path of [
      ...['/api/search', '/api/v2/search/tags', '/api/v2/search/tag/name/values'],
      ...[`/api/v2/traces/${ID}`, '/api/metrics/query_range?q=x'],
    ]) {
      expect(await failure(path)).toEqual([401, 'OTLP_UNAUTHENTICATED'])
    }
    await get('/api/search', { authorization: 'Bearer secret', 'x-scope-orgid': 'blue' })
    expect(asked()).toMatchObject({ tenant: 'green' })
  })
})
