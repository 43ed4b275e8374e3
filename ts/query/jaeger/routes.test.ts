/** Jaeger's query API over both HTTP adapters' real sockets, on an engine in memory. */

import { createHash } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../base/clock.js'
import { listenNode } from '../../base/http/node.js'
import type { HttpServer, Listen } from '../../base/http/port.js'
import { loadUws } from '../../base/http/uws.js'
import type { Token } from '../../native/binding.js'
import { FakeEngine, FakeStream } from '../../testing/fake-engine.js'
import { router } from '../answers.js'
import { parseTraceql } from '../traceql/parse.js'
import { jaegerRoutes } from './routes.js'

const ID = '5b8efff798038103d269b633813fc60c'
const OTHER = '0000000000000000d269b633813fc60c'
/** 2023-11-14T22:13:20Z */
const NOW_MS = 1_700_000_000_000
const HOUR_NS = 3_600_000_000_000n
const NOW_NS = BigInt(NOW_MS) * 1_000_000n

const uws = await loadUws()
const adapters: { name: string; listen: Listen }[] = [{ name: 'node:http', listen: listenNode }]
if (uws) adapters.push({ name: 'uWebSockets.js', listen: uws })

describe.each(adapters)('$name', ({ listen }) => {
  let engine: FakeEngine
  let server: HttpServer

  const start = async (tokens: Token[] = []) => {
    const clock = { ...systemClock, now: () => NOW_MS }
    const routes = jaegerRoutes(engine, { tokens, clock })
    server = await listen(
      '127.0.0.1:0',
      router(routes, () => undefined),
    )
  }
  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(`http://${server.address}/jaeger/api${path}`, { headers })
  const json = async (path: string) => {
    const response = await get(path)
    const body = await response.json()
    expect([path, response.status, body]).toEqual([path, 200, body])
    return body
  }
  const rows = (list: unknown[]) => {
    engine.answer = () => new FakeStream(['{"columns":[],"rows":', JSON.stringify(list), '}'])
  }
  const found = (...ids: string[]) => {
    engine.traceqlAnswer = () => ({
      json: JSON.stringify({ traces: ids.map((traceID) => ({ traceID })) }),
    })
  }
  const asked = () => engine.traceql.at(-1)?.request
  const tree = (text: string) => JSON.parse(JSON.stringify(parseTraceql(text)))
  const parameters = () => JSON.parse(engine.queries.at(-1)?.parameters ?? 'null')
  const q = (text: unknown) => encodeURIComponent(String(text))

  beforeEach(async () => {
    engine = new FakeEngine()
    await start()
  })

  afterEach(async () => {
    for (const stream of engine.streams) expect(stream.closed).toBe(true)
    await server.close(200)
  })

  describe('names', () => {
    test('services of the last three days', async () => {
      rows([{ name: 'cart' }, { name: 'shop' }])
      const response = await get('/services', {
        ...{ 'x-scope-orgid': 'blue', 'otlake-consistency': 'eventual', 'otlake-partial': 'true' },
      })
      expect(await response.json()).toEqual({
        ...{ data: ['cart', 'shop'], total: 2, limit: 0, offset: 0, errors: null },
      })
      expect(response.headers.get('otlake-session')).toBe(engine.session())
      expect(engine.queries[0]).toMatchObject({
        ...{ tenant: 'blue', consistency: 'eventual', partial: true },
      })
      expect(parameters()).toEqual([(NOW_NS - 72n * HOUR_NS).toString()])
    })

    test('operations of a service, once each, and with their kinds', async () => {
      rows([
        { name: 'GET', kind: 2 },
        { name: 'GET', kind: 3 },
        { name: 'SET', kind: 0 },
      ])
      // A name that would end a statement is a parameter of it.
      const service = "a/b' OR 1=1 --"
      expect(await json(`/services/${q(service)}/operations`)).toMatchObject({
        ...{ data: ['GET', 'SET'], total: 2 },
      })
      expect(parameters()).toEqual([service, expect.any(String), -1])
      expect(engine.queries[0]?.sql).not.toContain('1=1')
      expect(await json(`/operations?service=shop&spanKind=client`)).toMatchObject({
        data: [
          { name: 'GET', spanKind: 'server' },
          { name: 'GET', spanKind: 'client' },
          { name: 'SET', spanKind: 'unspecified' },
        ],
        total: 3,
      })
      expect(parameters()).toEqual(['shop', expect.any(String), 3])
    })
  })

  test('dependencies of a range, and callers that began before it', async () => {
    rows([{ parent: 'shop', child: 'cart', calls: 7 }])
    expect(await json(`/dependencies?endTs=${NOW_MS}&lookback=60000`)).toEqual({
      ...{ data: [{ parent: 'shop', child: 'cart', callCount: 7 }] },
      ...{ total: 0, limit: 0, offset: 0, errors: null },
    })
    const start = NOW_NS - 60_000_000_000n
    expect(parameters()).toEqual([`${start}`, `${NOW_NS}`, `${start - HOUR_NS}`])
    await json('/dependencies')
    expect(parameters()[0]).toBe(`${NOW_NS - 24n * HOUR_NS}`)
  })

  describe('a trace by its id', () => {
    test('as the engine writes it, whole and in chunks', async () => {
      for (const body of [Buffer.from('{"traceID":"a"}'), ['{"traceID":', '"a"}']]) {
        engine.traces.set(ID, body)
        expect(await json(`/traces/${ID.toUpperCase()}`)).toEqual({
          ...{ data: [{ traceID: 'a' }], total: 0, limit: 0, offset: 0, errors: null },
        })
      }
      expect(engine.traceCalls[0]).toEqual({
        ...{ traceId: ID, tenant: null, consistency: null, session: null, encoding: 'jaeger' },
        ...{ startNs: null, endNs: null, partial: null },
      })
    })

    test('ids of 64 bits, and what is known already', async () => {
      engine.traces.set(OTHER, Buffer.from('{}'))
      engine.knownTraces.add(OTHER)
      expect(await json('/traces/d269b633813fc60c')).toMatchObject({ data: [{}] })
      expect(engine.traceCalls).toEqual([])
    })

    test('a trace that may lack spans says so', async () => {
      engine.traces.set(ID, ['{}'])
      engine.partialTraces = 'a stream of n2'
      const response = await get(`/traces/${ID}`, { 'otlake-partial': 'true' })
      expect(response.headers.get('otlake-partial')).toBe('a stream of n2')
      expect(await response.json()).toMatchObject({
        errors: [{ code: 206, msg: expect.stringContaining('n2'), traceID: ID }],
      })
      expect(engine.traceCalls[0]?.partial).toBe(true)
    })

    test('404 and 400 in Jaeger’s form', async () => {
      const response = await get(`/traces/${ID}`)
      expect([response.status, await response.json()]).toEqual([
        404,
        {
          ...{ data: null, total: 0, limit: 0, offset: 0 },
          errors: [{ code: 404, msg: 'trace not found' }],
        },
      ])
      for (const id of ['xyz', '0', '1'.repeat(33)]) {
        const bad = await get(`/traces/${id}`)
        expect([bad.status, await bad.json()]).toMatchObject([400, { errors: [{ code: 400 }] }])
      }
    })
  })

  describe('search', () => {
    test('by all that the form of the UI has', async () => {
      engine.traces.set(ID, Buffer.from('{"traceID":"1"}'))
      engine.traces.set(OTHER, ['{"traceID"', ':"2"}'])
      found(ID, 'f'.repeat(32), OTHER.slice(16))
      const tags = q('{"http.status_code":"500","cluster":"a b"}')
      const path =
        '/traces?service=shop&operation=GET%20%2F&limit=20&lookback=1h&minDuration=1.5ms' +
        `&maxDuration=2s&start=1699996400000000&end=1700000000000000&tags=${tags}&tag=a:b:c`
      expect(await json(path)).toEqual({
        data: [{ traceID: '1' }, { traceID: '2' }],
        ...{ total: 0, limit: 0, offset: 0, errors: null },
      })
      const query =
        '{ resource.service.name = "shop" && name = "GET /" && duration >= 1500us ' +
        '&& duration <= 2s && (span.a = "b:c" || resource.a = "b:c") ' +
        '&& ((span.http.status_code = "500" || span.http.status_code = 500) || ' +
        '(resource.http.status_code = "500" || resource.http.status_code = 500)) ' +
        '&& (span.cluster = "a b" || resource.cluster = "a b") }'
      expect(asked()).toEqual({
        ...{ tenant: null, consistency: null, session: null, partial: null, timeoutMs: null },
        queryId: null,
        startNs: '1699996400000000000',
        endNs: '1700000000000000000',
        query: tree(query),
        ...{ limit: 20, spansPerSpanset: 1, mostRecent: true },
      })
      expect(engine.traceCalls.map(({ encoding }) => encoding)).toContain('jaeger')
    })

    test.each([
      ['error:true', '(status = error || (span.error = "true" || span.error = true))'],
      ['error:false', 'status != error'],
      ['error:timeout', '(span.error = "timeout" || resource.error = "timeout")'],
      ['span.kind:client', 'kind = client'],
      ['otel.status_code:ERROR', 'status = error'],
      ['otel.status_description:no', 'statusMessage = "no"'],
      ['otel.scope.name:lib', 'instrumentation:name = "lib"'],
      ['otel.library.version:1', 'instrumentation:version = "1"'],
      ['event:exception', 'event:name = "exception"'],
      [
        'exception.type:E',
        '(span.exception.type = "E" || resource.exception.type = "E" || event.exception.type = "E")',
      ],
    ])('the tag %s', async (tag, condition) => {
      found()
      expect(await json(`/traces?service=s&tag=${q(tag)}`)).toMatchObject({ data: [] })
      expect(asked()).toMatchObject({
        query: tree(`{ resource.service.name = "s" && ${condition} }`),
      })
    })

    test('without times it is the last two days, or as far as it is told to look back', async () => {
      found()
      await json('/traces?service=s')
      const range = { startNs: `${NOW_NS - 48n * HOUR_NS}`, endNs: `${NOW_NS}`, limit: 100 }
      expect(asked()).toMatchObject(range)
      await json('/traces?service=s&lookback=custom')
      expect(asked()).toMatchObject(range)
      await json('/traces?service=s&lookback=1h')
      expect(asked()).toMatchObject({ startNs: `${NOW_NS - HOUR_NS}` })
    })

    test('of many ids each trace once, and which are not there', async () => {
      engine.traces.set(ID, Buffer.from('{"traceID":"1"}'))
      const ids = [OTHER, ID, ID].map((id) => `traceID=${id}`).join('&')
      expect(await json(`/traces?${ids}`)).toMatchObject({
        data: [{ traceID: '1' }],
        errors: [{ code: 404, msg: 'trace not found', traceID: OTHER }],
      })
      expect(engine.traceql).toEqual([])
    })

    test.each([
      ['', "parameter 'service' is required"],
      ['service=', "parameter 'service' is required"],
      ['service=s&start=x', "'start'"],
      ['service=s&end=-1', "'end'"],
      ['service=s&end=99999999999999999999', "'end'"],
      ['service=s&start=5&end=5', 'start is not before'],
      ['service=s&lookback=long', "'lookback'"],
      ['service=s&minDuration=1', "'minDuration'"],
      ['service=s&minDuration=2s&maxDuration=1s', "'maxDuration' should be greater"],
      ['service=s&limit=1501', "'limit'"],
      ['service=s&limit=many', "'limit'"],
      ['service=s&tag=novalue', "malformed 'tag'"],
      ['service=s&tags=%7B', "malformed 'tags'"],
      ['service=s&tags=%5B%5D', "malformed 'tags'"],
      ['service=s&tags=%7B%22a%22%3A1%7D', 'the value of `a`'],
      [`service=s&${Array.from({ length: 65 }, (_, at) => `tag=k${at}:v`).join('&')}`, '64 tags'],
      ['traceID=xyz', 'no trace id'],
      [`${'traceID=1&'.repeat(1501)}`, "'traceID'"],
    ])('%s is refused', async (query, message) => {
      const response = await get(`/traces?${query}`)
      expect([response.status, await response.json()]).toEqual([
        400,
        {
          ...{ data: null, total: 0, limit: 0, offset: 0 },
          errors: [{ code: 400, msg: expect.stringContaining(message) }],
        },
      ])
      expect(engine.traceql).toEqual([])
    })

    test('an error of the engine has its code; one after the first trace breaks the answer off', async () => {
      engine.traceqlAnswer = () => {
        throw new Error('QUERY_TIMEOUT: it took too long')
      }
      const response = await get('/traces?service=s')
      expect([response.status, await response.json()]).toMatchObject([
        422,
        { errors: [{ code: 422, msg: 'QUERY_TIMEOUT: it took too long' }] },
      ])
      found(ID, OTHER)
      engine.traces.set(ID, ['{}', Buffer.alloc(300_000, ' ')])
      engine.traces.set(OTHER, [new Error('QUERY_FAILED: no') as never])
      await expect(get('/traces?service=s').then((broken) => broken.json())).rejects.toThrow()
    })
  })

  describe('the monitor tab', () => {
    const series = (values: Record<string, number>, operation?: string) => ({
      labels: [
        { key: 'resource.service.name', value: { stringValue: 'shop' } },
        ...(operation ? [{ key: 'name', value: { stringValue: operation } }] : []),
      ],
      samples: Object.entries(values).map(([timestampMs, value]) => ({ timestampMs, value })),
    })
    const range = `endTs=${NOW_MS}&lookback=60000&step=10000&ratePer=600000`
    const points = (family: unknown) =>
      (family as { metrics: { metricPoints: unknown }[] }).metrics.map((each) => each.metricPoints)

    test('latencies in milliseconds, by operation', async () => {
      engine.traceqlAnswer = () => ({
        json: JSON.stringify({ series: [series({ [NOW_MS]: 0.25 }, 'GET /')] }),
      })
      const path = `/metrics/latencies?service=shop&service=cart&quantile=0.95&groupByOperation=true&spanKind=server&spanKind=consumer&${range}`
      expect(await json(path)).toEqual({
        name: 'service_operation_latencies',
        type: 'GAUGE',
        help: '0.95th quantile latency, grouped by service & operation',
        metrics: [
          {
            labels: [
              { name: 'operation', value: 'GET /' },
              { name: 'service_name', value: 'shop' },
            ],
            metricPoints: [
              { gaugeValue: { doubleValue: 250 }, timestamp: '2023-11-14T22:13:20.000Z' },
            ],
          },
        ],
      })
      expect(asked()).toMatchObject({
        startNs: `${NOW_NS - 60_000_000_000n}`,
        endNs: `${NOW_NS}`,
        stepNs: '10000000000',
        query: tree(
          '{ (resource.service.name = "shop" || resource.service.name = "cart") && ' +
            '(kind = server || kind = consumer) } ' +
            '| quantile_over_time(duration, 0.95) by (resource.service.name, name)',
        ),
      })
    })

    test('calls, of servers where no kind is given', async () => {
      engine.traceqlAnswer = () => ({ json: JSON.stringify({ series: [series({ 1000: 2 })] }) })
      expect(await json(`/metrics/calls?service=shop&${range}`)).toMatchObject({
        name: 'service_call_rate',
        metrics: [{ labels: [{ name: 'service_name', value: 'shop' }] }],
      })
      expect(asked()).toMatchObject({
        query: tree(
          '{ resource.service.name = "shop" && kind = server } | rate() by (resource.service.name)',
        ),
      })
    })

    test('errors are a share of the calls, 0 where none failed, and nothing where none was', async () => {
      const answers = [series({ 1000: 2, 2000: 4, 3000: 0 }), series({ 1000: 1 })]
      engine.traceqlAnswer = () => ({ json: JSON.stringify({ series: [answers.shift()] }) })
      const family = await json(`/metrics/errors?service=shop&${range}`)
      expect(family).toMatchObject({ name: 'service_error_rate' })
      expect(points(family)).toEqual([
        [
          { gaugeValue: { doubleValue: 0.5 }, timestamp: '1970-01-01T00:00:01.000Z' },
          { gaugeValue: { doubleValue: 0 }, timestamp: '1970-01-01T00:00:02.000Z' },
        ],
      ])
      expect(asked()).toMatchObject({
        query: tree(
          '{ resource.service.name = "shop" && kind = server && status = error } ' +
            '| rate() by (resource.service.name)',
        ),
      })
    })

    test('the shortest step', async () => {
      expect(await json('/metrics/minstep')).toMatchObject({ data: 1000 })
    })

    test.each([
      ['calls', '', 'please provide at least one service name'],
      ['calls', 'service=s&spanKind=x', "'spanKind'"],
      ['calls', 'service=s&groupByOperation=x', "'groupByOperation'"],
      ['calls', 'service=s&endTs=x', "'endTs'"],
      ['calls', 'service=s&lookback=x', "'lookback'"],
      ['calls', 'service=s&lookback=0', 'start is not before'],
      ['calls', 'service=s&ratePer=x', "'ratePer'"],
      ['calls', 'service=s&step=999', "'step'"],
      ['calls', 'service=s&lookback=36000000000&step=1000', '11000 steps'],
      ['calls', 'service=s&'.repeat(101), "'service'"],
      ['latencies', 'service=s', "'quantile'"],
      ['latencies', 'service=s&quantile=2', "'quantile'"],
    ])('%s?%s is refused', async (name, query, message) => {
      const response = await get(`/metrics/${name}?${query}`)
      expect([response.status, await response.json()]).toMatchObject([
        400,
        { data: null, errors: [{ code: 400, msg: expect.stringContaining(message) }] },
      ])
    })
  })

  test.each([
    ['/operations', "'service' is required"],
    ['/operations?service=s&spanKind=x', "'spanKind'"],
    ['/dependencies?endTs=x', "'endTs'"],
    ['/dependencies?lookback=x', "'lookback'"],
  ])('%s is refused', async (path, message) => {
    const response = await get(path)
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { errors: [{ code: 400, msg: expect.stringContaining(message) }] },
    ])
    expect(engine.queries).toEqual([])
  })

  describe('version 3', () => {
    const times =
      'query.start_time_min=2023-11-14T21:13:20Z&query.start_time_max=2023-11-14T22:13:20.5Z'

    test('services, operations and dependencies', async () => {
      rows([{ name: 'shop' }])
      expect(await json('/v3/services')).toEqual({ services: ['shop'] })
      rows([{ name: 'GET', kind: 2 }])
      expect(await json('/v3/operations?service=shop&span_kind=SERVER')).toEqual({
        operations: [{ name: 'GET', spanKind: 'server' }],
      })
      expect(parameters()).toEqual(['shop', expect.any(String), 2])
      rows([{ parent: 'a', child: 'b', calls: 2 }])
      const range = 'start_time=2023-11-14T21:13:20Z&end_time=2023-11-14T22:13:20Z'
      expect(await json(`/v3/dependencies?${range}`)).toEqual({
        dependencies: [{ parent: 'a', child: 'b', callCount: '2' }],
      })
    })

    test('a trace is OTLP/JSON in a result, wherever its chunks end', async () => {
      const text = '{"resourceSpans":[{"a":1},{"b":[2]}]}'
      const bodies = [
        Buffer.from(text),
        [text.slice(0, -1), '}'],
        [text.slice(0, 20), text.slice(20)],
      ]
      for (const body of [...bodies, ['{"resourceSpans":[', '{"a":1},{"b":[2]}', ']}']]) {
        engine.traces.set(ID, body)
        expect(await json(`/v3/traces/${ID}`)).toEqual({
          result: { resourceSpans: [{ a: 1 }, { b: [2] }] },
        })
      }
      expect(engine.traceCalls[0]?.encoding).toBe('json')
    })

    test('a search joins its traces', async () => {
      found(ID, 'f'.repeat(32), OTHER)
      engine.traces.set(ID, Buffer.from('{"resourceSpans":[{"a":1}]}'))
      engine.traces.set(OTHER, ['{"resourceSpans":[', '{"b":1}', ']}'])
      const attributes = q('{"error":"true"}')
      const path = `/v3/traces?query.service_name=s&query.operation_name=o&query.attributes=${attributes}&query.duration_min=1s&query.duration_max=2s&query.search_depth=5&${times}`
      expect(await json(path)).toEqual({ result: { resourceSpans: [{ a: 1 }, { b: 1 }] } })
      expect(asked()).toMatchObject({
        ...{ startNs: '1699996400000000000', endNs: '1700000000500000000', limit: 5 },
        query: tree(
          '{ resource.service.name = "s" && name = "o" && duration >= 1s && duration <= 2s && ' +
            '(status = error || (span.error = "true" || span.error = true)) }',
        ),
      })
      found()
      expect(await json(`/v3/traces?query.num_traces=7&${times}`)).toEqual({
        result: { resourceSpans: [] },
      })
      expect(asked()).toMatchObject({ limit: 7, query: tree('{ }') })
    })

    test('a trace without spans and one with, whichever comes first', async () => {
      engine.traces.set(ID, Buffer.from('{"resourceSpans":[]}'))
      engine.traces.set(OTHER, Buffer.from('{"resourceSpans":[1]}'))
      for (const ids of [
        [ID, OTHER],
        [OTHER, ID],
      ]) {
        found(...ids)
        expect(await json(`/v3/traces?${times}`)).toEqual({ result: { resourceSpans: [1] } })
      }
    })

    test.each([
      ['/v3/operations', 400, 'service'],
      ['/v3/traces?query.service_name=s', 400, 'query.start_time_min'],
      [`/v3/traces?${times}&query.attributes=x`, 400, 'query.attributes'],
      [`/v3/traces?${times}&query.duration_min=x`, 400, 'query.duration_min'],
      [`/v3/traces?${times}&query.search_depth=-1`, 400, 'query.search_depth'],
      ['/v3/traces?query.start_time_min=x&query.start_time_max=y', 400, 'query.start_time_min'],
      ['/v3/dependencies', 400, 'start_time'],
      ['/v3/traces/xyz', 400, 'no trace id'],
      [`/v3/traces/${ID}`, 404, 'trace not found'],
    ])('%s fails in its own form', async (path, status, message) => {
      const response = await get(path)
      expect([response.status, await response.json()]).toEqual([
        status,
        { error: { httpCode: status, message: expect.stringContaining(message) } },
      ])
    })
  })

  test('with tokens, only a known one is answered', async () => {
    await server.close(200)
    const sha256 = createHash('sha256').update('secret').digest('hex')
    await start([{ sha256, tenant: 'green' }])
    for (const path of ['/services', '/traces?service=s', `/traces/${ID}`, '/v3/services']) {
      const response = await get(path)
      expect([response.status, response.headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
    }
    rows([])
    await get('/services', { authorization: 'Bearer secret' })
    expect(engine.queries[0]).toMatchObject({ tenant: 'green' })
  })
})
