/**
 * A node's place in a cluster, as a part of the node:
 *
 * ```
 *  start   name and known members from the data folder
 *          the native side (its address is told to others), then gossip
 *          join; begin the metadata group, or wait for one          joining.ts
 *          the node's stream is registered: ready
 *  run     members and metadata ──▶ controller ──▶ native side      reconciler.ts
 *          load, disk and services ──▶ gossip                        reports.ts
 *  drain   told to all; others take the shards; flush, seal
 *  stop    leave, close
 * ```
 *
 * A start does not wait for ever: a node that finds no group is there all the same, says so at
 * /health and /ready, refuses what needs a quorum with retryable codes, and goes on trying.
 */

import { type Clock, type Monotonic, systemMonotonic } from '../../base/clock.js'
import { OtlakeError } from '../../base/errors.js'
import { splitAddress } from '../../base/http/port.js'
import { type Random, systemRandom } from '../../base/random.js'
import type { Membership } from '../../cluster/membership.js'
import { toNodeRegisters } from '../../cluster/node-state.js'
import type { Engine } from '../../native/binding.js'
import {
  type Metadata,
  type NativeCluster,
  type NativeClusterConfig,
  type ReplicationStatus,
  readMetadata,
} from '../../native/cluster.js'
import type { Addresses } from '../../query/page.js'
import { type ClusterConfig, hostPort, isWildcard } from '../cluster-config.js'
import type { Check, CheckState } from '../health.js'
import type { Part } from '../lifecycle.js'
import type { Logger } from '../node.js'
import { mostAsked } from '../quorum-config.js'
import { keepKnown, reporting } from './chores.js'
import { isGivenAway, isLast } from './drain.js'
import { controllerSettings, secretOf, startGossip } from './gossip.js'
import { knownMembers, nodeName } from './identity.js'
import { Joining } from './joining.js'
import type { PortPart } from './port.js'
import { problems } from './problems.js'
import { Reconciler, type Round } from './reconciler.js'
import { systemSources } from './reports.js'

/** How long a start waits to be ready before the node goes on without. */
export const START_WAIT_MS = 5000
/** How often a node says how it is. */
const REPORT_MS = 5000
/** How often the node looks whether it begins the group, and asks again to be ready. */
const RETRY_MS = 500
/** How often the known members are written down. */
const KEEP_MS = 10_000
/** How long the others have to see that nothing belongs to a node any more before it seals its stream. */
const SETTLE_MS = 1000
/** How long a lock of `alone` holds without its node. What runs longer is safe, and may be doubled. */
const LOCK_MS = 600_000
/** How long a node that leaves tells the others. */
const LEAVE_WAIT_MS = 5000

export type ClusterState = 'new' | 'waiting' | 'ready' | 'draining' | 'drained' | 'left'

export interface ClusterPartOptions {
  readonly config: ClusterConfig
  readonly dataDir: string
  readonly graceMs: number
  readonly roles: readonly string[]
  readonly engine: () => Engine
  readonly port: PortPart
  readonly checks: () => readonly CheckState[]
  readonly log: Logger
  /** Others have taken the node's stream over: it has to start anew, with another. */
  readonly onFenced: () => void
  readonly clock: Clock
  readonly monotonic?: Monotonic
  readonly random?: Random
  /** The native side; a test gives its own. */
  readonly startNative?: (engine: Engine, config: NativeClusterConfig) => Promise<NativeCluster>
}

export class ClusterPart implements Part {
  readonly name = 'cluster'
  /** Health is to be seen while it waits, and a call answered when it has left. */
  readonly needs = ['storage', 'port', 'http', 'control']
  readonly #options: ClusterPartOptions
  readonly #clock: Clock
  readonly #stops: (() => void)[] = []
  #membership: Membership | undefined
  #native: NativeCluster | undefined
  #reconciler: Reconciler | undefined
  #joining: Joining | undefined
  #state: ClusterState = 'new'
  #isRegistered = false
  #isStopped = false
  #conflict: string | null = null
  #suspicions = 0
  #isFenced = false
  #lastError: string | null = null
  #drained: Promise<void> | null = null

  constructor(options: ClusterPartOptions) {
    this.#options = options
    this.#clock = options.clock
  }

  get state(): ClusterState {
    return this.#state
  }

  /** Whether it has begun: there is a membership, and a native side. */
  get hasJoined(): boolean {
    return this.#reconciler !== undefined
  }

  /** Whether others have taken its stream over, as they do with that of a node that is dead. */
  get isFenced(): boolean {
    return this.#isFenced
  }

  /** How often a member was suspected. */
  get suspicions(): number {
    return this.#suspicions
  }

  /** Throws `NODE_STATE` before the start. */
  get membership(): Membership {
    if (!this.#membership) throw new OtlakeError('NODE_STATE', 'the node has not joined yet')
    return this.#membership
  }

  /** Throws `NODE_STATE` before the start. */
  get native(): NativeCluster {
    if (!this.#native) throw new OtlakeError('NODE_STATE', 'the node has not joined yet')
    return this.#native
  }

  /** Throws `NODE_STATE` before the start. */
  get reconciler(): Reconciler {
    if (!this.#reconciler) throw new OtlakeError('NODE_STATE', 'the node has not joined yet')
    return this.#reconciler
  }

  /** What the last round saw; null before the first. */
  get round(): Round | null {
    return this.#reconciler?.last ?? null
  }

  /** Whether the node takes requests: registered, with a leader, and staying. */
  get isReady(): boolean {
    const leader = this.round?.metadata.leader ?? ''
    return this.#state === 'ready' && leader !== '' && !this.#isFenced
  }

  /** What is not as it should be, in words; empty: all is well. */
  get problems(): string[] {
    const { config } = this.#options
    if (this.#membership === undefined || this.round === null)
      return ['the node has not joined yet']
    return problems({
      round: this.round,
      self: this.membership.self.name,
      quorum: config.quorum,
      tenants: config.tenants,
      allowDegraded: config.allowDegraded,
      conflict: this.#conflict,
      isRegistered: this.#isRegistered,
      isFenced: this.#isFenced,
      waiting: this.round.metadata.group === '' ? (this.#joining?.why() ?? null) : null,
      lastError: this.#lastError,
    })
  }

  /** The node's health as one of a cluster: the group can be reached, and the node is not alone. */
  get check(): Check {
    return {
      name: 'cluster',
      run: async () => {
        const found = this.#state === 'new' || this.#state === 'left' ? [] : this.problems
        if (found.length > 0) throw new Error(found.join('; '))
      },
    }
  }

  async start(): Promise<void> {
    try {
      await this.#start()
    } catch (error) {
      // What has begun would keep the process.
      await this.stop().catch(() => undefined)
      throw error
    }
  }

  async #start(): Promise<void> {
    const { config, dataDir, engine, port, log, random = systemRandom } = this.#options
    for (const warning of config.warnings) log.warn({}, warning)
    const name = await nodeName(dataDir, config.node, random)
    const known = config.rejoin ? await knownMembers(dataDir) : []
    const start = this.#options.startNative ?? ((on, given) => on.startCluster(given))
    this.#native = await start(engine(), {
      name,
      cluster: config.name,
      listen: config.peer,
      secret: secretOf(config),
      quorum: config.quorum,
      tenants: config.tenants,
      allowDegraded: config.allowDegraded,
    })
    this.#membership = this.#gossip(name, this.#native)
    // A broken connection is the first sign of an end: the machine is asked, and probes go on as ever.
    this.#native.watch((lost) => this.#membership?.check(lost))
    this.#state = 'waiting'
    this.#reconciler = new Reconciler({
      membership: this.#membership,
      native: this.#native,
      settings: controllerSettings(config),
      clock: this.#clock,
      ...(this.#options.monotonic ? { monotonic: this.#options.monotonic } : {}),
      log,
      onRound: (round) => this.#afterRound(round),
    })
    this.#joining = new Joining({
      config,
      port,
      membership: this.#membership,
      native: this.#native,
      log,
      round: () => this.round,
      onBegun: () => this.reconciler.round(),
      onFailed: (what, thrown) => this.#failed(what, thrown),
    })
    this.#reconciler.start()
    await this.#joining.join(known)
    const report = reporting({
      membership: this.#membership,
      sources: systemSources(dataDir, this.#options.checks, () => engine().metrics()),
      monotonic: this.#options.monotonic ?? systemMonotonic,
      log,
    })
    this.#stops.push(
      this.#clock.every(RETRY_MS, () => void this.#joining?.bootstrap()),
      this.#clock.every(KEEP_MS, () => void this.#keepMembers()),
      this.#clock.every(REPORT_MS, () => void report()),
    )
    const registered = this.#register()
    log.info({ node: name, cluster: config.name, address: port.address }, 'joining the cluster')
    await Promise.race([registered, this.#clock.sleep(START_WAIT_MS)])
    if (!this.#isRegistered) {
      log.warn({ problems: this.problems }, 'not ready yet: the node goes on trying')
    }
  }

  /** Tells the others where this node's servers are. */
  tell(addresses: Addresses): void {
    const { otlpGrpc, otlpHttp, http, flight } = addresses
    const told = Object.entries({ otlp: otlpGrpc, otlp_http: otlpHttp, http, flight })
      .filter((entry): entry is [string, string] => entry[1] !== null)
      .map(([protocol, address]) => [protocol, this.#reachable(address)])
    this.membership.setLocalState({ addresses: Object.fromEntries(told) })
  }

  /**
   * Gives away what the node has: all are told, its shards go to others, what it has acknowledged is
   * written to files and its stream sealed. It stays a member. Once; a second call waits for the
   * first.
   */
  drain(): Promise<void> {
    this.#drained ??= this.#drain()
    return this.#drained
  }

  /**
   * Does what only one node may do at a time: on the one that leads the metadata group, under a lock,
   * in case two believe that they do. Elsewhere, or where the lock is held, it is left out.
   */
  async alone(what: string, work: () => Promise<void>): Promise<void> {
    const leads = this.round?.metadata.leader === this.membership.self.name
    if (!leads || this.#state !== 'ready') return
    let token: bigint
    try {
      token = await this.native.lock(what, LOCK_MS)
    } catch (thrown) {
      const { code, message } = OtlakeError.from(thrown)
      this.#options.log.debug({ code }, `${what} are left out: ${message}`)
      return
    }
    try {
      await work()
    } finally {
      await this.native.unlock(what, token).catch((thrown) => {
        const { code, message } = OtlakeError.from(thrown)
        this.#options.log.debug({ code }, `the lock of ${what} ends by itself: ${message}`)
      })
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    for (const stop of this.#stops.splice(0)) stop()
    const errors: unknown[] = []
    const attempt = async (work: Promise<unknown> | undefined) => {
      await work?.catch((error) => errors.push(error))
    }
    if (this.#membership) {
      await attempt(this.#keepMembers())
      await attempt(Promise.race([this.#membership.leave(), this.#clock.sleep(LEAVE_WAIT_MS)]))
    }
    await attempt(this.#reconciler?.stop())
    await attempt(this.#native?.close())
    await attempt(this.#membership?.close())
    this.#state = 'left'
    if (errors.length > 0) throw errors[0]
  }

  #gossip(name: string, native: NativeCluster): Membership {
    const { config, port, roles, log, monotonic, random = systemRandom } = this.#options
    const membership = startGossip({
      name,
      config,
      transport: port.transport(),
      clock: this.#clock,
      ...(monotonic ? { monotonic } : {}),
      random,
      roles,
      peer: this.#reachable(native.address),
      group: readMetadata(native.metadata()).group,
    })
    membership.on('conflict', (address) => {
      this.#conflict = address
      log.error({ address }, `another node is called \`${name}\`, too: name one of them otherwise`)
    })
    membership.on('suspect', () => this.#suspicions++)
    membership.on('fault', ({ kind, member, subject }) =>
      log.warn({ kind, member, subject }, 'a fault in the cluster'),
    )
    return membership
  }

  /** An address as others reach it: not every address of the machine, but one. */
  #reachable(address: string): string {
    const { host, port } = splitAddress(address)
    return isWildcard(host) ? hostPort(this.#options.port.host, port) : address
  }

  /** Until the node's stream is registered. */
  async #register(): Promise<void> {
    while (!this.#isStopped) {
      try {
        await this.native.ready()
        if (this.#isStopped) return
        this.#isRegistered = true
        this.#lastError = null
        if (this.#state === 'waiting') this.#state = 'ready'
        this.#options.log.info({}, 'ready: the cluster knows this node')
        this.reconciler.round()
        return
      } catch (thrown) {
        this.#failed('the node is not registered yet', thrown)
        await this.#clock.sleep(RETRY_MS)
      }
    }
  }

  #failed(what: string, thrown: unknown): void {
    const error = OtlakeError.from(thrown)
    const said = `${what}: ${error.message}`
    if (said !== this.#lastError) this.#options.log.warn({ code: error.code }, said)
    this.#lastError = said
  }

  /** Tells what of this node the round has shown to be new. */
  #afterRound({ metadata, replication }: Round): void {
    this.#lookForFence(metadata, replication)
    const isTaking = this.#isRegistered && this.#state !== 'drained' && !this.#isFenced
    this.membership.setRegisters(
      toNodeRegisters({
        group: metadata.group,
        stream: isTaking ? replication.stream : '',
        ready: this.isReady,
      }),
    )
  }

  /**
   * A node that was paused, or cut off, for so long that the others took it for dead finds its stream
   * taken over. It can acknowledge nothing more under it (I9).
   */
  #lookForFence(metadata: Metadata, { stream, fenced }: ReplicationStatus): void {
    if (this.#isFenced || this.#state !== 'ready') return
    const record = metadata.streams.find((each) => each.stream === stream)
    if (fenced === null && (record === undefined || record.state === 'open')) return
    this.#isFenced = true
    const by = record?.by ?? ''
    this.#options.log.warn({ stream, by }, 'others took this node for dead and its stream over')
    this.#options.onFenced()
  }

  #keepMembers(): Promise<void> {
    return keepKnown(this.#options.dataDir, this.membership, this.#options.log)
  }

  async #drain(): Promise<void> {
    const { log, graceMs } = this.#options
    const wasReady = this.#isRegistered
    this.#state = 'draining'
    log.info({}, 'draining: others take what this node has')
    this.membership.setRegisters(toNodeRegisters({ draining: true, ready: false }))
    this.reconciler.round()
    const until = this.#monotonic() + graceMs
    while (!this.#isGivenAway && this.#monotonic() < until) await this.#clock.sleep(RETRY_MS / 5)
    if (!this.#isGivenAway) log.warn({}, 'not everything was taken in time; recovery does the rest')
    const isAlone = this.round === null || isLast(this.round, this.membership.self.name)
    await this.#clock.sleep(isAlone ? 0 : SETTLE_MS)
    if (wasReady) await this.native.drain()
    this.#state = 'drained'
    this.reconciler.round()
    log.info({}, 'drained: the node may go')
  }

  get #isGivenAway(): boolean {
    const { config } = this.#options
    const most = mostAsked(config.quorum, config.tenants)
    return this.round === null || isGivenAway(this.round, this.membership.self.name, most)
  }

  #monotonic(): number {
    return (this.#options.monotonic ?? systemMonotonic).monotonic()
  }
}
