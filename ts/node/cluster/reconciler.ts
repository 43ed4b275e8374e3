/**
 * Brings the native side to what the controller decides: at each change of the members and every
 * `RECONCILE_MS`, from whatever is by then. A round that fails is followed by the next one; nothing is
 * remembered that the next round could not find out again.
 */

import type { Monotonic } from '../../base/clock.js'
import { type Clock, systemMonotonic } from '../../base/clock.js'
import { OtlakeError } from '../../base/errors.js'
import { Controller, type Decision } from '../../cluster/controller/controller.js'
import type { ControllerSettings, NodeView } from '../../cluster/controller/situation.js'
import type { Membership } from '../../cluster/membership.js'
import { nodeView } from '../../cluster/node-state.js'
import {
  type Metadata,
  type NativeCluster,
  type RecoveryReport,
  type ReplicationStatus,
  readMetadata,
  readReplication,
} from '../../native/cluster.js'
import type { Logger } from '../node.js'

export const RECONCILE_MS = 500

/** How recoveries ended, and shards that moved, since the start. */
export interface ReconcileCounts {
  moves: number
  recoveries: { complete: number; incomplete: number; failed: number }
  recoveredRecords: number
  failedRounds: number
}

/** What one round saw and decided. */
export interface Round {
  readonly decision: Decision
  readonly metadata: Metadata
  readonly replication: ReplicationStatus
  readonly members: readonly NodeView[]
}

export interface ReconcilerOptions {
  readonly membership: Membership
  readonly native: NativeCluster
  readonly settings: ControllerSettings
  readonly clock: Clock
  readonly monotonic?: Monotonic
  readonly log: Logger
  /** Called after each round. */
  readonly onRound: (round: Round) => void
}

/** What the members are asked for when any of these happens. */
const EVENTS = ['alive', 'suspect', 'failed', 'left', 'updated'] as const

export class Reconciler {
  readonly counts: ReconcileCounts = {
    moves: 0,
    recoveries: { complete: 0, incomplete: 0, failed: 0 },
    recoveredRecords: 0,
    failedRounds: 0,
  }
  readonly #options: ReconcilerOptions
  readonly #monotonic: Monotonic
  readonly #controller: Controller
  readonly #running = new Map<string, Promise<RecoveryReport>>()
  #placed = ''
  #owners: unknown = null
  #last: Round | null = null
  #isAsked = false
  #isFailing = false
  #stop: () => void = () => undefined
  #isStopped = true

  constructor(options: ReconcilerOptions) {
    this.#options = options
    this.#monotonic = options.monotonic ?? systemMonotonic
    this.#controller = new Controller(options.settings)
  }

  /** The last round that came to an end; null before the first. */
  get last(): Round | null {
    return this.#last
  }

  start(): void {
    const { membership, clock } = this.#options
    const ask = () => this.#ask()
    for (const event of EVENTS) membership.on(event, ask)
    const stopTimer = clock.every(RECONCILE_MS, () => this.round())
    this.#isStopped = false
    this.#stop = () => {
      for (const event of EVENTS) membership.off(event, ask)
      stopTimer()
      this.#isStopped = true
    }
    this.round()
  }

  /** No round begins any more; recoveries that run are waited for. */
  async stop(): Promise<void> {
    this.#stop()
    await Promise.allSettled(this.#running.values())
  }

  /** One round, at once. */
  round(): void {
    if (this.#isStopped) return
    try {
      this.#round()
      if (this.#isFailing) this.#options.log.info({}, 'the cluster can be told again')
      this.#isFailing = false
    } catch (thrown) {
      const error = OtlakeError.from(thrown)
      this.counts.failedRounds++
      // Every half second the same is said once.
      if (!this.#isFailing) {
        this.#options.log.warn({ code: error.code }, `the cluster was not told: ${error.message}`)
      }
      this.#isFailing = true
    }
  }

  /** Recovers a stream now, or joins in where that runs already. */
  recover(stream: string): Promise<RecoveryReport> {
    const running = this.#running.get(stream)
    if (running !== undefined) return running
    const work = this.#recover(stream).finally(() => this.#running.delete(stream))
    this.#running.set(stream, work)
    return work
  }

  /** Several changes at once are one round. */
  #ask(): void {
    if (this.#isAsked) return
    this.#isAsked = true
    queueMicrotask(() => {
      this.#isAsked = false
      this.round()
    })
  }

  #round(): void {
    const { membership, native, onRound } = this.#options
    const metadata = readMetadata(native.metadata())
    const replication = readReplication(native.status())
    const members = membership
      .members()
      .map((member) => nodeView(member, membership.registers(member.name)))
    const decision = this.#controller.decide({
      now: this.#monotonic.monotonic(),
      self: membership.self.name,
      members,
      metadata,
      silent: new Set(replication.followers.flatMap((it) => (it.connected ? [] : [it.name]))),
    })
    // The first round takes what is; only what changes hands later has moved.
    if (this.#last !== null) this.counts.moves += decision.moved
    const round = { decision, metadata, replication, members }
    this.#last = round
    for (const stream of decision.recover) void this.recover(stream).catch(() => undefined)
    const { owners, ...others } = decision.view
    const placed = JSON.stringify(others)
    if (owners !== this.#owners || placed !== this.#placed) {
      native.place(decision.view)
      this.#owners = owners
      this.#placed = placed
    }
    onRound(round)
  }

  async #recover(stream: string): Promise<RecoveryReport> {
    const { native, log } = this.#options
    log.info({ stream }, 'recovering a stream')
    try {
      const report = await native.recover(stream)
      const { complete, records, missingFrom } = report
      this.counts.recoveries[complete ? 'complete' : 'incomplete']++
      this.counts.recoveredRecords += records
      this.#controller.recovered(this.#monotonic.monotonic(), stream, complete)
      if (complete) log.info({ stream, records }, 'stream recovered')
      else {
        const said = 'stream recovered in part: nodes with copies of it do not answer'
        log.warn({ stream, records, missingFrom }, said)
      }
      return report
    } catch (thrown) {
      const error = OtlakeError.from(thrown)
      this.counts.recoveries.failed++
      this.#controller.recovered(this.#monotonic.monotonic(), stream, false)
      log.warn({ stream, code: error.code }, `stream not recovered: ${error.message}`)
      throw error
    }
  }
}
