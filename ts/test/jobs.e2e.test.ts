/**
 * The regular jobs of a running node, by its command line and its files: what is merged, dropped
 * and deleted, that a query that began before is answered whole, and that `kill -9` in the midst
 * of them loses and doubles nothing (I2, I3, I8).
 */

import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { DuckDBInstance } from '@duckdb/node-api'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { send, traceRequest } from '../testing/otlp.js'
import { expected, Outbox, SPANS, stored } from '../testing/outbox.js'
import { MAIN, ServerProcess, set, temporaryFolder } from '../testing/server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  const broken = await server?.violations().catch(String)
  await server?.kill()
  await folder.remove()
  expect(broken ?? []).toEqual([])
})

/** A node that runs jobs when asked alone, and deletes at once what no version names. */
const start = (settings: Record<string, string | number> = {}) =>
  ServerProcess.start(folder.path, [
    ...['--cluster', '127.0.0.1:0'],
    ...set({ 'jobs.schedule': 'off', 'jobs.vacuum_after_ms': 0, ...settings }),
  ])

/** Runs `otlake job …` as a user does; what it printed, or its failure. */
const job = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
  const command = [MAIN, 'job', ...args, '--url', server.addresses.cluster ?? '']
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, command)
    return { code: 0, out: stdout, err: stderr }
  } catch (thrown) {
    const { code, stdout, stderr } = thrown as { code: number; stdout: string; stderr: string }
    return { code, out: stdout, err: stderr }
  }
}

/** One flush of one request. */
const flushed = async (number: number, count = SPANS) => {
  expect(await send(server, 'traces', traceRequest('load', number, count))).toBe(true)
  await server.flush()
}

const dataFiles = async (table = 'spans') => {
  const names = await readdir(join(folder.path, 'tables', table), { recursive: true })
  return names.filter((name) => name.startsWith('tenant=') && name.endsWith('.parquet'))
}

const metric = async (name: string, labels: string): Promise<number> => {
  const text = await (await fetch(server.url('/metrics'))).text()
  const line = text.split('\n').find((line) => line.startsWith(`${name}{${labels}}`))
  return Number(line?.split(' ')[1])
}

test('I3 I8: compact makes one file of many with each span once, and vacuum frees the disk', async () => {
  // Without the window a resend is stored, so that it is left to compaction.
  server = await start({ 'dedupe.window_ms': 0 })
  for (let number = 0; number < 12; number++) await flushed(number)
  await flushed(3)
  await flushed(7)
  const figures = 'SELECT count(*) AS n, count(DISTINCT span_id) AS ids, sum(duration_ns) AS ns'
  const [before] = await server.rows(`${figures} FROM spans`)
  expect(before).toMatchObject({ n: 14 * SPANS, ids: 12 * SPANS })
  expect(await dataFiles()).toHaveLength(14)

  const compacted = await job('run', 'compact')
  expect(compacted).toMatchObject({ code: 0 })
  expect(compacted.out).toMatch(/^spans +14 +1 +\d+ +\d+ +40$/m)
  expect(await server.count('SELECT count(DISTINCT name) FROM spans')).toBe(12)
  const [after] = await server.rows(`${figures} FROM spans`)
  expect(after).toMatchObject({ n: 12 * SPANS, ids: 12 * SPANS })
  const vacuumed = await job('run', 'vacuum')
  expect(vacuumed.out).toMatch(/^spans +14 +\d+ +\d+$/m)
  expect(await dataFiles()).toHaveLength(1)
  expect((await job('run', 'compact')).out).toContain('nothing to do')

  const duckdb = await (await DuckDBInstance.create(':memory:')).connect()
  const files = join(folder.path, 'tables', 'spans', '**', '*.parquet').replace('**', 'tenant*/**')
  const theirs = await duckdb.runAndReadAll(`${figures} FROM read_parquet('${files}')`)
  const [row] = theirs.getRowObjectsJson()
  expect(Object.values(row ?? {}).map(Number)).toEqual(Object.values(after ?? {}).map(Number))
  duckdb.closeSync()

  expect(await metric('otlake_compacted_files_in_total', 'table="spans"')).toBe(14)
  expect(await metric('otlake_compacted_files_out_total', 'table="spans"')).toBe(1)
  expect(await metric('otlake_duplicates_removed_total', 'table="spans"')).toBe(2 * SPANS)
  expect(await metric('otlake_vacuumed_files_total', 'table="spans"')).toBe(14)
  expect(await metric('otlake_job_runs_total', 'job="compact",outcome="ok"')).toBe(2)
  expect((await job('list')).out).toMatch(/^compact +off +- +20\S+Z +\S+ s +ok/m)

  // A start finds what the jobs left.
  expect(await server.stop()).toBe(0)
  server = await start()
  expect(await server.rows(`${figures} FROM spans`)).toEqual([after])
})

test('retain removes the days that are past their time, by signal and tenant, and no others', async () => {
  // The spans are of 2023.
  const tenants = JSON.stringify([{ tenant: 'archive', signal: 'traces', days: 0 }])
  server = await start({ 'retention.traces_days': 30, 'retention.tenants': tenants })
  await flushed(1)
  const forTenant = await fetch(`http://${server.addresses.otlpHttp}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-scope-orgid': 'archive' },
    body: JSON.stringify(traceRequest('load', 2, SPANS)),
  })
  expect(forTenant.status).toBe(200)
  const now = BigInt(Date.now()) * 1_000_000n
  const logs = (time: bigint) => ({
    resourceLogs: [{ scopeLogs: [{ logRecords: [{ timeUnixNano: String(time) }] }] }],
  })
  expect(await send(server, 'logs', logs(now))).toBe(true)
  expect(await send(server, 'logs', logs(1_700_000_000_000_000_000n))).toBe(true)
  await server.flush()

  const retained = await job('run', 'retain')
  expect(retained.out).toMatch(new RegExp(`^spans +1 +\\d+ +${SPANS}$`, 'm'))
  expect(retained.out).not.toContain('logs')
  expect(await server.rows('SELECT tenant, count(*) AS n FROM spans GROUP BY 1')).toEqual([
    { tenant: 'archive', n: SPANS },
  ])
  expect(await server.count('SELECT count(*) FROM logs')).toBe(2)
  expect(await metric('otlake_rows_expired_total', 'table="spans"')).toBe(SPANS)
  expect(await dataFiles()).toHaveLength(2)
  await job('run', 'vacuum')
  expect(await dataFiles()).toHaveLength(1)
  expect(await dataFiles('logs')).toHaveLength(2)
})

test('a slow query reads its version to the end while compaction and vacuum replace the files', async () => {
  server = await start()
  const [files, each] = [12, 3000]
  for (let number = 0; number < files; number++) await flushed(number, each)
  const response = await fetch(server.url('/api/v1/sql'), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: 'SELECT * FROM spans', format: 'ndjson' }),
  })
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const first = await reader.read()
  let lines = newlines(first.value)
  expect((await job('run', 'compact')).out).toMatch(/^spans +12 +1 /m)
  // The query is at work: its files stay.
  expect((await job('run', 'vacuum')).out).toContain('nothing to do')
  expect(await dataFiles()).toHaveLength(files + 1)
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    lines += newlines(read.value)
  }
  expect(lines).toBe(files * each)
  expect((await job('run', 'vacuum')).out).toMatch(/^spans +12 /m)
  expect(await server.count('SELECT count(*) FROM spans')).toBe(files * each)
})

function newlines(chunk: Uint8Array | undefined): number {
  return (chunk ?? new Uint8Array()).reduce((sum, byte) => sum + (byte === 10 ? 1 : 0), 0)
}

test('I2 I3: kill -9 during jobs under load loses and doubles nothing', async () => {
  const rounds = 6
  const outbox = new Outbox()
  // A round of jobs each second beside those that are asked for, so that deaths fall within them.
  const settings = { 'flush.interval_ms': 100, 'jobs.schedule': '* * * * * *' }
  for (let round = 0; round < rounds; round++) {
    server = await start(settings)
    const died = outbox.load(server, 150 + ((round * 67) % 200)).then(() => 'died')
    let ended = ''
    while (ended === '') {
      const asked = job('run', ['compact', 'vacuum'][round % 2] ?? '').then(() => '')
      ended = await Promise.race([died, asked])
      await asked
    }
  }
  server = await start(settings)
  await outbox.settle(server)
  const sent = expected(outbox)
  expect(await stored(server)).toEqual(sent)
  await server.flush()
  for (const name of ['compact', 'retain', 'vacuum']) {
    expect(await job('run', name)).toMatchObject({ code: 0 })
  }
  expect(await stored(server)).toEqual(sent)
  // Nothing that a death left half done is on the disk, but what may still be at work.
  expect(await server.stop()).toBe(0)
  server = await start()
  expect(await job('run', 'compact')).toMatchObject({ code: 0 })
  expect(await job('run', 'vacuum')).toMatchObject({ code: 0 })
  // How many are named is a matter of pace: a small file that was written last waits for others of its size.
  const named = await metric('otlake_table_files', 'table="spans"')
  expect(named).toBeLessThanOrEqual(2)
  expect(await dataFiles()).toHaveLength(named)
  expect(await stored(server)).toEqual(sent)
})

test('a job that no node can be asked for, or that there is not, is told with its exit code', async () => {
  server = await start()
  expect(await job('run', 'defragment')).toMatchObject({ code: 2 })
  await server.stop()
  const unreachable = await job('run', 'compact')
  expect(unreachable.code).toBe(3)
  expect(unreachable.err).toContain('NODE_UNREACHABLE')
})
