/**
 * What was acknowledged is there after `kill -9`, each record once (I1, I2, I3), and a node that
 * is told to stop leaves everything in files.
 */

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { send, traceRequest } from '../testing/otlp.js'
import { ServerProcess, temporaryFolder } from '../testing/server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess | undefined

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  await server?.kill()
  await folder.remove()
})

const SPANS = 20
const CLIENTS = 8

/** Sends until the server dies; the numbers of the requests that were acknowledged. */
async function load(target: ServerProcess, first: number, killAfter: number): Promise<number[]> {
  const acknowledged: number[] = []
  let next = first
  let alive = true
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (alive) {
      const number = next++
      if (await send(target, 'traces', traceRequest('load', number, SPANS))) {
        acknowledged.push(number)
        if (acknowledged.length === killAfter) await target.kill()
      } else {
        alive = false
      }
    }
  })
  await Promise.all(clients)
  return acknowledged
}

test('kill -9 under load loses nothing acknowledged and doubles nothing', async () => {
  const acknowledged: number[] = []
  // The flush interval is short, so that deaths fall before, within and after flushes.
  const args = ['--set', 'flush.interval_ms=200']
  for (const [round, killAfter] of [40, 150, 400].entries()) {
    server = await ServerProcess.start(folder.path, args)
    acknowledged.push(...(await load(server, round * 1_000_000, killAfter)))
  }
  server = await ServerProcess.start(folder.path, args)
  const stored = await server.rows<{ name: string; spans: number; ids: number }>(
    `SELECT name, count(*) AS spans, count(DISTINCT span_id) AS ids
     FROM spans WHERE service_name = 'load' GROUP BY name`,
  )
  const spansOf = new Map(stored.map((row) => [row.name, row]))
  expect(acknowledged.length).toBeGreaterThanOrEqual(590)
  for (const number of acknowledged) {
    const row = spansOf.get(`request ${number}`)
    expect(row, `request ${number}`).toMatchObject({ spans: SPANS, ids: SPANS })
  }
  // A request that was in flight is there whole or not at all.
  for (const row of stored) expect(row.spans).toBe(SPANS)
  // And so it stays when everything has moved from the log to files.
  expect(await server.stop()).toBe(0)
  server = await ServerProcess.start(folder.path, args)
  expect(await server.count('SELECT count(*) FROM spans')).toBe(stored.length * SPANS)
})

test('SIGTERM flushes everything, leaves an empty log and exits 0', async () => {
  server = await ServerProcess.start(folder.path)
  for (let number = 0; number < 20; number++) {
    expect(await send(server, 'traces', traceRequest('stop', number, SPANS))).toBe(true)
  }
  expect(await server.stop()).toBe(0)
  const segments = (await readdir(join(folder.path, 'log'), { recursive: true })).filter((name) =>
    name.endsWith('.seg'),
  )
  expect(segments).toEqual([])
  server = await ServerProcess.start(folder.path)
  expect(await server.count('SELECT count(*) FROM spans')).toBe(20 * SPANS)
})

test('a second node on the same folder is refused with the code that says so', async () => {
  server = await ServerProcess.start(folder.path)
  await expect(ServerProcess.start(folder.path)).rejects.toThrow('NODE_DIRECTORY_LOCKED')
})
