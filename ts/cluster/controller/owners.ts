/**
 * Who owns which shard: what the ring wants, reached in steps. Shards of the dead, of those who
 * left and of those who are not ready move at once; of the rest only so many in each interval, first those of nodes that are
 * draining. Ownership is affinity: nodes that are at different steps lose nothing.
 */

import type { ClusterView } from '../../native/cluster.js'
import {
  allShards,
  Ring,
  type RingNode,
  SHARDS,
  type Shard,
  type SIGNALS,
  shardName,
} from '../ring.js'
import { type Cast, isPresent, type Watched } from './situation.js'

export interface OwnersDecision {
  /** The same object as long as no owner changes. */
  readonly owners: ClusterView['owners']
  /** Shards that got another owner in this step. */
  readonly moved: number
  /** Shards that are still to be moved. */
  readonly left: number
}

const ALL = allShards()

export class Owners {
  #ring = new Ring([])
  #ringKey = ''
  #wanted = new Map<string, string>()
  #current = new Map<string, string>()
  /** Who owns what now; null where that has changed since it was told. */
  #told: ClusterView['owners'] | null = null
  /** Every shard is where the ring wants it. */
  #isSettled = false
  #intervalStart = Number.NEGATIVE_INFINITY
  #movedInInterval = 0
  #rebalance = 0

  constructor(private readonly limit: { shards: number; intervalMs: number }) {}

  /** `weights` stand before the members' own; a new `rebalance` lifts the limit once. */
  decide(cast: Cast, weights: ReadonlyMap<string, number>, rebalance: number): OwnersDecision {
    this.#want(cast, weights)
    if (cast.now - this.#intervalStart >= this.limit.intervalMs) {
      this.#intervalStart = cast.now
      this.#movedInInterval = 0
    }
    const isUnlimited = rebalance > this.#rebalance
    this.#rebalance = Math.max(rebalance, this.#rebalance)
    // Most of the time nothing is to be moved, and this is asked twice a second.
    const { moved, left } = this.#isSettled ? { moved: 0, left: 0 } : this.#step(cast, isUnlimited)
    this.#isSettled = left === 0
    if (moved > 0) this.#told = null
    this.#told ??= this.#view()
    return { owners: this.#told, moved, left }
  }

  #want(cast: Cast, weights: ReadonlyMap<string, number>): void {
    const nodes = ringNodes(cast, weights)
    const key = JSON.stringify(nodes)
    if (key === this.#ringKey) return
    this.#ringKey = key
    this.#isSettled = false
    this.#ring = new Ring(nodes)
    this.#wanted = new Map(
      ALL.map((shard) => [shardName(shard), this.#ring.replicas(shard, 1)[0] ?? '']),
    )
  }

  #step(cast: Cast, isUnlimited: boolean): { moved: number; left: number } {
    const later: { shard: string; owner: string; isUrgent: boolean }[] = []
    let moved = 0
    for (const [shard, owner] of this.#wanted) {
      const held = this.#current.get(shard)
      if (held === owner) continue
      const holder = held === undefined ? undefined : cast.byName.get(held)
      if (holder === undefined || !takesPart(cast, holder)) {
        this.#current.set(shard, owner)
        moved++
      } else later.push({ shard, owner, isUrgent: holder.draining })
    }
    // The sort keeps the order of shards, which is every node's.
    later.sort((a, b) => Number(b.isUrgent) - Number(a.isUrgent))
    const room = isUnlimited ? later.length : Math.max(0, this.limit.shards - this.#movedInInterval)
    for (const { shard, owner } of later.slice(0, room)) this.#current.set(shard, owner)
    const now = Math.min(room, later.length)
    this.#movedInInterval += now
    return { moved: moved + now, left: later.length - now }
  }

  #view(): ClusterView['owners'] {
    const owner = (shard: Shard) => this.#current.get(shardName(shard)) ?? ''
    const of = (signal: (typeof SIGNALS)[number]) =>
      Array.from({ length: SHARDS[signal] }, (_, number) => owner({ signal, number }))
    return { spans: of('spans'), metrics: of('metrics'), logs: of('logs') }
  }
}

/** Whether a node that holds a shard can still be sent what belongs to it. */
function takesPart(cast: Cast, holder: Watched): boolean {
  return isPresent(holder) && holder.group === cast.group && holder.stream !== ''
}

/**
 * The nodes of the ring. Where nobody may own a shard, as when the last node drains, those who are
 * there keep them: a shard without an owner would be refused everywhere.
 */
function ringNodes(cast: Cast, weights: ReadonlyMap<string, number>): RingNode[] {
  const self = cast.byName.get(cast.self)
  const anyone = [...cast.byName.values()].filter((member) => takesPart(cast, member))
  const takers =
    cast.owners.length > 0 ? cast.owners : anyone.length > 0 ? anyone : self ? [self] : []
  return takers
    .map(({ name, zone, weight }) => ({ name, zone, weight: weights.get(name) ?? weight }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}
