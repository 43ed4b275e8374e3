/**
 * Arrow's own Flight SQL drivers, ADBC (Python) and JDBC (Java), get the rows that our SQL gives:
 * tables, prepared statements, a big result, errors with their code, and tokens.
 */

import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { send, traceRequest } from '../../testing/otlp.js'
import { ServerProcess, temporaryFolder } from '../../testing/server.js'
import { BUILD_TIMEOUT_MS, clientFile, javaArguments, python, run } from './toolchain.js'

const REQUESTS = 200
const SPANS_PER_REQUEST = 500
const SERVICES = 4
const SPANS = REQUESTS * SPANS_PER_REQUEST
const TOKEN = 'the-token-of-team-a'
const TABLES = [
  'logs',
  'metrics_exponential_histogram',
  'metrics_gauge',
  'metrics_histogram',
  'metrics_sum',
  'metrics_summary',
  'spans',
]

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let closedFolder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess
/** A node that lets in whoever has the token. */
let closed: ServerProcess

beforeAll(async () => {
  await python()
  await javaArguments()
  folder = await temporaryFolder()
  server = await ServerProcess.start(folder.path)
  for (let number = 0; number < REQUESTS; number++) {
    const request = traceRequest(`service-${number % SERVICES}`, number, SPANS_PER_REQUEST)
    expect(await send(server, 'traces', request)).toBe(true)
  }
  closedFolder = await temporaryFolder()
  const sha256 = createHash('sha256').update(TOKEN).digest('hex')
  const config = join(closedFolder.path, 'otlake.yaml')
  await writeFile(config, `auth:\n  tokens:\n    - sha256: ${sha256}\n      tenant: team-a\n`)
  closed = await ServerProcess.start(join(closedFolder.path, 'data'), ['--config', config])
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await server?.kill()
  await closed?.kill()
  await folder?.remove()
  await closedFolder?.remove()
})

/** What the prepared statement counts for its three values. */
const prepared = () =>
  Promise.all(
    [0, 50, 1000].map((number) =>
      server.count(
        `SELECT count(*) FROM spans
         WHERE service_name = 'service-0' AND attr_int(attributes, 'number') >= $1`,
        [number],
      ),
    ),
  )

describe('ADBC', () => {
  const ask = async (node: ServerProcess, ...args: string[]) =>
    JSON.parse(
      await run(await python(), [
        clientFile('python/flight.py'),
        `grpc://${node.addresses.flight}`,
        ...args,
      ]),
    )

  test('asks everything', async () => {
    const answer = await ask(server, 'ask')
    expect(answer.vendor).toBe('otlake')
    expect(answer.types).toEqual(['TABLE'])
    expect(answer.tables.filter(([, schema]: string[]) => schema === 'public').sort()).toEqual(
      TABLES.map((table) => ['otlake', 'public', table, 'TABLE']),
    )
    expect(answer.columns).toMatchObject({
      trace_id: 'fixed_size_binary[16]',
      name: 'string',
      kind: 'int32',
      start_time: 'timestamp[us, tz=UTC]',
      duration_ns: 'int64',
      day: 'date32[day]',
    })
    const groups = await server.rows<{ service_name: string; n: number }>(
      'SELECT service_name, count(*) AS n FROM spans GROUP BY 1 ORDER BY 1',
    )
    expect(groups).toHaveLength(SERVICES)
    expect(answer.groups).toEqual(groups.map(({ service_name, n }) => [service_name, n]))
    expect(answer.parameters).toHaveLength(4)
    expect(answer.prepared).toEqual(await prepared())
    expect(answer.big.batches).toBeGreaterThan(1)
    expect(answer.big).toMatchObject({ rows: SPANS, duration: SPANS * 1000, ids: SPANS })
    const code = (text: string) => ({ message: expect.stringContaining(text) })
    expect(answer.errors).toMatchObject({
      syntax: code('QUERY_INVALID'),
      table: code('there is no table `nothing`'),
      write: code('QUERY_NOT_READ_ONLY'),
      runtime: code('QUERY_INVALID'),
      missing: code('QUERY_PARAMETERS'),
    })
    expect(answer.after).toBe(1)
  })

  test('binds values whose type only the client knows', async () => {
    expect(await ask(server, 'echo')).toEqual(['naïve', true, 0.1, null])
  })

  test('is let in with a token, and not without', async () => {
    expect(await ask(closed, 'token', TOKEN)).toBe(0)
    for (const token of [[], ['another-token']]) {
      const { message } = await ask(closed, 'refused', ...token)
      expect(message).toMatch(/UNAUTHENTICATED/i)
    }
  })
})

describe('JDBC', () => {
  const ask = async (node: ServerProcess, part: string, options = '') => {
    const url = `jdbc:arrow-flight-sql://${node.addresses.flight}?useEncryption=false${options}`
    const output = await run('java', [...(await javaArguments()), 'otlake.Jdbc', url, part])
    const lines = output.split('\n').filter((line) => line.includes('='))
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    )
  }

  test('asks everything', async () => {
    const answer = await ask(server, 'ask')
    expect(answer.product).toBe('otlake')
    const tables = String(answer.tables).split(',')
    expect(tables).toEqual(expect.arrayContaining(TABLES.map((table) => `public.${table}`)))
    const columns = Object.fromEntries(
      String(answer.columns)
        .split(',')
        .map((column) => column.split(':')),
    )
    // The numbers of java.sql.Types.
    const [binary, varchar, bigint, timestampWithZone] = ['-2', '12', '-5', '2014']
    expect(columns).toMatchObject({
      trace_id: binary,
      name: varchar,
      duration_ns: bigint,
      start_time: timestampWithZone,
      attributes: varchar,
    })
    expect(answer.parameters).toBe('4')
    expect(answer.prepared).toBe((await prepared()).join(','))
    expect(answer.row).toBe(`request 0,1000,${'1'.padStart(32, '0')},2023-11-14T22:13:20Z,null`)
    expect(answer.big).toBe(`${SPANS},${SPANS * 1000},${SPANS}`)
    expect(answer.syntax).toContain('QUERY_INVALID')
    expect(answer.table).toContain('there is no table `nothing`')
    expect(answer.write).toContain('QUERY_NOT_READ_ONLY')
    expect(answer.runtime).toContain('QUERY_INVALID')
    expect(answer.spans).toBe(String(SPANS))
  })

  test('is let in with a token, and not without', async () => {
    expect(await ask(closed, 'token', `&token=${TOKEN}`)).toEqual({ spans: '0' })
    for (const token of ['', '&token=another-token']) {
      const { refused } = await ask(closed, 'refused', token)
      expect(refused).toMatch(/UNAUTHENTICATED/i)
    }
  })
})
