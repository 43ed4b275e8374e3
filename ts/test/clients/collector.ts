/** A Collector of clients/collector in a process of its own, and what it counts of itself. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { clientFile, collector, start } from './toolchain.js'

/** An address of its own, so that no other program takes a port before its owner starts. */
export const COLLECTOR_HOST = '127.0.0.8'

/** What the Collector calls the records of each signal. */
const RECORDS = { traces: 'spans', metrics: 'metric_points', logs: 'log_records' } as const

export type Signal = keyof typeof RECORDS

/** A Collector's own counters of one signal, in records, since it started. */
export interface Passed {
  /** Taken from clients, who were told so. */
  accepted: number
  /** Not taken from clients, who were told so, for whatever reason. */
  refused: number
  /** Taken, and lost on the way into the queue. */
  unqueued: number
  /** Acknowledged by the exporter's server. */
  sent: number
  /** Given up on by the exporter; what a stop interrupts counts, too, and stays in the queue. */
  failed: number
}

export class CollectorProcess {
  private constructor(
    private readonly child: ChildProcess,
    private readonly counters: string,
    readonly log: string[],
  ) {}

  /** Starts one with collector.yaml, which says what `environment` is to have. */
  static async start(environment: Record<string, string>): Promise<CollectorProcess> {
    const port = await freePort(COLLECTOR_HOST)
    const prometheus = { host: COLLECTOR_HOST, port }
    const metrics = { level: 'basic', readers: [{ pull: { exporter: { prometheus } } }] }
    const files = ['--config', `file:${clientFile('collector/collector.yaml')}`]
    const child = start(await collector(), [...files, '--config', 'env:COUNTERS'], {
      // YAML has JSON in it.
      env: { ...environment, COUNTERS: JSON.stringify({ service: { telemetry: { metrics } } }) },
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
    return new CollectorProcess(child, `http://${COLLECTOR_HOST}:${port}/metrics`, log)
  }

  /** What it has counted so far. */
  async counted(): Promise<Record<Signal, Passed>> {
    const text = await (await fetch(this.counters)).text()
    const sum = (counter: string) => {
      const line = new RegExp(`^otelcol_${counter}(?:_total)?(?:\\{.*\\})? (\\S+)$`, 'gm')
      return [...text.matchAll(line)].reduce((total, [, value]) => total + Number(value), 0)
    }
    const passed = (signal: Signal): Passed => ({
      accepted: sum(`receiver_accepted_${RECORDS[signal]}`),
      refused: sum(`receiver_(?:refused|failed)_${RECORDS[signal]}`),
      unqueued: sum(`exporter_enqueue_failed_${RECORDS[signal]}`),
      sent: sum(`exporter_sent_${RECORDS[signal]}`),
      failed: sum(`exporter_send_failed_${RECORDS[signal]}`),
    })
    return { traces: passed('traces'), metrics: passed('metrics'), logs: passed('logs') }
  }

  /** Ends it as an init system does: what it holds stays in its queue on disk. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const ended = once(this.child, 'exit')
    this.child.kill('SIGTERM')
    await ended
  }
}

/** A port that nobody listens at. */
export async function freePort(host: string): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, host, resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}
