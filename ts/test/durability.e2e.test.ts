/**
 * What was acknowledged is there after `kill -9`, each record once (I1, I2, I3), and a node that
 * is told to stop leaves everything in files.
 */

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { send, traceRequest } from '../testing/otlp.js'
import { expected, Outbox, SPANS, stored } from '../testing/outbox.js'
import { ServerProcess, temporaryFolder } from '../testing/server.js'

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

/** Kills a node again and again under load, and compares what it holds with what it acknowledged. */
async function survives(rounds: number, ...settings: string[]): Promise<void> {
  const outbox = new Outbox()
  // The flush interval is short, so that deaths fall before, within and after flushes.
  const args = ['--set', 'flush.interval_ms=200', ...settings]
  for (let round = 0; round < rounds; round++) {
    server = await ServerProcess.start(folder.path, args)
    // Early deaths hit the start of a log and of its replay; late ones the flushes.
    await outbox.load(server, 5 + ((round * 37) % 150))
  }
  server = await ServerProcess.start(folder.path, args)
  await outbox.settle(server)
  const sent = expected(outbox)
  expect(sent.length).toBeGreaterThanOrEqual(rounds * 50)
  expect(await stored(server)).toEqual(sent)
  // And so it stays when everything has moved from the log to files.
  expect(await server.stop()).toBe(0)
  server = await ServerProcess.start(folder.path, args)
  expect(await stored(server)).toEqual(sent)
}

test('I1 I2 I3: 20 rounds of kill -9 under load, with resends, store each request once', async () => {
  await survives(20)
})

test('I2 I3: with durability relaxed, kill -9 takes nothing that was acknowledged', async () => {
  await survives(10, '--durability', 'relaxed')
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
