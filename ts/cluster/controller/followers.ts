/**
 * Who holds copies of this node's own stream. A follower stays as long as it can: its place changes
 * when it drains or leaves and another can take it, when it has been away for longer than
 * `replaceAfterMs` (until then the owner keeps its records for it), or at once where without it
 * fewer nodes are there than an acknowledgement needs. Away is who is dead, and who does not answer
 * this node though others hear it. Copies go to different zones.
 */

import { createHash } from 'node:crypto'
import { SIGNALS, type Signal } from '../ring.js'
import { type Cast, type ControllerSettings, isPresent, type Watched } from './situation.js'

export type Followers = Record<Signal, string[]>

/** How long a follower that others hear answers this node nothing before it is taken for away. */
const AWAY_MS = 3000

export class FollowerChoice {
  readonly #chosen: Followers = { spans: [], metrics: [], logs: [] }
  /** Followers that do not answer, and since when. */
  readonly #silent = new Map<string, number>()

  constructor(
    private readonly settings: Pick<ControllerSettings, 'copies' | 'acks' | 'replaceAfterMs'>,
  ) {}

  /** `silent` are the followers that do not answer this node. */
  decide(cast: Cast, silent: ReadonlySet<string>): Followers {
    this.#listen(cast.now, silent)
    const order = inOrder(cast).filter(({ name }) => !this.#isAway(cast.now, name))
    // Those that follow one signal already are taken for the next: fewer connections.
    const used = new Set<string>()
    for (const signal of SIGNALS) {
      this.#chosen[signal] = this.#choose(cast, signal, order, used)
      for (const name of this.#chosen[signal]) used.add(name)
    }
    return {
      spans: [...this.#chosen.spans],
      metrics: [...this.#chosen.metrics],
      logs: [...this.#chosen.logs],
    }
  }

  #listen(now: number, silent: ReadonlySet<string>): void {
    for (const name of this.#silent.keys()) if (!silent.has(name)) this.#silent.delete(name)
    for (const name of silent) if (!this.#silent.has(name)) this.#silent.set(name, now)
  }

  #isAway(now: number, name: string): boolean {
    const since = this.#silent.get(name)
    return since !== undefined && now - since >= AWAY_MS
  }

  #choose(cast: Cast, signal: Signal, order: Watched[], used: ReadonlySet<string>): string[] {
    const wanted = this.settings.copies[signal] - 1
    const held = this.#chosen[signal].slice(0, wanted)
    const fit = new Set(order.map(({ name }) => name))
    // What is acknowledged at one copy is so only as long as somebody is there for the second.
    const needed = Math.max(this.settings.acks[signal], Math.min(this.settings.copies[signal], 2))
    const isLost = 1 + held.filter((name) => fit.has(name)).length < needed
    const isKept = (name: string) => {
      if (fit.has(name)) return true
      const member = cast.byName.get(name)
      if (member === undefined || member.status === 'left' || member.draining || isLost)
        return false
      // It is away, or has started anew and is not ready: it may be back soon.
      const since = isPresent(member) ? (this.#silent.get(name) ?? member.since) : member.since
      return cast.now - since < this.settings.replaceAfterMs
    }
    const chosen = held.filter(isKept)
    const zones = new Set([cast.self, ...chosen].map((name) => zoneOf(cast.byName.get(name), name)))
    const rest = order.filter(({ name }) => !chosen.includes(name))
    while (chosen.length < wanted && rest.length > 0) {
      const at = best(rest, zones, used)
      const [next] = rest.splice(at, 1) as [Watched]
      chosen.push(next.name)
      zones.add(zoneOf(next, next.name))
    }
    // A place that nobody can take stays with who had it: it gets what it lacks when it is back.
    const known = (name: string) => {
      const member = cast.byName.get(name)
      return member !== undefined && member.status !== 'left' && !chosen.includes(name)
    }
    return [...chosen, ...held.filter(known)].slice(0, wanted)
  }
}

/** The first of a new zone that is used already, of a new zone, used already, or the first. */
function best(
  rest: readonly Watched[],
  zones: ReadonlySet<string>,
  used: ReadonlySet<string>,
): number {
  const score = (member: Watched) =>
    (zones.has(zoneOf(member, member.name)) ? 0 : 2) + (used.has(member.name) ? 1 : 0)
  let at = 0
  for (const [index, member] of rest.entries()) {
    if (score(member) > score(rest[at] as Watched)) at = index
  }
  return at
}

/** A node without a zone is a zone of its own. */
export function zoneOf(member: Watched | undefined, name: string): string {
  return member !== undefined && member.zone !== '' ? `zone ${member.zone}` : `node ${name}`
}

/** Everyone who can follow, in an order of this node's own, so that nodes choose different ones. */
function inOrder(cast: Cast): Watched[] {
  return byRank(
    cast.holders.filter((member) => member.name !== cast.self && isPresent(member)),
    `follow ${cast.self}`,
  )
}

/** Rendezvous hashing: an order that follows from `key`, and changes little with the members. */
export function byRank<Member extends { readonly name: string }>(
  members: readonly Member[],
  key: string,
): Member[] {
  const rank = (name: string) =>
    createHash('sha256').update(`${key}\0${name}`).digest().readUIntBE(0, 6)
  return members
    .map((member) => ({ member, rank: rank(member.name) }))
    .sort((a, b) => a.rank - b.rank || (a.member.name < b.member.name ? -1 : 1))
    .map(({ member }) => member)
}
