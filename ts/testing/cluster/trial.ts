/**
 * One fault under load: clients that send again what was not acknowledged, and clients with sessions,
 * before it, during it and after it; then the judgement of all that they were told.
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

const SESSIONS = 3
/** Requests that are acknowledged before a fault. */
const WARM = 60
/** How long a trial that failed waits for its clients to end. */
const STOP_MS = 20_000
const SEED = Number(process.env.OTLAKE_FAULTS_SEED ?? 1)

export class Trial {
  readonly load: ClusterLoad
  readonly sessions: Sessions
  readonly #others: ClusterLoad[] = []
  readonly #service: string
  #began = 0
  #acknowledged = 0
  #recoveryMs: number | null = null

  private constructor(
    readonly name: string,
    private readonly cluster: ClusterNodes,
  ) {
    this.#service = name.replaceAll(' ', '-')
    this.load = new ClusterLoad(this.#service, cluster.nodes)
    this.sessions = new Sessions(`${this.#service}-sessions`, cluster.nodes, SESSIONS, SEED)
  }

  /** Begins with a cluster that is well, and load on it. */
  static async begin(name: string, cluster: ClusterNodes): Promise<Trial> {
    await cluster.ready()
    const trial = new Trial(name, cluster)
    trial.load.start()
    trial.sessions.start()
    await trial.load.more(WARM)
    return trial
  }

  /** Clients of some nodes alone. */
  alone(nodes: readonly ClusterNode[]): ClusterLoad {
    const load = new ClusterLoad(`${this.#service}-alone-${this.#others.length}`, nodes)
    this.#others.push(load)
    load.start()
    return load
  }

  /** From here on times are measured. */
  fault(): void {
    this.load.longestGapMs = 0
    this.sessions.longestMs = 0
    this.#acknowledged = this.load.spans
    this.#began = systemMonotonic.monotonic()
  }

  /** Resolves when so many more requests are acknowledged. */
  more(requests: number): Promise<void> {
    return this.load.more(requests)
  }

  /** Resolves when a strong read of a node tells all that was acknowledged before the fault. */
  async readableAgain(name: string): Promise<void> {
    const { rows, spans } = await count(this.cluster.node(name), this.#service)
    if (rows !== spans || spans < this.#acknowledged) {
      const told = `${rows} rows of ${spans} spans`
      throw new Error(`${name} tells ${told}, where ${this.#acknowledged} were acknowledged before`)
    }
    this.#recoveryMs = systemMonotonic.monotonic() - this.#began
  }

  /**
   * When the fault is over: waits for every client's last request, has every session read at every
   * node, and tells whatever is not as it should be.
   */
  async judge(): Promise<string[]> {
    await Promise.all([this.load, this.sessions, ...this.#others].map((each) => each.end()))
    await this.cluster.ready()
    const found: string[] = []
    for (const load of [this.load, ...this.#others]) {
      for (const node of this.cluster.running) {
        const { rows, spans } = await count(node, load.service)
        if (rows === load.spans && spans === load.spans) continue
        const told = `${rows} rows of ${spans} spans of ${load.service}`
        found.push(`${node.name} tells ${told}, where ${load.spans} were acknowledged`)
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
    const clients = [this.load, this.sessions, ...this.#others].map((each) => each.end())
    await Promise.race([Promise.allSettled(clients), systemClock.sleep(STOP_MS)])
  }

  #tell(): void {
    const { writes, reads, handovers } = this.sessions.counts
    const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`
    const readable =
      this.#recoveryMs === null ? '' : `all readable again after ${seconds(this.#recoveryMs)}, `
    const measured = `${readable}no acknowledgement for at most ${seconds(this.load.longestGapMs)}, a session waited for at most ${seconds(this.sessions.longestMs)}`
    const done = `${this.load.spans} spans; of sessions ${writes} writes, ${reads} reads, ${handovers} tokens handed on; seed ${SEED}`
    process.stderr.write(`${this.name}: ${measured} (${done})\n`)
  }
}
