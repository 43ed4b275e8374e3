/**
 * Outside readers see the same rows (I8): DuckDB on the Parquet files, while the node runs and
 * after it has stopped; a Flight SQL client of its own make on the socket.
 */

import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { createFlightSqlClient } from '@lakehouse-rs/flight-sql-client'
import { tableFromIPC } from 'apache-arrow'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { send, traceRequest } from '../testing/otlp.js'
import { ServerProcess, temporaryFolder } from '../testing/server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

const REQUESTS = 50
const SPANS = 40

beforeAll(async () => {
  folder = await temporaryFolder()
  server = await ServerProcess.start(folder.path)
  for (let number = 0; number < REQUESTS; number++) {
    const service = `service-${number % 5}`
    expect(await send(server, 'traces', traceRequest(service, number, SPANS))).toBe(true)
  }
})

afterAll(async () => {
  await server?.kill()
  await folder?.remove()
})

describe('a Flight SQL client', () => {
  const connect = () => {
    const [host = '', port] = server.addresses.flight.split(':')
    return createFlightSqlClient({ host, port: Number(port), tls: false, headers: [] })
  }

  test('runs a statement over live rows', async () => {
    const client = await connect()
    const ipc = await client.query(
      'SELECT service_name, count(*) AS spans FROM spans GROUP BY 1 ORDER BY 1',
    )
    const table = tableFromIPC(ipc)
    expect(table.toArray().map((row) => [row.service_name, Number(row.spans)])).toEqual(
      [0, 1, 2, 3, 4].map((index) => [`service-${index}`, (REQUESTS / 5) * SPANS]),
    )
  })

  test('lists the tables', async () => {
    const client = await connect()
    const table = tableFromIPC(await client.getTables({ includeSchema: false }))
    const names = table.toArray().map((row) => row.table_name)
    expect(names).toEqual(expect.arrayContaining(['spans', 'logs', 'metrics_gauge', 'metrics_sum']))
  })
})

test('DuckDB reads the files of a stopped node and finds the same rows', async () => {
  const query = `SELECT service_name, count(*) AS spans, sum(duration_ns) AS duration,
      min(start_time_unix_nano) AS first, count(DISTINCT trace_id) AS traces
    FROM spans GROUP BY service_name ORDER BY service_name`
  const ours = await server.rows(query)
  expect(await server.stop()).toBe(0)

  const instance = await DuckDBInstance.create(':memory:')
  const duckdb = await instance.connect()
  const files = join(folder.path, 'tables', 'spans', '**', '*.parquet')
  await duckdb.run(
    `CREATE VIEW spans AS SELECT * FROM read_parquet('${files}', hive_partitioning = true)`,
  )
  const theirs = (await duckdb.runAndReadAll(query)).getRowObjects()
  const plain = (rows: Record<string, unknown>[]) =>
    rows.map((row) =>
      Object.fromEntries(Object.entries(row).map(([name, value]) => [name, String(value)])),
    )
  expect(plain(theirs)).toEqual(plain(ours))
  // Attributes are JSON that DuckDB takes apart by itself.
  const [number] = (
    await duckdb.runAndReadAll(
      `SELECT count(*) AS n FROM spans WHERE (attributes->>'number')::INT = 7`,
    )
  ).getRowObjects()
  expect(Number(number?.n)).toBe(SPANS)
  const [days] = (
    await duckdb.runAndReadAll(
      `SELECT count(DISTINCT day) AS days, min(tenant) AS tenant FROM spans`,
    )
  ).getRowObjects()
  expect(Number(days?.days)).toBe(1)
  expect(days?.tenant).toBe('default')
})
