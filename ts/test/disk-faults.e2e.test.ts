/**
 * I10 on the real kernel: a disk that is full, that fails, that is slow. The node refuses with a
 * retryable answer, goes on answering queries, and takes requests again by itself.
 */

import { type ChildProcess, execFile } from 'node:child_process'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { fill } from '../testing/full-disk.js'
import { detach, inject } from '../testing/kernel-faults.js'
import { traceRequest } from '../testing/otlp.js'
import { ServerProcess, temporaryFolder } from '../testing/server.js'

const run = promisify(execFile)
const MIB = 1024 * 1024
const SPANS = 500
/** Far more than any of the tests needs; one that goes on for longer has failed. */
const ATTEMPTS = 20_000

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess | undefined
let tracer: ChildProcess | undefined
let mounted: string | undefined

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  const broken = await server?.violations().catch(String)
  await server?.kill()
  if (tracer) await detach(tracer)
  tracer = undefined
  if (mounted) await run('umount', [mounted])
  mounted = undefined
  await folder.remove()
  expect(broken ?? []).toEqual([])
})

/** Sends request `number`; the status, and whether it says when to come back. */
async function post(to: ServerProcess, number: number) {
  const response = await fetch(`http://${to.addresses.otlpHttp}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(traceRequest('disk', number, SPANS)),
  })
  await response.arrayBuffer()
  return { status: response.status, retryAfter: response.headers.get('retry-after') }
}

/** Sends numbers from `first` until `enough`; each that is refused must be so retryably. */
async function sendUntil(
  to: ServerProcess,
  first: number,
  enough: (status: number) => boolean | Promise<boolean>,
): Promise<{ acknowledged: number[]; refused: number[]; next: number }> {
  const acknowledged: number[] = []
  const refused: number[] = []
  for (let number = first; number < first + ATTEMPTS; number++) {
    const { status, retryAfter } = await post(to, number)
    if (status === 200) acknowledged.push(number)
    else {
      expect(status).toBe(503)
      expect(Number(retryAfter)).toBeGreaterThan(0)
      refused.push(number)
    }
    if (await enough(status)) return { acknowledged, refused, next: number + 1 }
  }
  throw new Error('what was waited for did not come about')
}

/** Requests that are stored, each with every span once. */
async function stored(of: ServerProcess): Promise<number[]> {
  const rows = await of.rows<{ n: number; name: string; ids: number }>(
    'SELECT name, count(*) AS n, count(DISTINCT span_id) AS ids FROM spans GROUP BY name',
  )
  for (const { name, n, ids } of rows)
    expect([name, Number(n), Number(ids)]).toEqual([name, SPANS, SPANS])
  return rows.map(({ name }) => Number(name.split(' ')[1])).sort((a, b) => a - b)
}

/** Everything acknowledged, and nothing else but what was refused and may be there all the same. */
async function expectStored(of: ServerProcess, acknowledged: number[], refused: number[]) {
  const there = new Set(await stored(of))
  expect(acknowledged.filter((number) => !there.has(number))).toEqual([])
  const known = new Set([...acknowledged, ...refused])
  expect([...there].filter((number) => !known.has(number))).toEqual([])
}

test('I10: a full disk refuses retryably, answers queries, and recovers when there is room', async () => {
  mounted = folder.path
  await run('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', mounted])
  const ballast = join(mounted, 'ballast')
  await writeFile(ballast, Buffer.alloc(14 * MIB, 1))
  const settings = ['--set', `log.segment_bytes=${MIB}`, '--set', 'flush.interval_ms=200']
  server = await ServerProcess.start(join(mounted, 'data'), settings)
  let node = server
  let refusals = 0
  const full = await sendUntil(node, 0, (status) => {
    if (status === 503) refusals += 1
    return refusals >= 20
  })
  expect(full.acknowledged.length).toBeGreaterThan(0)
  await expectStored(node, full.acknowledged, full.refused)

  // It also starts so: for a node that is down is one that cannot be read.
  expect(await node.violations()).toEqual([])
  await node.kill()
  const rest = join(mounted, 'rest')
  await fill(rest)
  server = await ServerProcess.start(join(mounted, 'data'), settings)
  node = server
  await expectStored(node, full.acknowledged, full.refused)
  // What a flush had put into files before the end leaves the log at the start, so that there may be
  // room for one more.
  const still = await sendUntil(node, full.next, () => true)
  const before = [...full.acknowledged, ...still.acknowledged]
  await expectStored(node, before, [...full.refused, ...still.refused])

  await rm(ballast)
  await rm(rest)
  let again = 0
  const after = await sendUntil(node, still.next, async (status) => {
    again = status === 200 ? again + 1 : 0
    if (status !== 200) await pause(50)
    return again >= 5
  })
  const acknowledged = [...before, ...after.acknowledged]
  const refused = [...full.refused, ...still.refused, ...after.refused]
  await expectStored(node, acknowledged, refused)
  expect(await node.violations()).toEqual([])
  await node.kill()
  server = await ServerProcess.start(join(mounted, 'data'))
  await expectStored(server, acknowledged, refused)
})

test('I10: I/O errors are refused, nothing acknowledged is lost, and the node goes on', async () => {
  // Small segments, so that each few requests need a new one.
  const settings = ['--set', 'flush.interval_ms=100', '--set', `log.segment_bytes=${MIB}`]
  server = await ServerProcess.start(folder.path, settings)
  const all = { acknowledged: [] as number[], refused: [] as number[], next: 0 }
  const send = async (to: ServerProcess, enough: (status: number) => boolean) => {
    const { acknowledged, refused, next } = await sendUntil(to, all.next, enough)
    all.acknowledged.push(...acknowledged)
    all.refused.push(...refused)
    all.next = next
  }
  const segments = async () => {
    const log = join(folder.path, 'log')
    const names = await readdir(log, { recursive: true })
    return names.filter((name) => name.endsWith('.seg')).map((name) => join(log, name))
  }
  await send(server, () => true)
  // Each few calls of a kind fail: of the log, of files and their folders, of commits.
  for (const [rule, refuses, files] of [
    ['writev:error=EIO:when=2+1', true, segments],
    ['fallocate:error=EIO:when=1+2', true],
    ['fallocate:error=ENOSPC:when=1+3', true],
    ['fdatasync:error=EIO:when=3+5', true],
    ['fsync:error=EIO:when=2+3', false],
    ['rename,renameat,renameat2,link,linkat:error=EIO:when=1+2', false],
    ['fsync,fdatasync:error=ENOSPC:when=2+4', true],
  ] as const) {
    const child = await inject(server, rule, await files?.())
    tracer = child
    const before = all.refused.length
    let sent = 0
    await send(server, () => ++sent >= 60)
    if (refuses) expect(all.refused.length, rule).toBeGreaterThan(before)
    // It goes on reading while the disk fails.
    await expectStored(server, all.acknowledged, all.refused)
    await detach(child)
    let good = 0
    await send(server, (status) => {
      good = status === 200 ? good + 1 : 0
      return good >= 10
    })
    await expectStored(server, all.acknowledged, all.refused)
  }
  expect(await server.violations()).toEqual([])
  await server.kill()
  server = await ServerProcess.start(folder.path)
  await expectStored(server, all.acknowledged, all.refused)
})

test('I10: a slow disk makes a request slow, not wrong', async () => {
  server = await ServerProcess.start(folder.path)
  const child = await inject(server, 'fdatasync,fsync:delay_enter=100000')
  tracer = child
  let sent = 0
  const { acknowledged, refused } = await sendUntil(server, 0, () => ++sent >= 20)
  expect(refused).toEqual([])
  await detach(child)
  await server.kill()
  server = await ServerProcess.start(folder.path)
  await expectStored(server, acknowledged, refused)
})
