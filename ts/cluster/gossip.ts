/**
 * The protocol of one node, without any I/O: a message or a tick goes in, messages and events come
 * out. SWIM (Das, Gupta, Motivala, 2002) with Lifeguard's additions (Dadgar, Phillips, Currey, 2018).
 */

import { createHash } from 'node:crypto'
import { pick, type Random } from '../base/random.js'
import { Counters } from './counters.js'
import { LocalHealth } from './health.js'
import { type MemberEvent, MemberTable, type Source } from './member-table.js'
import type { Body, MemberUpdate, Message, StateEntry, SyncStep } from './messages.js'
import { News } from './news.js'
import { Prober } from './prober.js'
import { isPresent } from './roster.js'
import {
  type ClusterSettings,
  GOSSIP_TO_DEAD_HEARTBEATS,
  MAX_SUSPECT_PROBES,
  PROBES_PER_HEARTBEAT,
  STALL_MS,
  syncInterval,
  TICK_MS,
  transmitLimit,
} from './settings.js'
import { StateStore } from './state-store.js'

export interface Output {
  /** `HOST:PORT`. */
  readonly to: string
  /** A stream's message gets an answer: `answered` or, without one, nothing. */
  readonly via: 'packet' | 'stream'
  readonly message: Message
}

export interface GossipOptions {
  readonly name: string
  readonly address: string
  readonly cluster: string
  /** Milliseconds since 1970 at which this start of the node began. */
  readonly generation: number
  readonly settings: ClusterSettings
  readonly random: Random
  /** Monotonic milliseconds at the start. */
  readonly now: number
  readonly onEvent: (event: MemberEvent) => void
}

/** How many heartbeats lie between two sweeps for what is to be forgotten. */
const SWEEP_HEARTBEATS = 10
const FINGERPRINT_BYTES = 16
/** How often a member is asked out of turn at most, in milliseconds. */
const CHECK_INTERVAL_MS = 100
const NONE = new Uint8Array()

export class Gossip {
  readonly health: LocalHealth
  readonly members: MemberTable
  readonly states = new StateStore()
  readonly counters = new Counters()
  readonly probes = { started: 0, failed: 0 }
  readonly #news: News
  readonly #prober: Prober
  readonly #settings: ClusterSettings
  readonly #random: Random
  readonly #emit: (event: MemberEvent) => void
  /** When each member was last asked out of turn. */
  readonly #checked = new Map<string, number>()
  #outputs: Output[] = []
  #seeds: readonly string[] = []
  #lastTick: number
  #nextProbe: number
  #nextGossip: number
  #nextSync: number
  #nextReconnect: number
  #nextSweep: number

  constructor(options: GossipOptions) {
    const { name, address, cluster, generation, settings, random, now, onEvent } = options
    this.#settings = settings
    this.#random = random
    this.#emit = (event) => {
      // Whoever is taken for dead has no time to wait for its turn.
      if (event.kind === 'refuted') this.#nextGossip = 0
      onEvent(event)
    }
    this.#news = new News(cluster)
    this.health = new LocalHealth()
    this.members = new MemberTable(
      { name, address, generation },
      settings,
      random,
      this.health,
      this.#news.members,
      this.#emit,
      (before) => this.#restate(before),
    )
    this.#prober = new Prober(settings, this.health, {
      send: (to, body) => this.#send(to, body),
      stream: (to, body) => this.#stream(to, this.#message(body)),
      helpers: (count, except) =>
        this.members.roster.sample(
          count,
          ({ record }) => record.status === 'alive' && record.name !== except,
        ),
      failed: (target) => this.#probeFailed(target.name),
    })
    // Nodes that start together must not all do the same at the same time.
    const phase = (intervalMs: number) => now + random.next() * intervalMs
    this.#lastTick = now
    this.#nextProbe = phase(settings.heartbeatMs)
    this.#nextGossip = phase(settings.gossipIntervalMs)
    this.#nextSync = phase(settings.syncIntervalMs)
    this.#nextReconnect = phase(settings.reconnectIntervalMs)
    this.#nextSweep = phase(settings.heartbeatMs * SWEEP_HEARTBEATS)
    this.members.announce()
  }

  /** What there is to send since the last call. */
  take(): Output[] {
    const outputs = this.#outputs
    this.#outputs = []
    return outputs
  }

  /** Asks these addresses for everyone they know, now and whenever the node is alone. */
  join(seeds: readonly string[]): void {
    this.#seeds = seeds.filter((seed) => seed !== this.members.self.address)
    for (const seed of this.#seeds) this.#sync(seed, 'join')
  }

  /** Asks a member at once, over a stream, whether it is there: something of it has gone. */
  check(now: number, name: string): void {
    const record = this.members.roster.get(name)?.record
    if (record === undefined || !isPresent(record)) return
    if (now - (this.#checked.get(name) ?? Number.NEGATIVE_INFINITY) < CHECK_INTERVAL_MS) return
    this.#checked.set(name, now)
    const sequence = this.#prober.nextSequence()
    this.#stream(record.address, this.#message({ kind: 'ping', sequence, target: name }))
  }

  /** The machine at this address answered that nobody listens there. */
  refused(now: number, address: string): void {
    for (const { record } of this.members.roster.all()) {
      if (record.address !== address || !isPresent(record)) continue
      this.members.refused(now, record)
      // The others' word is wanted now, and its own if it is alive.
      this.#nextGossip = 0
    }
  }

  /** Says goodbye; ticks go on spreading it until `isGone`. */
  leave(): void {
    this.members.leave()
    this.#nextGossip = 0
  }

  /** Whether enough others were told that the node goes, or there is nobody to tell. */
  get isGone(): boolean {
    const { self, roster } = this.members
    return roster.present === 0 || this.#news.members.sent(self.name) === null
  }

  /** Sets a register of the node's own state; null removes it. False where there is no room. */
  setState(key: string, value: string | null): boolean {
    const { name, generation } = this.members.self
    const entry = this.states.set(name, generation, key, value)
    if (entry === null) return (this.states.of({ name, generation }).get(key) ?? null) === value
    this.#news.states.add(entry)
    return true
  }

  /** Adds to a counter of the cluster's. False where there is no room. */
  count(counter: string, amount: number, expires: number): boolean {
    if (amount === 0) return true
    const { name: member, generation } = this.members.self
    const entry = this.counters.add({ counter, member, generation, expires }, amount)
    if (entry === null) return false
    this.#news.counters.add(entry)
    return true
  }

  /** `now` is monotonic; `date` in milliseconds since 1970 tells which counters have ended. */
  tick(now: number, date: number): void {
    const gap = now - this.#lastTick
    this.#lastTick = now
    if (gap > STALL_MS) {
      // Answers may wait unread in the sockets: nobody is accused for this time.
      this.#prober.postpone(gap - TICK_MS)
      this.members.postpone(gap - TICK_MS)
      this.health.loopDelayed(gap - TICK_MS)
    }
    if (this.members.self.status !== 'left') {
      this.#prober.tick(now)
      this.members.tick(now)
      if (now >= this.#nextProbe) this.#probe(now)
      if (now >= this.#nextSync) this.#compare(now)
      if (now >= this.#nextReconnect) this.#reconnect(now)
      if (now >= this.#nextSweep) this.#sweep(now, date)
    }
    if (now >= this.#nextGossip) this.#gossip(now)
  }

  /** A datagram, or the answer to a stream's message. */
  receive(now: number, message: Message): void {
    if (message.from === this.members.self.name) return
    this.#learnAll(now, message, message.body.kind === 'sync')
    const { body } = message
    const sender = { name: message.from, address: message.address }
    switch (body.kind) {
      case 'ping':
        if (body.target !== this.members.self.name) return
        this.#send(sender, { kind: 'ack', sequence: body.sequence })
        return
      case 'ack':
        this.#prober.acked(body.sequence)
        return
      case 'nack':
        this.#prober.nacked(body.sequence, message.from)
        return
      case 'ping_request':
        this.#prober.relay(now, sender, body)
        return
      case 'sync':
        if (body.step === 'answer') this.#stream(message.address, this.#whole(now, 'push', body))
    }
  }

  /** What to answer to a message that came over a stream; null: nothing. */
  answer(now: number, message: Message): Message | null {
    const { body } = message
    if (message.from === this.members.self.name) return null
    this.#learnAll(now, message, body.kind === 'sync')
    if (body.kind === 'ping' && body.target === this.members.self.name) {
      return this.#message({ kind: 'ack', sequence: body.sequence })
    }
    if (body.kind !== 'sync') return null
    const { step, sequence, fingerprint } = body
    if (step === 'ask') {
      const isSame = Buffer.compare(fingerprint, this.#fingerprint()) === 0
      if (isSame) return this.#message({ kind: 'ack', sequence })
      return { ...this.#whole(now, 'answer', body), states: [] }
    }
    if (step === 'join') return this.#whole(now, 'answer', body)
    if (step !== 'push') return null
    const states = this.states.newerThan(body.digest)
    return { ...this.#message({ ...body, step: 'done', digest: [] }), states }
  }

  #learnAll(now: number, message: Message, isSync: boolean): void {
    // Who has just come believes whatever it is told; there is nobody to tell it to again.
    const spread = !(isSync && this.members.roster.size === 0)
    const source: Source = { from: message.from, isSync, spread }
    for (const told of message.members) this.members.learn(now, told, source)
    const changed = new Set<string>()
    for (const entry of message.states) {
      if (this.#learnState(entry)) changed.add(entry.member)
    }
    for (const name of changed) {
      const record = this.members.roster.get(name)?.record
      if (record && isPresent(record)) this.#emit({ kind: 'updated', member: record })
    }
    for (const entry of message.counters) {
      if (this.counters.apply(entry)) this.#news.counters.add(entry)
    }
  }

  #learnState(entry: StateEntry): boolean {
    const { name, generation } = this.members.self
    // Only a member writes its state; what comes of an earlier start of this one is old.
    if (entry.member === name) {
      if (entry.generation > generation) this.members.rebear(entry.generation)
      return false
    }
    if (!this.states.apply(entry)) return false
    this.#news.states.add(entry)
    return true
  }

  /** Writes the node's state anew under its new generation. */
  #restate(before: number): void {
    const { name, generation } = this.members.self
    const own = this.states.of({ name, generation: before })
    for (const [key, value] of own) {
      const entry = this.states.set(name, generation, key, value)
      if (entry) this.#news.states.add(entry)
    }
  }

  #probe(now: number): void {
    const { heartbeatMs } = this.#settings
    const { roster } = this.members
    const slots = Math.max(1, Math.min(PROBES_PER_HEARTBEAT, roster.present))
    this.#nextProbe = now + (heartbeatMs * this.health.multiplier) / slots
    const target = roster.nextToProbe()
    if (target === null || this.#prober.isProbing(target.name)) return
    this.#start(now, target.name)
  }

  #start(now: number, name: string): void {
    const record = this.members.roster.get(name)?.record
    if (record === undefined || !isPresent(record)) return
    this.probes.started++
    this.#prober.start(now, record)
  }

  #probeFailed(name: string): void {
    const now = this.#lastTick
    const record = this.members.roster.get(name)?.record
    if (record === undefined) return
    this.probes.failed++
    this.members.accuse(now, record)
    // At once again: it is a second piece of evidence, and tells the suspect to refute.
    const { suspicions } = this.members
    if (suspicions.size <= MAX_SUSPECT_PROBES && suspicions.has(name)) this.#start(now, name)
  }

  #gossip(now: number): void {
    this.#nextGossip = now + this.#settings.gossipIntervalMs
    if (this.#news.size === 0) return
    const recently = now - GOSSIP_TO_DEAD_HEARTBEATS * this.#settings.heartbeatMs
    const targets = this.members.roster.sample(
      this.#settings.gossipFanout,
      ({ record, since }) => isPresent(record) || (record.status === 'dead' && since > recently),
    )
    for (const target of targets) {
      if (this.#news.size > 0) this.#send(target, { kind: 'gossip' })
    }
  }

  #compare(now: number): void {
    this.#nextSync = now + syncInterval(this.#settings, this.members.present)
    const [target] = this.members.roster.sample(1, ({ record }) => isPresent(record))
    if (target) this.#sync(target.address, 'ask')
  }

  /** Tries one that is dead, so that two halves of a partition find each other again. */
  #reconnect(now: number): void {
    this.#nextReconnect = now + this.#settings.reconnectIntervalMs
    const { roster } = this.members
    if (roster.present === 0) {
      for (const seed of this.#seeds) this.#sync(seed, 'join')
    }
    const dead = [...roster.all()].filter(({ record }) => record.status === 'dead')
    // As many tries in the whole cluster as there are dead, however many are left to try.
    if (this.#random.next() * Math.max(1, roster.present) >= dead.length) return
    const target = dead[pick(this.#random, dead.length)]
    if (target) this.#sync(target.record.address, 'ask')
  }

  #sweep(now: number, date: number): void {
    this.#nextSweep = now + this.#settings.heartbeatMs * SWEEP_HEARTBEATS
    for (const name of this.members.forget(now - this.#settings.forgetAfterMs)) {
      this.states.forget(name)
      this.#checked.delete(name)
    }
    this.counters.expire(date)
  }

  /** Compares with another node; with `join`, one that does not know this node yet. */
  #sync(address: string, step: 'ask' | 'join'): void {
    const sequence = this.#prober.nextSequence()
    const body = { kind: 'sync', sequence, step, digest: [], fingerprint: NONE } as const
    this.#stream(
      address,
      step === 'join'
        ? this.#whole(this.#lastTick, step, body)
        : this.#message({ ...body, fingerprint: this.#fingerprint() }),
    )
  }

  /** All that is compared, with the states that the other side's digest lacks. */
  #whole(now: number, step: SyncStep, other: Extract<Body, { kind: 'sync' }>): Message {
    const { sequence } = other
    const digest = this.states.digest()
    return {
      ...this.#message({ kind: 'sync', sequence, step, digest, fingerprint: NONE }),
      members: this.members.updates(now),
      states: step === 'join' ? [] : this.states.newerThan(other.digest),
      counters: this.counters.all(),
    }
  }

  #fingerprint(): Uint8Array {
    const { self, roster } = this.members
    const records = [self, ...[...roster.all()].map(({ record }) => record)]
    const lines = [
      ...records.map(({ name, incarnation, status }) => `${name} ${incarnation} ${status}`),
      ...this.states
        .digest()
        .map((known) => `${known.member} ${known.generation} ${known.version}`),
      ...this.counters
        .all()
        .map((known) => `${known.counter} ${known.member} ${known.added} ${known.taken}`),
    ]
    const hash = createHash('sha256').update(lines.sort().join('\n')).digest()
    return hash.subarray(0, FINGERPRINT_BYTES)
  }

  #send(target: { name: string; address: string }, body: Body): void {
    const first: MemberUpdate[] = this.members.accusation(target.name)
    const limit = transmitLimit(this.#settings, this.members.present)
    const message = this.#news.pack(this.members.self, body, first, limit)
    this.#outputs.push({ to: target.address, via: 'packet', message })
  }

  #stream(to: string, message: Message): void {
    this.#outputs.push({ to, via: 'stream', message })
  }

  #message(body: Body): Message {
    const { name: from, address } = this.members.self
    return { from, address, body, members: [], states: [], counters: [] }
  }
}
