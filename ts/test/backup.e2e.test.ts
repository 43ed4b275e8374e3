/**
 * A backup of a node that takes and flushes meanwhile holds what was acknowledged before it
 * began, each record once (I2, I3), and opens.
 */

import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { send, traceRequest } from '../testing/otlp.js'
import { MAIN, ServerProcess, temporaryFolder } from '../testing/server.js'

const run = promisify(execFile)
const SPANS = 20
const CLIENTS = 4
const BACKUPS = 6
/** Acknowledgements between two backups: some flushes' worth. */
const BETWEEN = 60
/** Flushes, and small segments, fall into every backup. */
const BUSY = ['--set', 'flush.interval_ms=50', '--set', 'log.segment_bytes=1048576']

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess | undefined

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  await server?.kill()
  await folder.remove()
})

const backup = (from: string, to: string) =>
  run(process.execPath, [MAIN, 'backup', '--data-dir', from, '--to', to])

interface Stored {
  number: number
  spans: number
  ids: number
}

const stored = (target: ServerProcess) =>
  target.rows<Stored>(
    `SELECT CAST(substr(name, 9) AS BIGINT) AS number, count(*) AS spans,
            count(DISTINCT span_id) AS ids
     FROM spans WHERE service_name = 'backup' GROUP BY 1 ORDER BY 1`,
  )

/** What a start's replay said of damage; the line of a replay without any says `damaged=0`. */
const damage = ({ log }: ServerProcess) =>
  log.filter((line) => /LOG_CHECKSUM_MISMATCH|damaged=[1-9]/.test(line))

test('I2 I3: backups under load hold what was acknowledged before they began, once', async () => {
  const data = join(folder.path, 'data')
  server = await ServerProcess.start(data, BUSY)
  const source = server
  const acknowledged: number[] = []
  let next = 0
  let loading = true
  const enough: { count: number; resolve: () => void }[] = []
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (loading) {
      const number = next++
      if (!(await send(source, 'traces', traceRequest('backup', number, SPANS)))) {
        throw new Error(`request ${number} was refused`)
      }
      acknowledged.push(number)
      while ((enough[0]?.count ?? Infinity) <= acknowledged.length) enough.shift()?.resolve()
    }
  })
  const copies: { path: string; before: number[]; sent: number }[] = []
  const backups = (async () => {
    for (let round = 0; round < BACKUPS; round++) {
      const count = acknowledged.length + BETWEEN
      await new Promise<void>((resolve) => enough.push({ count, resolve }))
      const before = [...acknowledged]
      const path = join(folder.path, `copy-${round}`)
      await backup(data, path)
      copies.push({ path, before, sent: next })
    }
  })().finally(() => {
    loading = false
  })
  await Promise.all([backups, ...clients])
  await source.kill()

  // Load went on while each was made, or the test would have shown nothing.
  expect(copies.some(({ before, sent }) => sent > before.length + CLIENTS)).toBe(true)
  for (const { path, before, sent } of copies) {
    server = await ServerProcess.start(path, BUSY)
    const rows = await stored(server)
    expect(damage(server)).toEqual([])
    const held = new Set(rows.map(({ number }) => Number(number)))
    expect(before.filter((number) => !held.has(number))).toEqual([])
    expect(rows.filter(({ spans, ids }) => spans !== SPANS || ids !== SPANS)).toEqual([])
    expect(rows.every(({ number }) => Number(number) < sent)).toBe(true)
    // It takes what comes next: a resend of what the copy lacks is stored, not taken for known.
    const lacking = Array.from({ length: sent }, (_, number) => number).filter((n) => !held.has(n))
    for (const number of lacking.slice(0, CLIENTS)) {
      expect(await send(server, 'traces', traceRequest('backup', number, SPANS))).toBe(true)
    }
    expect(await server.stop()).toBe(0)
    server = await ServerProcess.start(path, BUSY)
    const after = await stored(server)
    expect(after).toHaveLength(rows.length + Math.min(lacking.length, CLIENTS))
    expect(after.filter(({ spans }) => spans !== SPANS)).toEqual([])
    await server.kill()
  }
})

test('a backup of a stopped node is the same rows', async () => {
  const data = join(folder.path, 'data')
  server = await ServerProcess.start(data)
  expect(await send(server, 'traces', traceRequest('backup', 1, SPANS))).toBe(true)
  expect(await server.stop()).toBe(0)
  const copy = join(folder.path, 'copy')
  await backup(data, copy)
  server = await ServerProcess.start(copy)
  expect(await server.count('SELECT count(*) FROM spans')).toBe(SPANS)
})

test('a destination that exists, and a folder that is no data directory, are refused', async () => {
  const data = join(folder.path, 'data')
  server = await ServerProcess.start(data)
  const refused = (from: string, to: string) => backup(from, to).catch((error) => error)
  const exists = await refused(data, folder.path)
  expect(exists.code).toBe(2)
  expect(exists.stderr).toContain('CLI_USAGE')
  const inside = await refused(data, join(data, 'copy'))
  expect(inside.stderr).toContain('CLI_USAGE')
  const empty = await refused(join(folder.path, 'nothing'), join(folder.path, 'copy'))
  expect(empty.stderr).toContain('NODE_DIRECTORY_UNUSABLE')
  expect(await readdir(folder.path)).toEqual(['data'])
})
