/**
 * A Collector with its queue on disk in front of otlake, which is killed again and again under
 * load; at the end the Collector too is restarted with a full queue. Everything that telemetrygen
 * sent is there (I2), once (I3): before each kill the answers are swallowed on their way, so requests
 * that are stored come again after it.
 */

import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ServerProcess, temporaryFolder } from '../../testing/server.js'
import { COLLECTOR_HOST, CollectorProcess, freePort, type Signal } from './collector.js'
import { whoLost } from './ledger.js'
import { Relay } from './relay.js'
import { BUILD_TIMEOUT_MS, collector, generate, telemetrygen } from './toolchain.js'

const KILLS = 5
const WORKERS = 2
const TRACES = 8_000
const CHILDREN = 2
const SPANS = WORKERS * TRACES * (1 + CHILDREN)
/** Slow enough that every kill falls into the load, however long a start takes. */
const SPANS_PER_SECOND_AND_WORKER = 600
const METRICS = 4_000
const LOGS = 4_000
const RECORDS_PER_SECOND = 500
const POLL_MS = 50
const ARRIVAL_TIMEOUT_MS = 300_000
/** How long a kill waits for one more request that is stored and not answered. */
const UNANSWERED_MS = 5_000
/** On a machine that is busy with much else; a quiet one takes a tenth. */
const TEST_TIMEOUT_MS = 600_000
/** How many there are of each signal, where they are, and the column in which no two are alike. */
const RECORDS = {
  traces: { what: 'spans', count: SPANS, table: 'spans', identity: 'span_id' },
  metrics: { what: 'points', count: METRICS, table: 'metrics_gauge', identity: 'value_int' },
  logs: { what: 'log records', count: LOGS, table: 'logs', identity: 'time_unix_nano' },
} as const
const SIGNALS = Object.keys(RECORDS) as Signal[]

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess | undefined
let relay: Relay | undefined
let process: CollectorProcess | undefined

beforeAll(async () => {
  await collector()
  await telemetrygen()
}, BUILD_TIMEOUT_MS)

afterEach(async () => {
  await process?.stop()
  await relay?.close()
  await server?.kill()
  await folder?.remove()
})

/** Asks until the answer is at least `wanted`; the last answer where that takes too long. */
async function atLeast(
  wanted: number,
  ask: () => Promise<number>,
  timeoutMs = ARRIVAL_TIMEOUT_MS,
): Promise<number> {
  const deadline = performance.now() + timeoutMs
  let answer = await ask()
  while (answer < wanted && performance.now() < deadline) {
    await pause(POLL_MS)
    answer = await ask()
  }
  return answer
}

/** The records that this process recognised as sent before. */
async function deduplicated(node: ServerProcess): Promise<number> {
  const metrics = await (await fetch(node.url('/metrics'))).text()
  const samples = metrics.matchAll(/^otlake_records_deduplicated_total\S* (\d+)/gm)
  return [...samples].reduce((sum, [, value]) => sum + Number(value), 0)
}

describe.each(['otlp', 'otlphttp'] as const)('a Collector with the exporter %s', (exporter) => {
  test('delivers everything once while otlake is killed', {
    timeout: TEST_TIMEOUT_MS,
  }, async () => {
    folder = await temporaryFolder()
    const data = join(folder.path, 'data')
    const address = (node: ServerProcess) =>
      exporter === 'otlp' ? node.addresses.otlpGrpc : node.addresses.otlpHttp
    const listen = `${COLLECTOR_HOST}:${await freePort(COLLECTOR_HOST)}`
    server = await ServerProcess.start(data)
    relay = await Relay.start(address(server))
    const environment = {
      OTLAKE: relay.address,
      EXPORTER: exporter,
      LISTEN: listen,
      QUEUE_DIRECTORY: join(folder.path, 'queue'),
    }
    process = await CollectorProcess.start(environment)

    const count = (statement: string) => async () => (await server?.count(statement)) ?? 0
    const spans = count('SELECT count(*) FROM spans')
    const to = ['--otlp-endpoint', listen, '--otlp-insecure', '--service', 'generated']
    const traces = ['--workers', `${WORKERS}`, '--traces', `${TRACES}`]
    const spansEach = ['--child-spans', `${CHILDREN}`, '--rate', `${SPANS_PER_SECOND_AND_WORKER}`]
    const rate = ['--rate', `${RECORDS_PER_SECOND}`]
    const generated = Promise.all([
      generate('traces', [...to, ...traces, ...spansEach]),
      generate('metrics', [...to, '--metrics', `${METRICS}`, ...rate]),
      generate('logs', [...to, '--logs', `${LOGS}`, ...rate]),
    ])
    let resent = 0
    for (let kill = 1; kill <= KILLS; kill++) {
      // Each falls into the load: the generator is far from done at this count.
      const reached = (SPANS * kill) / (KILLS + 2)
      expect(await atLeast(reached, spans)).toBeGreaterThanOrEqual(reached)
      relay.mute()
      // Where nothing more comes, all that the Collector has under way was stored before this count.
      await atLeast((await spans()) + 1, spans, UNANSWERED_MS)
      resent += await deduplicated(server)
      await server.kill()
      if (kill === KILLS) break
      server = await ServerProcess.start(data)
      relay.restore(address(server))
    }
    const [madeTraces, madeMetrics, madeLogs] = await generated
    const made = {
      traces: { ...madeTraces, made: madeTraces.made * (1 + CHILDREN) },
      ...{ metrics: madeMetrics, logs: madeLogs },
    }
    // Nothing is acknowledged to it any more: these counters are its last.
    const first = await process.counted()
    // The Collector holds the rest, on disk alone.
    await process.stop()
    server = await ServerProcess.start(data)
    relay.restore(address(server))
    expect(await spans()).toBeLessThan(SPANS)
    process = await CollectorProcess.start(environment)

    let second = await process.counted()
    for (const signal of SIGNALS) {
      const left = first[signal].accepted - first[signal].sent
      await atLeast(left, async () => {
        second = await (process as CollectorProcess).counted()
        return second[signal].sent
      })
    }
    // A stop sends or keeps what is left: nothing more comes after the counts.
    await process.stop()
    resent += await deduplicated(server)
    expect(resent, 'records that came again').toBeGreaterThan(0)
    const lost: string[] = []
    for (const signal of SIGNALS) {
      const { what, count: wanted, table, identity } = RECORDS[signal]
      expect(made[signal].made, what).toBe(wanted)
      const [row] = await server.rows<{ stored: number; different: number }>(
        `SELECT count(*) AS stored, count(DISTINCT ${identity}) AS different FROM ${table}
         WHERE service_name = 'generated'`,
      )
      lost.push(
        ...whoLost({
          ...{ what, ...made[signal], first: first[signal], second: second[signal] },
          ...{ stored: Number(row?.stored), distinct: Number(row?.different) },
        }),
      )
    }
    expect(lost).toEqual([])
    const [totals] = await server.rows(
      `SELECT count(DISTINCT trace_id) AS traces, count(DISTINCT parent_span_id) AS parents FROM spans`,
    )
    expect(totals).toEqual({ traces: WORKERS * TRACES, parents: WORKERS * TRACES })
  })
})
