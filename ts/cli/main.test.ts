/** The command line against a real socket: what it sends, what it prints, how it exits. */

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { OtlakeError } from '../base/errors.js'
import { listenNode } from '../base/http/node.js'
import type { HttpServer } from '../base/http/port.js'
import { router } from '../query/answers.js'
import { queryRoutes } from '../query/api.js'
import { FakeEngine, FakeStream } from '../testing/fake-engine.js'
import { run } from './main.js'

/** How long anything is waited for, on a busy machine too. */
const PATIENCE = { timeout: 10_000, interval: 20 }

let engine: FakeEngine
let server: HttpServer
let out: string
let err: string

beforeEach(async () => {
  engine = new FakeEngine()
  const routes = queryRoutes(engine, { tokens: [], maxBodyBytes: 100_000 })
  server = await listenNode(
    '127.0.0.1:0',
    router(routes, () => undefined),
  )
  out = ''
  err = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    out += chunk instanceof Uint8Array ? Buffer.from(chunk).toString() : chunk
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    err += String(chunk)
    return true
  })
  vi.spyOn(console, 'log').mockImplementation((line) => {
    out += `${line}\n`
  })
  vi.spyOn(console, 'error').mockImplementation((line) => {
    err += `${line}\n`
  })
})

afterEach(async () => {
  vi.restoreAllMocks()
  await server.close(200)
})

const ask = (...args: string[]) => run([...args, '--url', `http://${server.address}`])

test('query prints a table, numbers to the right', async () => {
  const columns = [
    { name: 'name', type: 'Utf8' },
    { name: 'n', type: 'Int64' },
  ]
  const rows = [
    { name: 'GET /cart', n: 7 },
    { name: 'pay', n: 120 },
  ]
  engine.answer = () => new FakeStream([JSON.stringify({ columns, rows })])
  expect(await ask('query', 'SELECT name, count(*) AS n FROM spans GROUP BY 1')).toBe(0)
  expect(out).toMatch(/^name {9}n$/m)
  expect(out).toMatch(/^GET \/cart {4}7$/m)
  expect(out).toMatch(/^pay {8}120$/m)
})

test('query passes on parameters as JSON or else as text, consistency and tenant', async () => {
  const values = ['--param', 'shop', '--param', '7', '--param', 'null', '--param', '"7"']
  const how = ['--consistency', 'eventual', '--tenant', 'blue', '--format', 'csv']
  expect(await ask('query', 'SELECT $1', ...values, ...how)).toBe(0)
  expect(engine.queries[0]).toMatchObject({
    sql: 'SELECT $1',
    parameters: '["shop",7,null,"7"]',
    consistency: 'eventual',
    tenant: 'blue',
    format: 'csv',
  })
})

test('query writes an answer to a file byte for byte', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'otlake-cli-'))
  try {
    const bytes = Buffer.from([0x50, 0x41, 0x52, 0x31, 0, 255, 128])
    engine.answer = () => new FakeStream([bytes, bytes])
    const file = join(folder, 'spans.parquet')
    expect(await ask('query', 'SELECT 1', '--format', 'parquet', '--output', file)).toBe(0)
    expect(await readFile(file)).toEqual(Buffer.concat([bytes, bytes]))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('what the node refuses is told with code and fix, and exits 1', async () => {
  engine.answer = () => new FakeStream([new OtlakeError('QUERY_INVALID', 'no column `nam`')])
  expect(await ask('query', 'SELECT nam FROM spans')).toBe(1)
  expect(err).toContain('QUERY_INVALID')
  expect(err).toContain('no column `nam`')
  expect(err).toContain(new OtlakeError('QUERY_INVALID', '').fix)
  expect(await ask('trace', '5b8efff798038103d269b633813fc60c')).toBe(1)
  expect(err).toContain('TRACE_NOT_FOUND')
})

test('trace prints a tree', async () => {
  const id = '5b8efff798038103d269b633813fc60c'
  const span = (spanId: string, name: string, parentSpanId?: string) => ({
    traceId: id,
    spanId,
    name,
    startTimeUnixNano: '1700000000000000000',
    endTimeUnixNano: '1700000000002500000',
    ...(parentSpanId ? { parentSpanId } : {}),
  })
  const spans = [span('02', 'charge', '01'), span('01', 'POST /orders')]
  engine.traces.set(
    id,
    Buffer.from(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] })),
  )
  expect(await ask('trace', id)).toBe(0)
  const lines = out.trimEnd().split('\n')
  expect(lines[0]).toContain('POST /orders  2.50 ms')
  expect(lines[1]).toMatch(/^ {2}.*charge/)
})

test('tail follows until the node ends it', async () => {
  const following = ask('tail', 'logs', '--service', 'shop')
  await vi.waitFor(() => expect(engine.tails).toHaveLength(1), PATIENCE)
  engine.streams[0]?.push('{"body":"hello"}\n')
  await vi.waitFor(() => expect(out).toContain('{"body":"hello"}'), PATIENCE)
  engine.streams[0]?.close()
  expect(await following).toBe(0)
  expect(engine.tails[0]).toMatchObject({ table: 'logs', service: 'shop' })
})

test('no node there: exit 3, and how to start one', async () => {
  await server.close(0)
  expect(await ask('query', 'SELECT 1')).toBe(3)
  expect(err).toContain('NODE_UNREACHABLE')
  expect(err).toContain('npx otlake serve')
  server = await listenNode('127.0.0.1:0', async () => undefined)
})

test('of several nodes one that answers is asked', async () => {
  const gone = await listenNode('127.0.0.1:0', async () => undefined)
  await gone.close(0)
  const going = await listenNode('127.0.0.1:0', async (_request, response) => {
    response.head(503, {})
    response.end('{"error":{"code":"INGEST_STOPPING","message":"it is stopping"}}')
  })
  try {
    const urls = [gone.address, going.address, server.address].map((at) => `http://${at}`)
    expect(await run(['query', 'SELECT 1', '--url', urls.join(',')])).toBe(0)
    expect(engine.queries).toHaveLength(1)
    // Where none does better, what it said is what is told.
    expect(await run(['query', 'SELECT 1', '--url', urls.slice(0, 2).join(', ')])).toBe(1)
    expect(err).toContain('INGEST_STOPPING')
    expect(await run(['query', 'SELECT 1', '--url', urls[0] ?? ''])).toBe(3)
  } finally {
    await going.close(0)
  }
})

test.each([
  [['nonsense']],
  [['query']],
  [['query', 'SELECT 1', '--format', 'xml']],
  [['serve', '--unknown']],
  [['serve', '--set', 'flush.rows']],
  [['serve', '--set', 'flush.rowz=1']],
  [['serve', '--durability', 'maybe']],
  [['serve', '--http', 'example.org:80']],
  [['serve', '--config', '/nowhere/otlake.yaml']],
])('%j is a wrong command or configuration: exit 2, and why', async (argv) => {
  expect(await run(argv)).toBe(2)
  expect(err).not.toBe('')
})

test('help and version exit 0; help has examples and the exit codes', async () => {
  expect(await run(['--help'])).toBe(0)
  expect(out).toContain('Exit codes:')
  expect(await run(['serve', '--help'])).toBe(0)
  expect(out).toContain('Examples:')
  expect(await run(['--version'])).toBe(0)
})

test('settings lists each one with its variable', async () => {
  expect(await run(['settings'])).toBe(0)
  expect(out).toContain('flush.interval_ms')
  expect(out).toContain('OTLAKE_FLUSH_INTERVAL_MS')
})
