/**
 * deltalake, DuckDB, pyarrow and Polars read the tables while rows stream in and files are merged,
 * and find what our SQL finds: the same rows, every column, and the same totals (I8).
 */

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { send, traceRequest } from '../../testing/otlp.js'
import { MAIN, ServerProcess, temporaryFolder } from '../../testing/server.js'
import { BUILD_TIMEOUT_MS, clientFile, python, run, start } from './toolchain.js'

const ROUNDS = 3
/** Runs of the program that sends every kind of record. */
const SHOPS = 3
const SHOP_REQUESTS = 20
const SPANS_PER_REQUEST = 100
const SHOP_SPANS = SHOPS * 3 + SHOP_REQUESTS * SPANS_PER_REQUEST
const SHOP_ROWS = {
  spans: SHOP_SPANS,
  logs: SHOPS * 2,
  metrics_gauge: SHOPS * 2,
  metrics_histogram: SHOPS,
  metrics_exponential_histogram: SHOPS,
}
const TABLES = [...Object.keys(SHOP_ROWS), 'metrics_sum']
/** Files appear quickly, so that there are many to read and to merge. */
const FLUSH_INTERVAL_MS = 200
const POLL_MS = 50

type Found = Record<string, { rows: number; hash: string }> & {
  totals: { n: number; duration: number; traces: number }
}

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess
const tables = () => join(folder.path, 'tables')

beforeAll(async () => {
  const interpreter = await python()
  folder = await temporaryFolder()
  server = await ServerProcess.start(folder.path, [
    ...['--cluster', '127.0.0.1:0'],
    ...['--set', `flush.interval_ms=${FLUSH_INTERVAL_MS}`],
  ])
  for (let shop = 0; shop < SHOPS; shop++) {
    await run(interpreter, [clientFile('python/send.py')], {
      env: {
        OTEL_SERVICE_NAME: 'shop',
        OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://${server.addresses.otlpGrpc}`,
      },
    })
  }
  for (let number = 0; number < SHOP_REQUESTS; number++) {
    expect(await send(server, 'traces', traceRequest('shop', number, SPANS_PER_REQUEST))).toBe(true)
  }
  await committed('shop')
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await server?.kill()
  await folder?.remove()
})

/** Resolves when every acknowledged row of a service is in a committed file. */
async function committed(service: string): Promise<void> {
  for (const table of TABLES) {
    const statement = `SELECT count(*) FROM ${table} WHERE service_name = $1`
    const wanted = await server.count(statement, [service])
    const inFiles = async () => {
      const [row] = await server.rows<{ n: number }>(
        statement.replace('count(*)', 'count(*) AS n'),
        [service],
        { 'otlake-consistency': 'eventual' },
      )
      return Number(row?.n)
    }
    while ((await inFiles()) < wanted) await pause(POLL_MS)
  }
}

/** The Python readers as a process that answers once for each call of `next`. */
async function readers(service: string) {
  const args = [clientFile('python/read.py'), tables(), server.addresses.http, service]
  const child = start(await python(), args, { env: {}, stdio: ['pipe', 'pipe', 'inherit'] })
  if (child.stdout === null) throw new Error('its answers are not piped')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async () => {
    const { value, done } = await lines.next()
    if (done) throw new Error('the readers ended: what they wrote is above')
    return value as string
  }
  expect(await line()).toBe('ready')
  return {
    async next(): Promise<Record<string, Found>> {
      child.stdin?.write('\n')
      return JSON.parse(await line())
    },
    stop: () => child.stdin?.end(),
  }
}

/** Sends requests of the service `moving` until it is stopped; then the number acknowledged. */
function ingest() {
  let going = true
  let acknowledged = 0
  const work = (async () => {
    for (let number = SHOP_REQUESTS; going; number++) {
      const request = traceRequest('moving', number, SPANS_PER_REQUEST)
      while (!(await send(server, 'traces', request))) await pause(POLL_MS)
      acknowledged++
      await pause(POLL_MS / 5)
    }
  })()
  return async () => {
    going = false
    await work
    return acknowledged
  }
}

const otlake = (...args: string[]) => run(process.execPath, [MAIN, ...args])

/** Merges files, where this build can. */
async function compact(): Promise<boolean> {
  if (!/^ {2}job\b/m.test(await otlake('--help'))) return false
  await otlake('job', 'run', 'compact', '--url', String(server.addresses.cluster))
  return true
}

/** How many commits of a table merged files. */
async function merges(table: string): Promise<number> {
  const log = join(tables(), table, '_delta_log')
  const commits = (await readdir(log)).filter((name) => name.endsWith('.json'))
  const texts = await Promise.all(commits.map((name) => readFile(join(log, name), 'utf8')))
  return texts.filter((text) => text.includes('"operation":"OPTIMIZE"')).length
}

test('outside readers find the rows of our SQL while rows stream in and files merge', {
  timeout: 180_000,
}, async () => {
  const stop = ingest()
  const shop = await readers('shop')
  let compacted = false
  let first: Found | undefined
  for (let round = 0; round < ROUNDS; round++) {
    const [found, merged] = await Promise.all([shop.next(), compact()])
    compacted = merged
    first ??= found.otlake
    expect(first?.totals).toEqual({
      n: SHOP_SPANS,
      duration: expect.any(Number),
      traces: SHOPS * 2 + SHOP_REQUESTS,
    })
    for (const [table, rows] of Object.entries(SHOP_ROWS)) expect(first?.[table]?.rows).toBe(rows)
    for (const [reader, answer] of Object.entries(found)) expect(answer, reader).toEqual(first)
  }
  shop.stop()
  const sent = await stop()
  expect(sent).toBeGreaterThan(0)
  if (compacted) expect(await merges('spans')).toBeGreaterThan(0)

  // What streamed in meanwhile is whole, too.
  await committed('moving')
  const moving = await readers('moving')
  const found = await moving.next()
  moving.stop()
  for (const [reader, answer] of Object.entries(found)) {
    expect(answer, reader).toEqual(found.otlake)
    expect(answer.totals).toEqual({
      n: sent * SPANS_PER_REQUEST,
      duration: sent * SPANS_PER_REQUEST * 1000,
      traces: sent,
    })
  }
})

test('the shortest program reads every committed row', async () => {
  const output = await run(await python(), [
    clientFile('python/tables.py'),
    join(tables(), 'spans'),
  ])
  const rows = await server.count('SELECT count(*) FROM spans')
  expect(output.trim()).toBe(`${rows} ${rows}`)
})
