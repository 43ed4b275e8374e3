/**
 * Nobody starves anybody (I5), through real sockets: queries that would never end leave ingest its
 * speed, ingest at full load leaves queries theirs, and one connection with many calls leaves room
 * for another of the same tenant.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { detach, inject } from '../testing/kernel-faults.js'
import {
  grpcExport,
  grpcSession,
  keptAgent,
  metric,
  post,
  postUntilTaken,
  settles,
  spansRequest,
} from '../testing/load.js'
import { ServerProcess, set, temporaryFolder } from '../testing/server.js'

const MIB = 1024 * 1024
const CONCURRENCY = 8
/** Rows of six tables that are the same one: more than any machine counts. */
const ENDLESS = `SELECT sum(a.kind + b.kind + c.kind + d.kind + e.kind + f.kind)
  FROM spans a, spans b, spans c, spans d, spans e, spans f WHERE a.kind + f.kind > -1`
/** A generous bound for a machine where others work, too. */
const ACK_P99_MS = 1000
const SMALL_QUERY_MS = 5000
const IMPATIENCE_MS = 25

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  await server?.kill()
  await folder.remove()
})

async function start(settings: Record<string, number>): Promise<void> {
  server = await ServerProcess.start(folder.path, set(settings))
}

const percentile = (sorted: number[], part: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0

test('I5: as many endless queries as may run leave ingest its speed', async () => {
  await start({ 'query.concurrency': CONCURRENCY, 'query.timeout_ms': 60_000 })
  await postUntilTaken(server, spansRequest('crossed', 0, 200, 10))
  const stop = new AbortController()
  const path = `/api/v1/sql?query=${encodeURIComponent(ENDLESS)}`
  const endless = Array.from({ length: CONCURRENCY }, () =>
    fetch(server.url(path), { signal: stop.signal }).then(
      (answer) => answer.text(),
      () => 'stopped',
    ),
  )
  while ((await metric(server, 'otlake_queries_running')) < CONCURRENCY) await sleep(IMPATIENCE_MS)
  const waits: number[] = []
  await Promise.all(
    Array.from({ length: 4 }, async (_, client) => {
      const agent = keptAgent()
      for (let number = 1; number <= 100; number++) {
        const body = spansRequest('beside', client * 1000 + number, 10, 100)
        const started = performance.now()
        expect((await post(server, body, { agent })).status).toBe(200)
        waits.push(performance.now() - started)
      }
      agent.destroy()
    }),
  )
  // They ran all the time.
  expect(await metric(server, 'otlake_queries_running')).toBe(CONCURRENCY)
  stop.abort()
  expect(await Promise.all(endless)).toEqual(endless.map(() => 'stopped'))
  waits.sort((a, b) => a - b)
  const [p50, p99] = [percentile(waits, 0.5), percentile(waits, 0.99)].map(Math.round)
  console.log(JSON.stringify({ what: 'acknowledgements beside queries', p50, p99 }))
  expect(p99).toBeLessThan(ACK_P99_MS)
  await settles(server, 'otlake_queries_running')
  expect(await server.count("SELECT count(*) FROM spans WHERE service_name = 'beside'")).toBe(4000)
})

test('I5: ingest at full load leaves queries theirs', async () => {
  await start({})
  await postUntilTaken(server, spansRequest('small', 0, 100, 10))
  let done = false
  let sent = 0
  const senders = Array.from({ length: 16 }, async (_, client) => {
    const agent = keptAgent()
    for (let number = 1; !done; number++) {
      await postUntilTaken(server, spansRequest('load', client * 100_000 + number, 200, 200), {
        agent,
      })
      sent += 1
    }
    agent.destroy()
  })
  const waits: number[] = []
  try {
    for (let number = 0; number < 20; number++) {
      const started = performance.now()
      const found = await server.count("SELECT count(*) FROM spans WHERE service_name = 'small'")
      waits.push(performance.now() - started)
      expect(found).toBe(100)
    }
  } finally {
    done = true
    await Promise.all(senders)
  }
  const longest = Math.round(Math.max(...waits))
  console.log(JSON.stringify({ what: 'queries beside ingest', longest, sent }))
  expect(longest).toBeLessThan(SMALL_QUERY_MS)
})

test('I5: a connection with 200 calls at once leaves room for another of its tenant', async () => {
  await start({
    'live.max_bytes': 24 * MIB,
    'receive.max_request_bytes': 8 * MIB,
    'receive.max_in_flight_bytes': 16 * MIB,
    'flush.bytes': 8 * MIB,
    'flush.interval_ms': 500,
  })
  // However fast the machine's disk is, this one is slower than they.
  const slow = await inject(server, 'fdatasync,fsync:delay_enter=50000')
  const session = grpcSession(server)
  let done = false
  let refusals = 0
  const greedy = Promise.all(
    Array.from({ length: 200 }, async (_, call) => {
      for (let round = 0; round < 3; round++) {
        const body = spansRequest('many', call + 1000 * round, 100, 2000)
        for (;;) {
          const { code, details } = await grpcExport(session, body)
          if (code === 0) break
          expect(code).toBe(14)
          expect(details.includes('google.rpc.RetryInfo')).toBe(true)
          refusals += 1
          await sleep(IMPATIENCE_MS)
        }
      }
    }),
  ).finally(() => {
    done = true
  })
  const modest = { sent: 0, refused: 0 }
  const agent = keptAgent()
  while (!done) {
    const body = spansRequest('one', 500_000 + modest.sent++, 10, 100)
    modest.refused += await postUntilTaken(server, body, { agent })
  }
  agent.destroy()
  await greedy
  session.close()
  await detach(slow)
  console.log(JSON.stringify({ what: 'one connection beside another', refusals, ...modest }))
  expect(refusals, 'the load reached the limit').toBeGreaterThan(0)
  expect(modest.sent).toBeGreaterThan(10)
  expect(modest.refused).toBeLessThan(5 + modest.sent / 10)
  const stored = (service: string) =>
    server.count('SELECT count(DISTINCT span_id) FROM spans WHERE service_name = $1', [service])
  expect(await stored('many')).toBe(200 * 3 * 100)
  expect(await stored('one')).toBe(modest.sent * 10)
  expect(await metric(server, 'otlake_invariant_violations_total')).toBe(0)
})
