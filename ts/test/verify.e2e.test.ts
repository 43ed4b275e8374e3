/**
 * I6: a flipped bit in any kind of file is found by `otlake verify` and by the node, and what it
 * damaged is never served.
 */

import { execFile } from 'node:child_process'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Finding } from '../node/verify.js'
import { send, traceRequest } from '../testing/otlp.js'
import { MAIN, ServerProcess, temporaryFolder } from '../testing/server.js'

const run = promisify(execFile)
/** No more than these are sent for the first checkpoint. */
const REQUESTS = 20_000
const SPANS = 10

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess | undefined

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  const broken = await server?.violations().catch(String)
  await server?.kill()
  await folder.remove()
  expect(broken ?? []).toEqual([])
})

/** `otlake verify`: its exit code and what it prints. */
async function verify(
  ...args: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const command = [MAIN, 'verify', '--data-dir', folder.path, ...args]
  try {
    return { code: 0, ...(await run(process.execPath, command)) }
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string }
  }
}

async function findings(): Promise<{ code: number; all: Finding[] }> {
  const { code, stdout } = await verify('--json')
  const lines = stdout.split('\n').filter((line) => line !== '')
  return { code, all: lines.map((line) => JSON.parse(line) as Finding) }
}

async function files(ending: RegExp): Promise<string[]> {
  const names = await readdir(folder.path, { recursive: true })
  return names.filter((name) => ending.test(name)).sort()
}

/** Flips one bit, runs `what`, and flips it back. */
async function flipped<T>(name: string, at: number, what: () => Promise<T>): Promise<T> {
  const path = join(folder.path, name)
  const bytes = await readFile(path)
  const damaged = Buffer.from(bytes)
  damaged[at] = (damaged[at] ?? 0) ^ 0x10
  await writeFile(path, damaged)
  try {
    return await what()
  } finally {
    await writeFile(path, bytes)
  }
}

/** A folder with files, commits, a checkpoint, and a log whose last record is in no file yet. */
async function fill(): Promise<number> {
  server = await ServerProcess.start(folder.path, ['--set', 'flush.interval_ms=20'])
  let requests = 0
  // A commit each few requests, until there is a first checkpoint.
  while ((await files(/spans\/_delta_log\/\d+\.checkpoint\.parquet$/)).length === 0) {
    expect(requests).toBeLessThan(REQUESTS)
    expect(await send(server, 'traces', traceRequest('verify', requests, SPANS))).toBe(true)
    requests += 1
  }
  await server.kill()
  server = await ServerProcess.start(folder.path, ['--set', 'flush.interval_ms=3600000'])
  expect(await send(server, 'traces', traceRequest('verify', requests, SPANS))).toBe(true)
  await server.kill()
  return requests + 1
}

test('I6: a flipped bit in every kind of file is found, beside a node too, and never served', async () => {
  const requests = await fill()
  const whole = await findings()
  expect(whole.code).toBe(0)
  expect(new Set(whole.all.map(({ kind }) => kind))).toEqual(
    new Set(['segment', 'commit', 'file', 'window']),
  )
  expect(whole.all.every(({ outcome }) => outcome === 'whole')).toBe(true)
  const last = whole.all.at(-1)
  expect(last?.checked_bytes).toBe(last?.total_bytes)

  const [segment] = (await files(/\.seg$/)).slice(-1)
  const [data] = await files(/spans\/.*\d\.parquet$|spans\/tenant.*\.parquet$/)
  const [commit] = await files(/spans\/_delta_log\/0*7\.json$/)
  const [checkpoint] = await files(/spans\/_delta_log\/\d+\.checkpoint\.parquet$/)
  const [window] = await files(/dedupe\/.*\.window$/)
  for (const name of [segment, data, commit, checkpoint, window]) {
    if (name === undefined) throw new Error('a kind of file is missing')
    // In the first record of a segment, behind its head; in the middle of what is short.
    const at = name.endsWith('.seg') ? 200 : 40
    const { code, all } = await flipped(name, at, findings)
    expect(code, name).toBe(1)
    const found = all.filter(({ outcome }) => outcome === 'damaged').map(({ path }) => path)
    expect(found, name).toContain(name)
  }

  // The report for people names the file, and says what to do.
  if (data === undefined) throw new Error('no file')
  const report = await flipped(data, 40, () => verify())
  expect(report.code).toBe(1)
  expect(report.stdout).toContain(data)
  expect(report.stdout).toContain('1 damaged file(s)')
  expect(report.stderr).toContain('100 % of')

  // A node on the damaged folder answers with an error, and goes on when the file is whole again.
  server = await ServerProcess.start(folder.path)
  const running = server
  const all = 'SELECT count(DISTINCT span_id) AS n, max(attributes) AS a FROM spans'
  await flipped(data, 40, async () => {
    await expect(running.rows(all)).rejects.toThrow('TABLE_CORRUPT')
    const metrics = await (await fetch(running.url('/metrics'))).text()
    expect(metrics).toMatch(/^otlake_corruption_detected_total\{[^}]*kind="file"[^}]*\} [1-9]/m)
  })
  expect(Number((await running.rows(all))[0]?.n)).toBe(requests * SPANS)
  expect((await verify()).code).toBe(0)
})

test('I6: a folder without data of ours is refused with the reason', async () => {
  const { code, stderr } = await verify()
  expect(code).toBe(1)
  expect(stderr).toContain('NODE_DIRECTORY_UNUSABLE')
})
