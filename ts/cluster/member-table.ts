/**
 * The node's own record and everyone else's: what each piece of news changes. Records join by
 * `supersedes`; the rest here is suspicion and refutation.
 */

import type { Random } from '../base/random.js'
import type { BroadcastQueue } from './broadcast.js'
import type { LocalHealth } from './health.js'
import { type MemberRecord, type MemberUpdate, supersedes } from './messages.js'
import { isPresent, Roster } from './roster.js'
import type { ClusterSettings } from './settings.js'
import { Suspicion } from './suspicion.js'

export type MemberEvent =
  | {
      /** `alive` also when a suspicion has ended, or when it started anew. */
      readonly kind: 'alive' | 'suspect' | 'failed' | 'left'
      readonly member: MemberRecord
      /** What it was before; null: unknown. */
      readonly previous: MemberRecord | null
    }
  /** Its address or its state changed. */
  | { readonly kind: 'updated'; readonly member: MemberRecord }
  /** Others took this node for dead or suspected it, and it says otherwise. */
  | { readonly kind: 'refuted'; readonly incarnation: number }
  /** Another node has this node's name. */
  | { readonly kind: 'conflict'; readonly address: string }

const EVENT_OF = { alive: 'alive', suspect: 'suspect', dead: 'failed', left: 'left' } as const

/** Where news came from. */
export interface Source {
  readonly from: string
  /** Push-pull tells what was so a while ago, and does not count as a death certificate. */
  readonly isSync: boolean
  /** Whether to tell others what is new. */
  readonly spread: boolean
}

export class MemberTable {
  readonly roster: Roster
  readonly #suspicions = new Map<string, Suspicion>()
  #self: MemberRecord

  constructor(
    self: { name: string; address: string; generation: number },
    private readonly settings: ClusterSettings,
    random: Random,
    private readonly health: LocalHealth,
    private readonly queue: BroadcastQueue<MemberUpdate>,
    private readonly emit: (event: MemberEvent) => void,
    /** The node has a new generation: what it says of itself has to be said anew. */
    private readonly onReborn: (before: number) => void,
  ) {
    this.roster = new Roster(random)
    this.#self = { ...self, incarnation: self.generation, status: 'alive' }
  }

  get self(): MemberRecord {
    return this.#self
  }

  /** Members that are alive or suspect, the node included. */
  get present(): number {
    return this.roster.present + 1
  }

  get suspicions(): ReadonlyMap<string, Suspicion> {
    return this.#suspicions
  }

  /** Tells everybody that the node is here. */
  announce(): void {
    this.queue.add(update(this.#self))
  }

  /** Tells everybody that the node goes. */
  leave(): void {
    this.#self = { ...this.#self, status: 'left' }
    this.announce()
  }

  /** Starts a generation that stands before `seen`, which somebody took for this node's. */
  rebear(seen: number): void {
    const before = this.#self.generation
    this.#self = { ...this.#self, generation: seen + 1, incarnation: seen + 1 }
    this.announce()
    this.onReborn(before)
  }

  learn(now: number, told: MemberUpdate, source: Source): void {
    if (told.name === this.#self.name) this.#aboutSelf(told)
    else {
      const known = this.roster.get(told.name)
      if (known === undefined) this.#newcomer(now, told, source)
      else this.#aboutKnown(now, told, known.record, source)
    }
  }

  /** A probe of the node's own has failed. */
  accuse(now: number, target: MemberRecord): void {
    const record = this.roster.get(target.name)?.record
    if (record === undefined || !isPresent(record)) return
    const accuser = this.#self.name
    const suspicion = this.#suspicions.get(record.name)
    if (suspicion?.hasAccuser(accuser)) suspicion.failedAgain()
    else this.learn(now, { ...update(record), status: 'suspect', accuser }, this.#own())
  }

  /** A member's machine says that nobody listens there any more. */
  refused(now: number, target: MemberRecord): void {
    if (!this.accuses(target.name)) this.accuse(now, target)
    this.#suspicions.get(target.name)?.refused(now)
  }

  /** Whether this node accuses it. */
  accuses(name: string): boolean {
    return this.#suspicions.get(name)?.hasAccuser(this.#self.name) ?? false
  }

  /** What a suspect has to hear first, so that it can refute (Lifeguard's buddy system). */
  accusation(name: string): MemberUpdate[] {
    const record = this.roster.get(name)?.record
    if (record === undefined || record.status === 'alive' || record.status === 'left') return []
    const accuser = this.#suspicions.get(name)?.accuser ?? this.#self.name
    return [{ ...update(record), accuser }]
  }

  /** Declares dead whose suspicion has lasted long enough. */
  tick(now: number): void {
    for (const [name, suspicion] of this.#suspicions) {
      if (!suspicion.isOver(now, this.health.multiplier)) continue
      const record = this.roster.get(name)?.record
      if (record === undefined) continue
      const dead = { ...update(record), status: 'dead' as const, accuser: this.#self.name }
      this.#change(now, dead, record, this.#own())
    }
  }

  /** Time that the process did not live through is no one's silence. */
  postpone(gapMs: number): void {
    for (const suspicion of this.#suspicions.values()) suspicion.postpone(gapMs)
  }

  /** Forgets who has been dead or gone since before `limit`; returns their names. */
  forget(limit: number): string[] {
    const old = [...this.roster.all()].filter(
      ({ record, since }) => !isPresent(record) && since < limit,
    )
    for (const { record } of old) this.roster.forget(record.name)
    return old.map(({ record }) => record.name)
  }

  /** Everyone's record, the node's own included, for push-pull. */
  updates(now: number): MemberUpdate[] {
    const others = [...this.roster.all()].map(({ record, since }) => ({
      ...update(record),
      ageSeconds: isPresent(record) ? 0 : Math.max(0, Math.floor((now - since) / 1000)),
    }))
    return [update(this.#self), ...others]
  }

  #own(): Source {
    return { from: this.#self.name, isSync: false, spread: true }
  }

  #aboutKnown(now: number, told: MemberUpdate, record: MemberRecord, source: Source): void {
    const isAccusation = told.status === 'suspect' || told.status === 'dead'
    const news =
      source.isSync && isAccusation && isPresent(record)
        ? { ...told, status: 'suspect' as const, accuser: source.from }
        : told
    if (supersedes(news, record)) {
      this.#change(now, news, record, source)
      return
    }
    const isSame = news.incarnation === record.incarnation && news.status === 'suspect'
    const suspicion = this.#suspicions.get(news.name)
    // What it accuses somebody of, this node knows best itself.
    if (!isSame || (news.accuser === this.#self.name && source.from !== news.accuser)) return
    const isWitness = source.from === news.accuser && !source.isSync
    if (suspicion?.confirm(news.accuser, isWitness) && source.spread) this.queue.add(news)
  }

  #newcomer(now: number, told: MemberUpdate, source: Source): void {
    if (told.status === 'dead' || told.status === 'left') {
      // Kept so that no old word of its life is believed, for no longer than others keep it.
      const since = now - told.ageSeconds * 1000
      if (now - since < this.settings.forgetAfterMs) this.roster.put(strip(told), since)
      return
    }
    const alive = { ...told, status: 'alive' as const, accuser: '' }
    if (!this.roster.put(strip(alive), now)) return
    if (source.spread) this.queue.add(alive)
    this.emit({ kind: 'alive', member: strip(alive), previous: null })
    if (told.status === 'suspect') this.learn(now, told, source)
  }

  #change(now: number, news: MemberUpdate, previous: MemberRecord, source: Source): void {
    const member = strip(news)
    this.roster.put(member, now)
    this.#suspicions.delete(member.name)
    if (news.status === 'suspect') {
      const suspicion = new Suspicion(now, this.settings, this.present, news.accuser)
      this.#suspicions.set(member.name, suspicion)
    }
    if (source.spread) this.queue.add(news)
    const isNew = member.status !== previous.status || member.generation !== previous.generation
    if (isNew) this.emit({ kind: EVENT_OF[member.status], member, previous })
    else if (member.address !== previous.address) this.emit({ kind: 'updated', member })
  }

  #aboutSelf(told: MemberUpdate): void {
    if (this.#self.status === 'left') return
    const { generation, incarnation, address } = this.#self
    const isOther = told.address !== address && told.generation !== generation
    if (told.generation > generation) {
      // Either the clock went back over a restart, or another node has this name.
      if (isOther && told.status === 'alive') this.emit({ kind: 'conflict', address: told.address })
      this.rebear(told.incarnation)
      return
    }
    const isWrong = told.status !== 'alive' || told.address !== address
    if (told.incarnation < incarnation || (told.incarnation === incarnation && !isWrong)) return
    this.#self = { ...this.#self, incarnation: told.incarnation + 1 }
    if (told.status !== 'alive') this.health.refuted()
    this.announce()
    this.emit({ kind: 'refuted', incarnation: this.#self.incarnation })
  }
}

/** A record as it is told. */
export function update(record: MemberRecord): MemberUpdate {
  return { ...record, accuser: '', ageSeconds: 0 }
}

function strip({ name, address, generation, incarnation, status }: MemberUpdate): MemberRecord {
  return { name, address, generation, incarnation, status }
}
