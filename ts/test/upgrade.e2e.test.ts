/**
 * What earlier versions left on disk, today's code opens, reads, compacts and continues. Each
 * archive of ts/test/data is the folder of a killed node of that version, with what it had answered
 * (scripts/make-version-data.mjs).
 */

import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { send } from '../testing/otlp.js'
import { MAIN, ServerProcess, temporaryFolder } from '../testing/server.js'

const run = promisify(execFile)
const DATA = fileURLToPath(new URL('data', import.meta.url))
/** The window of resends reaches back to when the archives were made. */
const EVER_MS = 100 * 365 * 24 * 3600 * 1000

interface Expected {
  sent: { signal: string; body: unknown }[]
  rows: Record<string, Record<string, unknown>[]>
}

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess | undefined

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  await server?.kill()
  await folder.remove()
})

const ORDER = (table: string) =>
  table === 'spans' ? 'start_time_unix_nano, span_id' : 'time_unix_nano'

/** Every row of every table has what it had; a later version may have further columns. */
async function holds(node: ServerProcess, expected: Expected): Promise<void> {
  for (const [table, rows] of Object.entries(expected.rows)) {
    const found = await node.rows(`SELECT * FROM ${table} ORDER BY ${ORDER(table)}`)
    expect(found, table).toHaveLength(rows.length)
    expect(found, table).toMatchObject(rows)
  }
}

async function verified(data: string): Promise<void> {
  const { stdout } = await run(process.execPath, [MAIN, 'verify', '--data-dir', data])
  expect(stdout).toContain('nothing is damaged')
}

for (const archive of readdirSync(DATA).filter((name) => name.endsWith('.tar.gz'))) {
  test(`the data folder of ${archive.replace('.tar.gz', '')} opens, reads, merges and goes on`, async () => {
    await run('tar', ['-xzf', join(DATA, archive), '-C', folder.path])
    const expected: Expected = JSON.parse(readFileSync(join(folder.path, 'expected.json'), 'utf8'))
    expect(Object.keys(expected.rows)).toHaveLength(7)
    expect(Object.values(expected.rows).every((rows) => rows.length >= 3)).toBe(true)
    const data = join(folder.path, 'data')
    await verified(data)

    const args = [
      ...['--cluster', '127.0.0.1:0', '--set', 'jobs.schedule=off'],
      ...['--set', `dedupe.window_ms=${EVER_MS}`, '--set', 'jobs.vacuum_after_ms=0'],
    ]
    server = await ServerProcess.start(data, args)
    await holds(server, expected)

    // Its resends are known, from the window and from the log alike.
    for (const { signal, body } of expected.sent) {
      expect(await send(server, signal, body)).toBe(true)
    }
    await holds(server, expected)

    // What was in the log alone moves to files of this version, beside the old ones.
    expect(await server.stop()).toBe(0)
    const files = async () => {
      const names = await readdir(join(data, 'tables/spans'), { recursive: true })
      return names.filter((name) => name.endsWith('.parquet') && !name.includes('_delta_log'))
    }
    expect((await files()).length).toBeGreaterThan(2)
    server = await ServerProcess.start(data, args)
    await holds(server, expected)

    // Old files and new ones merge to one.
    const url = server.addresses.cluster ?? ''
    for (const job of ['compact', 'vacuum']) {
      await run(process.execPath, [MAIN, 'job', 'run', job, '--url', url])
    }
    expect(await files()).toHaveLength(1)
    await holds(server, expected)
    expect(await server.stop()).toBe(0)
    await verified(data)
  })
}
