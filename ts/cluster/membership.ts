/** A node's place in a cluster: the protocol, on a transport and a clock. */

import { EventEmitter } from 'node:events'
import { type Clock, type Monotonic, systemClock, systemMonotonic } from '../base/clock.js'
import { OtlakeError } from '../base/errors.js'
import { type LoopDelay, noLoopDelay } from '../base/loop-delay.js'
import { type Random, systemRandom } from '../base/random.js'
import { type Fault, FaultClassifier, type FaultCounts } from './faults.js'
import { Gossip, type Output } from './gossip.js'
import type { KeyRing } from './keyring.js'
import { fromRegisters, type LocalState, toRegisters } from './local-state.js'
import type { MemberEvent } from './member-table.js'
import { isAddress, isName, type MemberRecord } from './messages.js'
import {
  type ClusterSettings,
  checkSettings,
  MAX_CLUSTER_BYTES,
  MAX_KEY_BYTES,
  MAX_LOCAL_HEALTH,
  MAX_SEEDS,
  MAX_VALUE_BYTES,
  PACKET_BYTES,
  TICK_MS,
} from './settings.js'
import type { Transport } from './transport.js'
import { type Refusal, Wire } from './wire.js'

export interface MembershipOptions {
  /** Unique in the cluster, 64 bytes at most; the same over restarts. */
  readonly name: string
  /** Nodes of another cluster's name are never met. */
  readonly cluster: string
  readonly transport: Transport
  /** Null: everything goes in the clear. */
  readonly keys: KeyRing | null
  readonly settings?: Partial<ClusterSettings>
  readonly clock?: Clock
  readonly monotonic?: Monotonic
  readonly random?: Random
  readonly loopDelay?: LoopDelay
}

export interface Member extends MemberRecord {
  readonly state: LocalState
}

export interface MembershipCounts {
  packetsSent: number
  packetsReceived: number
  bytesSent: number
  bytesReceived: number
  exchanges: number
  exchangesFailed: number
  /** What came and was not taken, by why. */
  refused: Record<Refusal, number>
}

/** What `on` listens to. */
export interface MembershipEvents {
  /** It has come, has come back, has started anew, or is suspected no more. */
  alive: [member: Member, previous: MemberRecord | null]
  suspect: [member: Member]
  /** It is taken for dead. */
  failed: [member: Member]
  /** It said goodbye. */
  left: [member: Member]
  /** Its address or state changed. */
  updated: [member: Member]
  /** Another node has this one's name. */
  conflict: [address: string]
  fault: [fault: Fault]
}

/** A `join` that waits for its seeds. */
interface Join {
  readonly open: Set<string>
  answered: number
  readonly resolve: (answered: number) => void
  readonly reject: (error: OtlakeError) => void
}

/** Others are told of the node's local health in steps of this: each change goes to everyone. */
const HEALTH_STEP = MAX_LOCAL_HEALTH / 2

/** Deaths within this many time-outs belong together (`faults.ts`). */
const FAULT_WINDOW_TIMEOUTS = 2

export class Membership extends EventEmitter<MembershipEvents> {
  readonly counts: MembershipCounts = {
    packetsSent: 0,
    packetsReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    exchanges: 0,
    exchangesFailed: 0,
    refused: { malformed: 0, version: 0, cluster: 0, key: 0 },
  }
  readonly settings: ClusterSettings
  readonly #gossip: Gossip
  readonly #wire: Wire
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #monotonic: Monotonic
  readonly #loopDelay: LoopDelay
  readonly #faults: FaultClassifier
  readonly #stopTicks: () => void
  readonly #stopHeartbeats: () => void
  readonly #joins = new Set<Join>()
  #leaving: Promise<void> | null = null
  #gone: (() => void) | null = null
  #closed = false

  /** Starts at once, alone until `join`. Throws `CONFIG_INVALID`. */
  constructor(options: MembershipOptions) {
    super()
    const { name, cluster, transport, keys } = options
    if (!isName(name)) throw new OtlakeError('CONFIG_INVALID', 'a member needs a name of 64 bytes')
    if (cluster === '' || Buffer.byteLength(cluster) > MAX_CLUSTER_BYTES) {
      throw new OtlakeError('CONFIG_INVALID', 'a cluster needs a name of 64 bytes at most')
    }
    this.settings = checkSettings(options.settings ?? {})
    this.#transport = transport
    this.#clock = options.clock ?? systemClock
    this.#monotonic = options.monotonic ?? systemMonotonic
    this.#loopDelay = options.loopDelay ?? noLoopDelay
    this.#wire = new Wire(cluster, keys)
    this.#faults = new FaultClassifier(FAULT_WINDOW_TIMEOUTS * this.settings.timeoutMs, (fault) =>
      this.emit('fault', fault),
    )
    this.#gossip = new Gossip({
      name,
      address: transport.address,
      cluster,
      generation: Math.floor(this.#clock.now()),
      settings: this.settings,
      random: options.random ?? systemRandom,
      now: this.#monotonic.monotonic(),
      onEvent: (event) => this.#tell(event),
    })
    transport.listen({
      onPacket: (bytes) => this.#packet(bytes),
      onRequest: (bytes) => this.#request(bytes),
    })
    this.#stopTicks = this.#clock.every(TICK_MS, () => this.#tick())
    this.#stopHeartbeats = this.#clock.every(this.settings.heartbeatMs, () => this.#heartbeat())
  }

  /** The node's own record. */
  get self(): Member {
    return this.#member(this.#gossip.members.self)
  }

  /** How far the node doubts itself; 0 is well, 8 the most. */
  get localHealth(): number {
    return this.#gossip.health.score
  }

  /** Probes that were started and that failed. */
  get probes(): { readonly started: number; readonly failed: number } {
    return this.#gossip.probes
  }

  get faults(): { readonly open: readonly Fault[]; readonly counts: Readonly<FaultCounts> } {
    return { open: this.#faults.open, counts: this.#faults.counts }
  }

  /** Everyone who is known, the node itself first, those that are dead or have left too. */
  members(): Member[] {
    const others = [...this.#gossip.members.roster.all()].map(({ record }) => this.#member(record))
    return [this.self, ...others]
  }

  /** One member; null: unknown. */
  member(name: string): Member | null {
    if (name === this.#gossip.members.self.name) return this.self
    const known = this.#gossip.members.roster.get(name)
    return known ? this.#member(known.record) : null
  }

  /** Everything a member says of itself, the keys of `LocalState` and others. */
  registers(name: string): ReadonlyMap<string, string> {
    const record = this.member(name)
    return record ? this.#gossip.states.of(record) : new Map()
  }

  /**
   * Asks a member at once whether it is there: a connection with it has broken. Where its machine
   * answers that nobody listens, it is suspected at once and soon taken for dead.
   */
  check(name: string): void {
    if (this.#closed) return
    this.#gossip.check(this.#monotonic.monotonic(), name)
    this.#flush()
  }

  /**
   * Asks the nodes at these addresses for everyone they know; resolves to how many answered.
   * Rejects with `CLUSTER_UNREACHABLE` when none did: it goes on trying whenever it is alone.
   */
  join(seeds: readonly string[]): Promise<number> {
    const wrong = seeds.find((seed) => !isAddress(seed))
    if (wrong !== undefined || seeds.length > MAX_SEEDS) {
      const message = `seeds are up to ${MAX_SEEDS} of HOST:PORT${wrong ? `, not \`${wrong}\`` : ''}`
      return Promise.reject(new OtlakeError('CONFIG_INVALID', message))
    }
    const open = new Set(seeds.filter((seed) => seed !== this.#transport.address))
    if (open.size === 0) return Promise.resolve(0)
    const result = new Promise<number>((resolve, reject) => {
      this.#joins.add({ open, answered: 0, resolve, reject })
    })
    this.#gossip.join([...open])
    this.#flush()
    return result
  }

  /** Says what has changed of this node; the rest stays. Throws `CONFIG_INVALID` past a limit. */
  setLocalState(state: Partial<LocalState>): void {
    this.setRegisters(toRegisters(state))
  }

  /** Sets keys of one's own choice; null removes one. Throws `CONFIG_INVALID` past a limit. */
  setRegisters(registers: ReadonlyMap<string, string | null>): void {
    for (const [key, value] of registers) {
      const isTooLong =
        key === '' ||
        Buffer.byteLength(key) > MAX_KEY_BYTES ||
        Buffer.byteLength(value ?? '') > MAX_VALUE_BYTES
      if (isTooLong || !this.#gossip.setState(key, value)) {
        throw new OtlakeError('CONFIG_INVALID', `the state's \`${key}\` is past a limit`)
      }
    }
    const { self } = this
    this.#faults.says(this.#monotonic.monotonic(), self, self.state)
  }

  /**
   * Adds whole numbers to a counter of the cluster's, or takes them where negative. Everyone drops
   * it after `expires`, in milliseconds since 1970. Throws `CONFIG_INVALID` without room for it.
   */
  count(counter: string, amount: number, expires: number): void {
    const isFine =
      Number.isSafeInteger(amount) &&
      Number.isSafeInteger(expires) &&
      counter !== '' &&
      Buffer.byteLength(counter) <= MAX_KEY_BYTES
    if (!isFine || !this.#gossip.count(counter, amount, expires)) {
      throw new OtlakeError('CONFIG_INVALID', `there is no room for the counter \`${counter}\``)
    }
  }

  /** A counter's value over the cluster, as far as it is known here. */
  counter(name: string): number {
    return this.#gossip.counters.value(name)
  }

  /**
   * Says goodbye, and resolves when enough others were told. Others take the node for one that
   * left, not one that failed. Call `close` afterwards.
   */
  leave(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#leaving ??= new Promise((resolve) => {
      this.#gone = resolve
      this.#gossip.leave()
      this.#tick()
    })
    return this.#leaving
  }

  /** Ends everything at once; who has not left is soon taken for dead. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#stopTicks()
    this.#stopHeartbeats()
    this.#loopDelay.close()
    this.#gone?.()
    for (const join of this.#joins) for (const seed of join.open) this.#joined(join, seed, false)
    await this.#transport.close()
  }

  #joined(join: Join, seed: string, hasAnswered: boolean): void {
    if (!join.open.delete(seed)) return
    join.answered += hasAnswered ? 1 : 0
    if (join.open.size > 0) return
    this.#joins.delete(join)
    if (join.answered > 0) join.resolve(join.answered)
    else join.reject(new OtlakeError('CLUSTER_UNREACHABLE', `no seed answers, the last ${seed}`))
  }

  #tick(): void {
    if (this.#closed) return
    this.#gossip.tick(this.#monotonic.monotonic(), this.#clock.now())
    this.#flush()
    if (this.#gone !== null && this.#gossip.isGone) {
      this.#gone()
      this.#gone = null
    }
  }

  #heartbeat(): void {
    this.#gossip.health.loopDelayed(this.#loopDelay.takeMaxMs())
    this.#gossip.health.heartbeat()
    this.#faults.tick(this.#monotonic.monotonic())
    const health = Math.floor(this.localHealth / HEALTH_STEP) * HEALTH_STEP
    if (health !== this.self.state.health) this.setLocalState({ health })
  }

  #flush(): void {
    for (const output of this.#gossip.take()) {
      const bytes = this.#wire.encode(output.message)
      this.counts.bytesSent += bytes.length
      if (output.via === 'stream') {
        this.#exchange(output, bytes)
        continue
      }
      if (bytes.length > PACKET_BYTES) {
        throw new OtlakeError('INTERNAL', `a datagram of ${bytes.length} bytes`)
      }
      this.counts.packetsSent++
      this.#transport.send(output.to, bytes)
    }
  }

  #exchange(output: Output, bytes: Uint8Array): void {
    const { body } = output.message
    const isJoin = body.kind === 'sync' && body.step === 'join'
    this.counts.exchanges++
    this.#transport.exchange(output.to, bytes, (answer) => {
      if (this.#closed) return
      const message = typeof answer === 'string' ? null : this.#read(answer)
      if (message === null) {
        this.counts.exchangesFailed++
        if (answer === 'refused') this.#gossip.refused(this.#monotonic.monotonic(), output.to)
      } else this.#gossip.receive(this.#monotonic.monotonic(), message)
      if (isJoin) for (const join of this.#joins) this.#joined(join, output.to, message !== null)
      this.#flush()
    })
  }

  #packet(bytes: Uint8Array): void {
    if (this.#closed) return
    this.counts.packetsReceived++
    const message = this.#read(bytes)
    if (message === null) return
    this.#gossip.receive(this.#monotonic.monotonic(), message)
    this.#flush()
  }

  #request(bytes: Uint8Array): Uint8Array | null {
    if (this.#closed) return null
    const message = this.#read(bytes)
    const answer = message && this.#gossip.answer(this.#monotonic.monotonic(), message)
    this.#flush()
    if (answer === null) return null
    const encoded = this.#wire.encode(answer)
    this.counts.bytesSent += encoded.length
    return encoded
  }

  #read(bytes: Uint8Array) {
    this.counts.bytesReceived += bytes.length
    const message = this.#wire.decode(bytes)
    if (typeof message !== 'string') return message
    this.counts.refused[message]++
    return null
  }

  #member(record: MemberRecord): Member {
    return { ...record, state: fromRegisters(this.#gossip.states.of(record)) }
  }

  #tell(event: MemberEvent): void {
    const now = this.#monotonic.monotonic()
    if (event.kind === 'refuted') return
    if (event.kind === 'conflict') {
      this.emit('conflict', event.address)
      return
    }
    this.#faults.happened(now, event, this.#gossip.members.present)
    if (event.kind === 'updated') {
      this.#faults.says(now, event.member, this.#member(event.member).state)
    }
    if (this.listenerCount(event.kind) === 0) return
    const member = this.#member(event.member)
    if (event.kind === 'alive') this.emit('alive', member, event.previous)
    else this.emit(event.kind, member)
  }
}
