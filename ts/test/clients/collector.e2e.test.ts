/**
 * A Collector with its queue on disk in front of otlake, which is killed again and again under
 * load; at the end the Collector too is restarted with a full queue. Everything that telemetrygen
 * sent is there (I2), once (I3): before each kill the answers are swallowed on their way, so requests
 * that are stored come again after it.
 */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ServerProcess, temporaryFolder } from '../../testing/server.js'
import { Relay } from './relay.js'
import { BUILD_TIMEOUT_MS, clientFile, collector, run, start, telemetrygen } from './toolchain.js'

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
const ARRIVAL_TIMEOUT_MS = 90_000
/** An address of its own, so that no other program takes the port before its owner starts. */
const COLLECTOR_HOST = '127.0.0.8'

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

class CollectorProcess {
  private constructor(
    private readonly child: ChildProcess,
    readonly log: string[],
  ) {}

  static async start(environment: Record<string, string>): Promise<CollectorProcess> {
    const config = clientFile('collector/collector.yaml')
    const child = start(await collector(), ['--config', `file:${config}`], {
      env: environment,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const log: string[] = []
    await new Promise<void>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`it ended (${code}):\n${log.join('\n')}`)))
      if (child.stderr === null) throw new Error('its log is not piped')
      createInterface({ input: child.stderr }).on('line', (line) => {
        log.push(line)
        if (line.includes('Everything is ready')) resolve()
      })
    })
    return new CollectorProcess(child, log)
  }

  /** Ends it as an init system does: what it holds stays in its queue on disk. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const ended = once(this.child, 'exit')
    this.child.kill('SIGTERM')
    await ended
  }
}

async function freePort(host: string): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, host, resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

/** Asks until the answer is at least `wanted`; the last answer where that takes too long. */
async function atLeast(wanted: number, ask: () => Promise<number>): Promise<number> {
  const deadline = performance.now() + ARRIVAL_TIMEOUT_MS
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
  test('delivers everything once while otlake is killed', { timeout: 240_000 }, async () => {
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
    const generate = async (signal: string, ...args: string[]) => {
      const to = ['--otlp-endpoint', listen, '--otlp-insecure', '--service', 'generated']
      await run(await telemetrygen(), [signal, ...to, ...args])
    }
    const generated = Promise.all([
      generate(
        'traces',
        ...['--workers', `${WORKERS}`, '--traces', `${TRACES}`, '--child-spans', `${CHILDREN}`],
        ...['--rate', `${SPANS_PER_SECOND_AND_WORKER}`],
      ),
      generate('metrics', '--metrics', `${METRICS}`, '--rate', `${RECORDS_PER_SECOND}`),
      generate('logs', '--logs', `${LOGS}`, '--rate', `${RECORDS_PER_SECOND}`),
    ])
    let resent = 0
    for (let kill = 1; kill <= KILLS; kill++) {
      // Each falls into the load: the generator is far from done at this count.
      const reached = (SPANS * kill) / (KILLS + 2)
      expect(await atLeast(reached, spans)).toBeGreaterThanOrEqual(reached)
      relay.mute()
      const unanswered = (await spans()) + 1
      expect(await atLeast(unanswered, spans)).toBeGreaterThanOrEqual(unanswered)
      resent += await deduplicated(server)
      await server.kill()
      if (kill === KILLS) break
      server = await ServerProcess.start(data)
      relay.restore(address(server))
    }
    await generated
    // The Collector holds the rest, on disk alone.
    await process.stop()
    server = await ServerProcess.start(data)
    relay.restore(address(server))
    expect(await spans()).toBeLessThan(SPANS)
    process = await CollectorProcess.start(environment)

    expect(await atLeast(SPANS, spans)).toBe(SPANS)
    expect(await atLeast(METRICS, count('SELECT count(*) FROM metrics_gauge'))).toBe(METRICS)
    expect(await atLeast(LOGS, count('SELECT count(*) FROM logs'))).toBe(LOGS)
    // A stop sends or keeps what is left: nothing more came after the counts were reached.
    await process.stop()
    resent += await deduplicated(server)
    expect(resent, 'records that came again').toBeGreaterThan(0)
    const [totals] = await server.rows(
      `SELECT count(*) AS spans, count(DISTINCT span_id) AS ids, count(DISTINCT trace_id) AS traces,
         count(DISTINCT parent_span_id) AS parents FROM spans WHERE service_name = 'generated'`,
    )
    const traces = WORKERS * TRACES
    expect(totals).toEqual({ spans: SPANS, ids: SPANS, traces, parents: traces })
    expect(await server.count('SELECT count(*) FROM metrics_gauge')).toBe(METRICS)
    expect(await server.count('SELECT count(*) FROM logs')).toBe(LOGS)
  })
})
