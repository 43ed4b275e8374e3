/**
 * One fault under load: clients of all three signals that send again what was not acknowledged, and
 * clients with sessions, before it, during it and after it; then the judgement of all that they were told.
 *
 * ```ts
 * const trial = await Trial.begin('a node is cut off', cluster)
 * trial.fault()
 * await cluster.isolate('n3')
 * await trial.more(100)
 * await trial.readableAgain('n1')
 * await cluster.network.heal()
 * expect(await trial.judge()).toEqual([])
 * ```
 */

import { systemClock, systemMonotonic } from '../../base/clock.js'
import { ClusterLoad, count } from './cluster-load.js'
import type { ClusterNode, ClusterNodes } from './nodes.js'
import { Sessions } from './sessions.js'
import type { Signal } from './signals.js'

const SESSIONS = 3
/** Requests of spans that are acknowledged before a fault, and those of each signal. */
const WARM = 60
const WARM_OF_EACH = 10
/** How long a trial that failed waits for its clients to end. */
const STOP_MS = 20_000
const SEED = Number(process.env.OTLAKE_FAULTS_SEED ?? 1)

export class Trial {
  /** Of spans. There is one of metrics and one of logs beside it. */
  readonly load: ClusterLoad
  readonly sessions: Sessions
  readonly #loads: readonly ClusterLoad[]
  readonly #alone: ClusterLoad[] = []
  readonly #service: string
  #began = 0
  /** Records of each load when the fault began. */
  #acknowledged = new Map<ClusterLoad, number>()
  #recoveryMs: number | null = null

  private constructor(
    readonly name: string,
    private readonly cluster: ClusterNodes,
  ) {
    this.#service = name.replaceAll(' ', '-')
    const loads = ClusterLoad.ofEverySignal(this.#service, cluster.nodes)
    this.#loads = loads
    this.load = loads[0]
    this.sessions = new Sessions(`${this.#service}-sessions`, cluster.nodes, SESSIONS, SEED)
  }

  /** Begins with a cluster that is well, and load on it. */
  static async begin(name: string, cluster: ClusterNodes): Promise<Trial> {
    await cluster.ready()
    const trial = new Trial(name, cluster)
    for (const load of trial.#loads) load.start()
    trial.sessions.start()
    await Promise.all([trial.more(WARM), trial.moreOfEach(WARM_OF_EACH)])
    return trial
  }

  /** Clients of some nodes alone. */
  alone(nodes: readonly ClusterNode[], signal: Signal = 'traces'): ClusterLoad {
    const load = new ClusterLoad(`${this.#service}-alone-${this.#alone.length}`, nodes, signal)
    this.#alone.push(load)
    load.start()
    return load
  }

  /** From here on times are measured. */
  fault(): void {
    this.load.longestGapMs = 0
    this.sessions.longestMs = 0
    this.#acknowledged = new Map(this.#loads.map((load) => [load, load.records]))
    this.#began = systemMonotonic.monotonic()
  }

  /** Resolves when so many more requests of spans are acknowledged. */
  more(requests: number): Promise<void> {
    return this.load.more(requests)
  }

  /** Resolves when so many more requests of each signal are acknowledged. */
  async moreOfEach(requests: number): Promise<void> {
    await Promise.all(this.#loads.map((load) => load.more(requests)))
  }

  /**
   * Resolves when a strong read of a node tells all that was acknowledged before the fault with a copy
   * on a second node: spans and metrics.
   */
  async readableAgain(name: string): Promise<void> {
    for (const load of this.#loads.filter(({ signal }) => signal !== 'logs')) {
      const { rows, records } = await countOf(load, this.cluster.node(name))
      const acknowledged = this.#acknowledged.get(load) ?? 0
      if (rows === records && records >= acknowledged) continue
      const told = `${rows} rows of ${records} records of ${load.signal}`
      throw new Error(`${name} tells ${told}, where ${acknowledged} were acknowledged before`)
    }
    this.#recoveryMs = systemMonotonic.monotonic() - this.#began
  }

  /**
   * When the fault is over: waits for every client's last request, has every session read at every
   * node, and tells whatever is not as it should be.
   */
  async judge(): Promise<string[]> {
    const loads = [...this.#loads, ...this.#alone]
    await Promise.all([this.sessions, ...loads].map((each) => each.end()))
    await this.cluster.ready()
    // A log record may have been acknowledged by a node that was then gone, and be on its disk alone.
    await this.cluster.settled()
    const found: string[] = []
    for (const load of loads) {
      for (const node of this.cluster.running) {
        const { rows, records } = await countOf(load, node)
        if (rows === load.records && records === load.records) continue
        const told = `${rows} rows of ${records} ${load.signal} of ${load.service}`
        found.push(`${node.name} tells ${told}, where ${load.records} were acknowledged`)
      }
    }
    await this.sessions.readEverywhere(this.cluster.running)
    for (const { promise, message } of this.sessions.violations()) {
      found.push(`${promise}: ${message}`)
    }
    found.push(...(await this.cluster.violations()))
    this.#tell()
    return found
  }

  /** Ends the clients, however the trial went: the next one begins without them. */
  async stop(): Promise<void> {
    const clients = [this.sessions, ...this.#loads, ...this.#alone].map((each) => each.end())
    await Promise.race([Promise.allSettled(clients), systemClock.sleep(STOP_MS)])
  }

  #tell(): void {
    const { writes, reads, handovers } = this.sessions.counts
    const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`
    const readable =
      this.#recoveryMs === null ? '' : `all readable again after ${seconds(this.#recoveryMs)}, `
    const measured = `${readable}no acknowledgement for at most ${seconds(this.load.longestGapMs)}, a session waited for at most ${seconds(this.sessions.longestMs)}`
    const records = this.#loads.map((load) => `${load.records} ${load.signal}`).join(', ')
    const done = `${records}; of sessions ${writes} writes, ${reads} reads, ${handovers} tokens handed on; seed ${SEED}`
    process.stderr.write(`${this.name}: ${measured} (${done})\n`)
  }
}

/** What a node has of a load. */
const countOf = (load: ClusterLoad, node: ClusterNode) => count(node, load.service, {}, load.signal)
