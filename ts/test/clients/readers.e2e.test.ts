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
/** How long a flush may take on a machine where others work, too. */
const COMMIT_TIMEOUT_MS = 60_000

interface Totals {
  n: number
  duration: number
  traces: number
}

type Found = Record<string, { rows: number; hash: string }> & { totals: Totals }

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
    const deadline = performance.now() + COMMIT_TIMEOUT_MS
    while ((await inFiles()) < wanted) {
      if (performance.now() > deadline) throw new Error(`rows of ${table} are not in files`)
      await pause(POLL_MS)
    }
  }
}

/** The Python readers as a process that answers once for each call of `next`. */
async function readers<Answer = Found>(service: string, ...only: 'totals'[]) {
  const args = [clientFile('python/read.py'), tables(), server.addresses.http, service, ...only]
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
    async next(): Promise<Record<string, Answer>> {
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

/** Merges files again and again until it is stopped; then the number of runs. */
function compaction() {
  let going = true
  let runs = 0
  const url = String(server.addresses.cluster)
  const work = (async () => {
    for (; going; runs++) await otlake('job', 'run', 'compact', '--url', url)
  })()
  return async () => {
    going = false
    await work
    return runs
  }
}

/** How many commits of a table merged files. */
async function merges(table: string): Promise<number> {
  const log = join(tables(), table, '_delta_log')
  const commits = (await readdir(log)).filter((name) => name.endsWith('.json'))
  const texts = await Promise.all(commits.map((name) => readFile(join(log, name), 'utf8')))
  return texts.filter((text) => text.includes('"operation":"OPTIMIZE"')).length
}

/** What the totals of so many requests of `moving` are. */
const whole = ({ n }: Totals): Totals => ({
  n,
  duration: n * 1000,
  traces: Math.floor(n / SPANS_PER_REQUEST),
})

test('outside readers find the rows of our SQL while rows stream in and files merge', {
  timeout: 240_000,
}, async () => {
  const stopIngest = ingest()
  const stopCompaction = compaction()
  const shop = await readers('shop')
  const growing = await readers<Totals>('moving', 'totals')
  let first: Found | undefined
  let least: Totals | undefined
  let held: Totals | undefined
  for (let round = 0; round < ROUNDS; round++) {
    const found = await shop.next()
    first ??= found.otlake
    expect(first?.totals).toEqual({
      n: SHOP_SPANS,
      duration: expect.any(Number),
      traces: SHOPS * 2 + SHOP_REQUESTS,
    })
    for (const [table, rows] of Object.entries(SHOP_ROWS)) expect(first?.[table]?.rows).toBe(rows)
    for (const [reader, answer] of Object.entries(found)) expect(answer, reader).toEqual(first)

    // Of a table that grows each reader finds whole requests, and no fewer than otlake before it
    // and no more than otlake after it.
    const { held: old, otlake: before, after, ...others } = await growing.next()
    if (!old || !before || !after) throw new Error('a reader is missing')
    for (const [reader, totals] of Object.entries({ old, before, after, ...others })) {
      expect(totals, reader).toEqual(whole(totals))
      expect(totals.n % SPANS_PER_REQUEST, reader).toBe(0)
    }
    held ??= old
    expect(old, 'what was opened at the start').toEqual(held)
    expect(before.n).toBeGreaterThanOrEqual(least?.n ?? old.n)
    for (const [reader, { n }] of Object.entries(others)) {
      expect(n, reader).toBeGreaterThanOrEqual(before.n)
      expect(n, reader).toBeLessThanOrEqual(after.n)
    }
    expect(Object.keys(others)).toHaveLength(4)
    least = after
  }
  shop.stop()
  growing.stop()
  const sent = await stopIngest()
  expect(sent * SPANS_PER_REQUEST).toBeGreaterThanOrEqual(least?.n ?? 0)
  expect(least?.n, 'rows streamed in meanwhile').toBeGreaterThan(held?.n ?? 0)
  expect(await stopCompaction()).toBeGreaterThan(0)
  expect(await merges('spans')).toBeGreaterThan(0)

  // What streamed in meanwhile is whole, too.
  await committed('moving')
  const moving = await readers('moving')
  const found = await moving.next()
  moving.stop()
  for (const [reader, answer] of Object.entries(found)) {
    expect(answer, reader).toEqual(found.otlake)
    expect(answer.totals).toEqual(whole({ n: sent * SPANS_PER_REQUEST, duration: 0, traces: 0 }))
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
