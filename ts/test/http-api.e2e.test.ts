/** The HTTP APIs, the control calls and the command line against a running node. */

import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import * as grpc from '@grpc/grpc-js'
import { tableFromIPC } from 'apache-arrow'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { controlService } from '../node/control.js'
import { metric } from '../testing/load.js'
import { send, traceRequest } from '../testing/otlp.js'
import { MAIN, ServerProcess, temporaryFolder } from '../testing/server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeAll(async () => {
  folder = await temporaryFolder()
  server = await ServerProcess.start(folder.path, ['--cluster', '127.0.0.1:0'])
  for (let number = 0; number < 10; number++) {
    await send(server, 'traces', traceRequest('api', number, 10))
  }
})

afterAll(async () => {
  await server?.kill()
  await folder?.remove()
})

const sql = (body: unknown, headers: Record<string, string> = {}) =>
  fetch(server.url('/api/v1/sql'), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })

describe('SQL over HTTP', () => {
  const query = 'SELECT name, kind FROM spans ORDER BY start_time_unix_nano LIMIT 2'

  test('answers JSON, NDJSON, CSV, Arrow and Parquet', async () => {
    const json = await (await sql({ query })).json()
    expect(json).toMatchObject({
      columns: [
        { name: 'name', type: 'Utf8' },
        { name: 'kind', type: 'Int32' },
      ],
      rows: [
        { name: 'request 0', kind: 2 },
        { name: 'request 0', kind: 2 },
      ],
    })
    const csv = await sql({ query }, { accept: 'text/csv' })
    expect(await csv.text()).toBe('name,kind\nrequest 0,2\nrequest 0,2\n')
    const ndjson = await (await sql({ query, format: 'ndjson' })).text()
    expect(
      ndjson
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).kind),
    ).toEqual([2, 2])
    const arrow = await sql({ query }, { accept: 'application/vnd.apache.arrow.stream' })
    expect(arrow.headers.get('content-type')).toBe('application/vnd.apache.arrow.stream')
    expect(tableFromIPC(await arrow.arrayBuffer()).numRows).toBe(2)
    const parquet = await (await sql({ query, format: 'parquet' })).arrayBuffer()
    expect(Buffer.from(parquet).subarray(0, 4).toString()).toBe('PAR1')
  })

  test('integers that JSON numbers cannot hold are text', async () => {
    const rows = await server.rows(
      'SELECT 9007199254740993 AS large, 7 AS small, start_time_unix_nano AS t FROM spans LIMIT 1',
    )
    expect(rows[0]).toMatchObject({ large: '9007199254740993', small: 7 })
    expect(rows[0]?.t).toMatch(/^\d{19}$/)
  })

  test.each([
    [{ query: 'SELECT nope FROM spans' }, 400, 'QUERY_INVALID'],
    [{ query: 'SELECT' }, 400, 'QUERY_INVALID'],
    [{ query: 'INSERT INTO spans SELECT * FROM spans' }, 400, 'QUERY_NOT_READ_ONLY'],
    [{ query: 'SELECT $1' }, 400, 'QUERY_PARAMETERS'],
    [{ query: 'SELECT 1', format: 'xml' }, 400, 'QUERY_FORMAT'],
    [{ query: 'SELECT 1', surprise: true }, 400, 'HTTP_MALFORMED'],
    [{ query: 'SELECT * FROM spans', max_rows: 5 }, 422, 'QUERY_TOO_MANY_ROWS'],
    [
      {
        query:
          'SELECT sum(a.duration_ns + b.duration_ns + c.duration_ns + d.duration_ns) FROM spans a, spans b, spans c, spans d',
        timeout_ms: 50,
      },
      422,
      'QUERY_TIMEOUT',
    ],
  ])('%j is refused with %i %s', async (body, status, code) => {
    const response = await sql(body)
    expect(response.status).toBe(status)
    const { error } = (await response.json()) as { error: { code: string; fix: string } }
    expect(error.code).toBe(code)
    expect(error.fix).not.toBe('')
  })

  test('a query ends when its client goes away', async () => {
    const cancelled = async () => {
      const text = await (await fetch(server.url('/metrics'))).text()
      return Number(
        /otlake_queries_total\{kind="sql",outcome="cancelled"\} (\d+)/.exec(text)?.[1] ?? 0,
      )
    }
    const before = await cancelled()
    const controller = new AbortController()
    const asked = fetch(server.url('/api/v1/sql'), {
      method: 'POST',
      signal: controller.signal,
      body: JSON.stringify({
        query:
          'SELECT sum(a.duration_ns + b.duration_ns + c.duration_ns + d.duration_ns) FROM spans a, spans b, spans c, spans d',
      }),
    }).catch(() => undefined)
    await expect.poll(() => metric(server, 'otlake_queries_running')).toBeGreaterThan(0)
    controller.abort()
    await asked
    await expect.poll(cancelled).toBe(before + 1)
  })
})

test('what is not there, and what is there for another method, say so', async () => {
  expect((await fetch(server.url('/nothing'))).status).toBe(404)
  const wrong = await fetch(server.url('/health'), { method: 'POST' })
  expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET'])
})

test('a trace is OTLP in JSON and in protobuf, and a bad id is told', async () => {
  const path = '/api/v1/traces/00000000000000000000000000000001'
  const protobuf = await fetch(server.url(path), { headers: { accept: 'application/protobuf' } })
  expect(protobuf.headers.get('content-type')).toBe('application/x-protobuf')
  expect((await protobuf.arrayBuffer()).byteLength).toBeGreaterThan(500)
  expect((await fetch(server.url('/api/v1/traces/xyz'))).status).toBe(400)
})

test('health, readiness, metrics and the page answer', async () => {
  const health = (await (await fetch(server.url('/health'))).json()) as {
    status: string
    checks: { name: string }[]
  }
  expect(health.status).toBe('ok')
  expect(health.checks.map((check) => check.name)).toEqual(
    expect.arrayContaining(['http', 'tcp otlp-grpc', 'tcp otlp-http', 'disk', 'memory']),
  )
  expect((await fetch(server.url('/ready'))).status).toBe(200)
  const metrics = await fetch(server.url('/metrics'))
  expect(metrics.headers.get('content-type')).toContain('application/openmetrics-text')
  const text = await metrics.text()
  expect(text.match(/# EOF/g)).toHaveLength(1)
  expect(text).toContain('nodejs_eventloop_lag_p99_seconds')
  if (process.platform === 'linux') {
    const bytes = (state: string) =>
      Number(new RegExp(`otlake_native_memory_bytes\\{state="${state}"\\} (\\d+)`).exec(text)?.[1])
    expect(bytes('allocated')).toBeGreaterThan(2 ** 20)
    expect(bytes('resident')).toBeGreaterThan(bytes('allocated'))
  }
  const page = await fetch(server.url('/'))
  expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
  expect(await page.text()).toContain('<title>otlake</title>')
  const node = await fetch(server.url('/api/v1/node'))
  expect(await node.text()).toContain(server.addresses.otlpGrpc)
})

test('the control calls tell what the node holds and flush it', async () => {
  const Control = controlService()
  const address = server.addresses.cluster ?? ''
  const client = new Control(address, grpc.credentials.createInsecure())
  const ask = (method: string) =>
    new Promise<Record<string, unknown>>((resolve, reject) => {
      const call = client[method] as (request: object, done: (...args: unknown[]) => void) => void
      call.call(client, {}, (error, response) =>
        error ? reject(error) : resolve(response as Record<string, unknown>),
      )
    })
  expect(await ask('Status')).toMatchObject({ state: 'running' })
  await ask('Flush')
  expect(await ask('Status')).toMatchObject({ live_rows: 0, file_rows: 100 })
  client.close()
})

test('with tokens configured, the control calls need one', async () => {
  const own = await temporaryFolder()
  const sha256 = createHash('sha256').update('secret').digest('hex')
  const config = join(own.path, 'otlake.json')
  await writeFile(config, JSON.stringify({ auth: { tokens: [{ sha256, tenant: 'a' }] } }))
  const data = join(own.path, 'data')
  const guarded = await ServerProcess.start(data, ['--cluster', '127.0.0.1:0', '--config', config])
  const Control = controlService()
  const client = new Control(guarded.addresses.cluster ?? '', grpc.credentials.createInsecure())
  const code = (method: string, authorization?: string) =>
    new Promise<number>((resolve) => {
      const metadata = new grpc.Metadata()
      if (authorization !== undefined) metadata.set('authorization', authorization)
      const call = client[method] as (...given: unknown[]) => void
      call.call(client, {}, metadata, (error: grpc.ServiceError | null) =>
        resolve(error?.code ?? grpc.status.OK),
      )
    })
  try {
    for (const method of ['Status', 'Flush']) {
      expect(await code(method)).toBe(grpc.status.UNAUTHENTICATED)
      expect(await code(method, 'Bearer wrong')).toBe(grpc.status.UNAUTHENTICATED)
      expect(await code(method, 'Bearer secret')).toBe(grpc.status.OK)
    }
  } finally {
    client.close()
    await guarded.kill()
    await own.remove()
  }
})

describe('the command line', () => {
  const run = promisify(execFile)
  const otlake = async (...args: string[]) => {
    try {
      const { stdout } = await run(process.execPath, [MAIN, ...args])
      return { code: 0, stdout, stderr: '' }
    } catch (error) {
      return error as { code: number; stdout: string; stderr: string }
    }
  }
  const url = () => ['--url', server.url('')]

  test('query prints a table, binds parameters and writes files', async () => {
    const query = 'SELECT service_name, count(*) AS spans FROM spans WHERE name = $1 GROUP BY 1'
    const table = await otlake('query', query, '--param', 'request 3', ...url())
    expect(table.stdout).toContain('service_name  spans')
    expect(table.stdout).toMatch(/api\s+10\n/)
    const output = join(folder.path, 'out.csv')
    await otlake('query', 'SELECT 1 AS one', '--format', 'csv', '--output', output, ...url())
    expect(await readFile(output, 'utf8')).toBe('one\n1\n')
  })

  test('trace prints the spans', async () => {
    const { stdout } = await otlake('trace', '00000000000000000000000000000001', ...url())
    expect(stdout.trim().split('\n')).toHaveLength(10)
  })

  test('tail follows new rows', async () => {
    const child = spawn(process.execPath, [MAIN, 'tail', 'spans', '--service', 'tailed', ...url()])
    const lines = createInterface({ input: child.stdout })
    const first = new Promise<{ name: string }>((resolve) => {
      lines.on('line', (line) => {
        if (line !== '') resolve(JSON.parse(line))
      })
    })
    // The tail has begun when it answers with its first, empty line.
    await once(lines, 'line')
    await send(server, 'traces', traceRequest('other', 500, 1))
    await send(server, 'traces', traceRequest('tailed', 501, 1))
    expect((await first).name).toBe('request 501')
    child.kill()
  })

  test('exit codes and messages name the fix', async () => {
    expect((await otlake('--help')).code).toBe(0)
    expect((await otlake('nonsense')).code).toBe(2)
    expect((await otlake('query')).code).toBe(2)
    const invalid = await otlake('query', 'SELECT nope FROM spans', ...url())
    expect(invalid.code).toBe(1)
    expect(invalid.stderr).toContain('QUERY_INVALID')
    const absent = await otlake('query', 'SELECT 1', '--url', 'http://127.0.0.1:9')
    expect(absent.code).toBe(3)
    expect(absent.stderr).toContain('npx otlake serve')
    const typo = await otlake('serve', '--set', 'flush.intervall_ms=1')
    expect(typo.code).toBe(2)
    expect(typo.stderr).toContain('did you mean `flush.interval_ms`?')
    const taken = await otlake(
      'serve',
      '--data-dir',
      join(folder.path, 'x'),
      '--http',
      server.addresses.http,
    )
    expect(taken.code).toBe(1)
    expect(taken.stderr).toContain('NODE_PORT_TAKEN')
  })
})
