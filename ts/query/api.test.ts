/** The query APIs over both HTTP adapters' real sockets, on an engine in memory. */

import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { OtlakeError } from '../base/errors.js'
import { listenNode } from '../base/http/node.js'
import type { HttpServer, Listen } from '../base/http/port.js'
import { loadUws } from '../base/http/uws.js'
import type { RunningQuery, Token } from '../native/binding.js'
import { FakeEngine, FakeStream } from '../testing/fake-engine.js'
import { router } from './answers.js'
import { queryRoutes } from './api.js'

/** How long anything is waited for, on a busy machine too. */
const PATIENCE = { timeout: 10_000, interval: 20 }

const ID = '5b8efff798038103d269b633813fc60c'
const uws = await loadUws()
const adapters: { name: string; listen: Listen }[] = [{ name: 'node:http', listen: listenNode }]
if (uws) adapters.push({ name: 'uWebSockets.js', listen: uws })

describe.each(adapters)('$name', ({ listen }) => {
  let engine: FakeEngine
  let server: HttpServer
  let observed: [string, number][]
  let stopping: AbortController

  const start = async (tokens: Token[] = []) => {
    const routes = queryRoutes(engine, {
      tokens,
      maxBodyBytes: 10_000,
      stopping: stopping.signal,
    })
    const handler = router(routes, (path, status) => observed.push([path, status]))
    server = await listen('127.0.0.1:0', handler)
  }
  const url = (path: string) => `http://${server.address}${path}`
  const sql = (body: unknown, headers: Record<string, string> = {}) =>
    fetch(url('/api/v1/sql'), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  const failure = async (response: Response) => {
    const { error } = (await response.json()) as { error: Record<string, string> }
    expect(Object.keys(error)).toEqual(['code', 'message', 'fix'])
    return [response.status, error.code]
  }

  beforeEach(async () => {
    engine = new FakeEngine()
    observed = []
    stopping = new AbortController()
    await start()
  })

  afterEach(async () => {
    for (const stream of engine.streams) stream.close()
    await server.close(200)
  })

  describe('SQL', () => {
    test('passes on the statement, parameters, limits, tenant and consistency', async () => {
      await sql(
        { query: 'SELECT $1', parameters: ['a', 2, true, null], max_rows: 5, timeout_ms: 70 },
        {
          'x-scope-orgid': 'blue',
          'otlake-consistency': 'session',
          'otlake-session': 'token',
        },
      )
      expect(engine.queries).toEqual([
        {
          id: null,
          sql: 'SELECT $1',
          parameters: '["a",2,true,null]',
          format: 'json',
          consistency: 'session',
          session: 'token',
          partial: null,
          tenant: 'blue',
          maxRows: 5,
          timeoutMs: 70,
          memoryBytes: null,
        },
      ])
    })

    test('what an answer shows and lacks is in its headers, partial or not', async () => {
      engine.answer = () => {
        const stream = new FakeStream(['{"columns":[],"rows":[]}'])
        stream.session = 'seen'
        stream.partial = 'a stream of n2'
        return stream
      }
      const part = await sql({ query: 'SELECT 1' }, { 'otlake-partial': 'true' })
      expect(part.headers.get('otlake-session')).toBe('seen')
      expect(part.headers.get('otlake-partial')).toBe('a stream of n2')
      engine.answer = () => new FakeStream(['{"columns":[],"rows":[]}'])
      const whole = await sql({ query: 'SELECT 1' })
      expect(whole.headers.get('otlake-session')).toBe(engine.session())
      expect(whole.headers.get('otlake-partial')).toBeNull()
      expect(engine.queries.map((query) => query.partial)).toEqual([true, null])
    })

    test.each([
      [{}, undefined, 'json', 'application/json'],
      [{}, 'text/csv', 'csv', 'text/csv; charset=utf-8'],
      [{}, 'application/vnd.apache.arrow.stream', 'arrow', 'application/vnd.apache.arrow.stream'],
      [{}, 'text/html, application/x-ndjson;q=0.9', 'ndjson', 'application/x-ndjson'],
      [{}, '*/*', 'json', 'application/json'],
      [{ format: 'parquet' }, 'text/csv', 'parquet', 'application/vnd.apache.parquet'],
    ])('%o with Accept %s is %s', async (body, accept, format, type) => {
      const response = await sql({ query: 'SELECT 1', ...body }, accept ? { accept } : {})
      expect(response.headers.get('content-type')).toBe(type)
      expect(engine.queries[0]?.format).toBe(format)
    })

    test('takes the statement from the query of a GET', async () => {
      const query = encodeURIComponent('SELECT count(*) + 1 FROM spans')
      const response = await fetch(url(`/api/v1/sql?query=${query}&format=csv`))
      expect(response.status).toBe(200)
      expect(engine.queries[0]).toMatchObject({
        sql: 'SELECT count(*) + 1 FROM spans',
        format: 'csv',
      })
    })

    test('streams every chunk and says what the answer covers', async () => {
      await engine.ingest('traces', 'json', 'default', Buffer.from('{}'))
      engine.answer = () => new FakeStream(['one,', 'two,', 'three'])
      const response = await sql({ query: 'SELECT 1' })
      expect(await response.text()).toBe('one,two,three')
      expect(response.headers.get('otlake-session')).toBe(engine.session())
      expect(engine.streams[0]?.closed).toBe(true)
    })

    test.each([
      ['not JSON', 'HTTP_MALFORMED'],
      ['[]', 'HTTP_MALFORMED'],
      ['null', 'HTTP_MALFORMED'],
      ['{}', 'HTTP_MALFORMED'],
      ['{"query": 7}', 'HTTP_MALFORMED'],
      ['{"query": "SELECT 1", "qurey": 1}', 'HTTP_MALFORMED'],
      ['{"query": "SELECT 1", "format": "xml"}', 'QUERY_FORMAT'],
      ['{"query": "SELECT 1", "parameters": [{}]}', 'QUERY_PARAMETERS'],
    ])('refuses %s with %s and asks the engine nothing', async (body, code) => {
      expect(await failure(await sql(body))).toEqual([400, code])
      expect(engine.queries).toEqual([])
    })

    test('refuses a body beyond the limit', async () => {
      const [, code] = await failure(await sql({ query: 'x'.repeat(20_000) }))
      expect(code).toBe('HTTP_TOO_LARGE')
    })

    test.each([
      ['QUERY_INVALID', 400],
      ['QUERY_TOO_MANY_ROWS', 422],
      ['QUERY_OVERLOADED', 503],
      ['TABLE_CORRUPT', 500],
    ] as const)('an error before the first chunk, %s, has status %d', async (code, status) => {
      engine.answer = () => new FakeStream([new OtlakeError(code, 'it went wrong')])
      const response = await sql({ query: 'SELECT 1' })
      expect(response.headers.get('retry-after')).toBe(status === 503 ? '1' : null)
      expect(await failure(response)).toEqual([status, code])
      expect(engine.streams[0]?.closed).toBe(true)
    })

    test('an error after the first chunk breaks the connection: half is not whole', async () => {
      engine.answer = () => new FakeStream(['half', new OtlakeError('QUERY_TIMEOUT', 'too long')])
      await expect(sql({ query: 'SELECT 1' }).then((response) => response.text())).rejects.toThrow()
    })

    test('a client that goes away ends the query', async () => {
      engine.answer = () => {
        const stream = new FakeStream()
        stream.push('first')
        return stream
      }
      const controller = new AbortController()
      const response = await fetch(url('/api/v1/sql?query=SELECT%201'), {
        signal: controller.signal,
      })
      await response.body?.getReader().read()
      expect(engine.streams[0]?.closed).toBe(false)
      controller.abort()
      await vi.waitFor(() => expect(engine.streams[0]?.closed).toBe(true), PATIENCE)
    })

    test('a client that goes away before the first row ends the query', async () => {
      engine.answer = () => new FakeStream()
      const controller = new AbortController()
      const asked = fetch(url('/api/v1/sql?query=SELECT%201'), { signal: controller.signal })
      await vi.waitFor(() => expect(engine.streams).toHaveLength(1), PATIENCE)
      controller.abort()
      await expect(asked).rejects.toThrow()
      await vi.waitFor(() => expect(engine.streams[0]?.closed).toBe(true), PATIENCE)
    })

    test('a client that goes away while the query is begun ends it', async () => {
      let leave = (): void => undefined
      const left = new Promise<void>((resolve) => {
        leave = resolve
      })
      engine.answer = async () => {
        await left
        return new FakeStream()
      }
      const controller = new AbortController()
      const asked = fetch(url('/api/v1/sql?query=SELECT%201'), { signal: controller.signal })
      await vi.waitFor(() => expect(engine.queries).toHaveLength(1), PATIENCE)
      controller.abort()
      await expect(asked).rejects.toThrow()
      // The server hears of it meanwhile; if it did not, it would hear of it after.
      await new Promise((resolve) => setTimeout(resolve, 300))
      leave()
      await vi.waitFor(() => expect(engine.streams[0]?.closed).toBe(true), PATIENCE)
    })

    test('a client that does not read holds the query back', async () => {
      const chunk = Buffer.alloc(256 * 1024)
      engine.answer = () => new FakeStream(Array.from({ length: 200 }, () => chunk))
      const { hostname, port } = new URL(url('/'))
      const socket = connect(Number(port), hostname)
      socket.pause()
      socket.write('GET /api/v1/sql?query=SELECT%201 HTTP/1.1\r\nhost: x\r\n\r\n')
      await vi.waitFor(() => expect(engine.streams[0]?.pulled).toBeGreaterThan(0), PATIENCE)
      await new Promise((resolve) => setTimeout(resolve, 300))
      expect(engine.streams[0]?.pulled).toBeLessThan(100)
      socket.destroy()
      await vi.waitFor(() => expect(engine.streams[0]?.closed).toBe(true), PATIENCE)
    })
  })

  describe('traces', () => {
    test('JSON or protobuf, by Accept', async () => {
      engine.traces.set(ID, Buffer.from('{"resourceSpans":[]}'))
      const json = await fetch(url(`/api/v1/traces/${ID}`))
      expect(json.headers.get('content-type')).toBe('application/json')
      expect(await json.json()).toEqual({ resourceSpans: [] })
      const protobuf = await fetch(url(`/api/v1/traces/${ID}`), {
        headers: { accept: 'application/protobuf' },
      })
      expect(protobuf.headers.get('content-type')).toBe('application/x-protobuf')
      expect(engine.traceCalls.map(({ encoding }) => encoding)).toEqual(['json', 'protobuf'])
    })

    test('what is known is sent without asking the engine’s threads', async () => {
      engine.traces.set(ID, Buffer.from('{"resourceSpans":[]}'))
      engine.knownTraces.add(ID)
      const response = await fetch(url(`/api/v1/traces/${ID}`))
      expect(await response.json()).toEqual({ resourceSpans: [] })
      expect(response.headers.get('otlake-session')).toBe(engine.session())
      expect(engine.traceCalls).toEqual([])
    })

    test('a large one is streamed', async () => {
      engine.traces.set(ID, ['{"resourceSpans":[', ']}'])
      const response = await fetch(url(`/api/v1/traces/${ID}`))
      expect(await response.json()).toEqual({ resourceSpans: [] })
      expect(engine.streams[0]?.closed).toBe(true)
    })

    test('404 where there is none, 400 for what is no trace id', async () => {
      const absent = await fetch(url(`/api/v1/traces/${ID}`))
      expect(await failure(absent)).toEqual([404, 'TRACE_NOT_FOUND'])
      expect(await failure(await fetch(url('/api/v1/traces/xyz')))).toEqual([400, 'TRACE_ID'])
    })

    test('a broken escape in the path is the client’s mistake', async () => {
      const response = await fetch(url('/api/v1/traces/%E0%A4%A'))
      expect(await failure(response)).toEqual([400, 'HTTP_MALFORMED'])
    })
  })

  describe('tail', () => {
    test('sends rows as they come, and ends with its client', async () => {
      const controller = new AbortController()
      const response = await fetch(url('/api/v1/tail?table=logs&service=shop'), {
        headers: { 'x-scope-orgid': 'blue' },
        signal: controller.signal,
      })
      expect(engine.tails).toEqual([{ table: 'logs', service: 'shop', tenant: 'blue' }])
      engine.streams[0]?.push('{"body":"hello"}\n')
      let received = ''
      const reader = response.body?.getReader()
      while (!received.includes('hello')) {
        received += Buffer.from((await reader?.read())?.value ?? []).toString()
      }
      expect(received.trim()).toBe('{"body":"hello"}')
      controller.abort()
      await vi.waitFor(() => expect(engine.streams[0]?.closed).toBe(true), PATIENCE)
    })

    test('a stop ends it: it would never end by itself', async () => {
      const response = await fetch(url('/api/v1/tail'))
      stopping.abort()
      expect((await response.text()).trim()).toBe('')
      expect(engine.streams[0]?.closed).toBe(true)
    })

    test('refuses a table that is not there', async () => {
      const response = await fetch(url('/api/v1/tail?table=absent'))
      expect(await failure(response)).toEqual([400, 'QUERY_INVALID'])
    })
  })

  describe('running queries', () => {
    const running = (id: string | null, tenant: string | null): RunningQuery => ({
      ...{ id, tenant, kind: 'sql', state: 'reading', elapsedMs: 20 },
      ...{ rowsRead: 5, rowsToRead: 10, share: 0.5 },
    })

    test('are told with their ids and how far they are', async () => {
      engine.running = [running('mine', null), running(null, 'blue')]
      const told = async (path: string) => (await fetch(url(path))).json()
      expect(await told('/api/v1/queries')).toEqual({ queries: engine.running })
      expect(await told('/api/v1/queries?id=mine')).toEqual({ queries: [running('mine', null)] })
      expect(await told('/api/v1/queries?id=other')).toEqual({ queries: [] })
    })

    test('a tenant is told of its own alone', async () => {
      engine.running = [running('a', 'blue'), running('b', 'green'), running('c', null)]
      const response = await fetch(url('/api/v1/queries'), { headers: { 'x-scope-orgid': 'blue' } })
      expect(await response.json()).toEqual({ queries: [running('a', 'blue')] })
    })

    test('a query has the id that its client gives it, or none', async () => {
      await sql({ query: 'SELECT 1' }, { 'otlake-query-id': 'page:1.a_b-c' })
      await sql({ query: 'SELECT 1' })
      expect(engine.queries.map(({ id }) => id)).toEqual(['page:1.a_b-c', null])
      for (const id of ['a b', 'x'.repeat(65), 'é']) {
        const answer = await sql({ query: 'SELECT 1' }, { 'otlake-query-id': encodeURI(id) })
        expect(await failure(answer), id).toEqual([400, 'HTTP_MALFORMED'])
      }
    })
  })

  describe('who asks', () => {
    const sha256 = createHash('sha256').update('secret').digest('hex')

    test('with tokens, only a known one is answered, and it decides the tenant', async () => {
      await server.close(200)
      await start([{ sha256: sha256.toUpperCase(), tenant: 'green' }])
      for (const path of [
        '/api/v1/sql?query=SELECT%201',
        `/api/v1/traces/${ID}`,
        '/api/v1/tail',
        '/api/v1/stats',
        '/api/v1/queries',
      ]) {
        for (const authorization of ['', 'Bearer wrong', 'Basic secret']) {
          const response = await fetch(url(path), { headers: { authorization } })
          expect(response.headers.get('www-authenticate')).toBe('Bearer')
          expect(await failure(response)).toEqual([401, 'OTLP_UNAUTHENTICATED'])
        }
      }
      const known = { authorization: 'Bearer secret', 'x-scope-orgid': 'someone-else' }
      expect((await sql({ query: 'SELECT 1' }, known)).status).toBe(200)
      expect(engine.queries.map(({ tenant }) => tenant)).toEqual(['green'])
    })

    test('without tokens, no header means every tenant', async () => {
      await sql({ query: 'SELECT 1' })
      expect(engine.queries[0]?.tenant).toBeNull()
    })
  })

  test('paths and methods that are not there are JSON errors', async () => {
    expect(await failure(await fetch(url('/nothing')))).toEqual([404, 'HTTP_NOT_FOUND'])
    const response = await fetch(url('/api/v1/sql'), { method: 'DELETE' })
    expect(response.headers.get('allow')).toBe('POST, GET')
    expect(await failure(response)).toEqual([405, 'HTTP_METHOD'])
    // What clients make up must not become a label.
    expect(observed).toEqual([
      ['(none)', 404],
      ['/api/v1/sql', 405],
    ])
  })
})
