/**
 * Which nodes hold which shard: consistent hashing with virtual nodes (Karger et al., 1997). A
 * node has points on a circle of 2^32 places, as many as its weight says, and a shard belongs to the
 * nodes of the points that follow its own place. Replicas go to different zones while there are
 * any; a rule can pin shards of some services or environments to some nodes (vertical placement).
 *
 * Placement is a function of the members alone, so whoever has the same members has the same
 * ring; `proto/otlake/v1/ring-vectors.json` holds examples that every implementation has to meet.
 *
 * ```
 *  place of a virtual node = first 4 bytes, big-endian, of SHA-256("node" 0 name 0 index)
 *  place of a shard        = first 4 bytes, big-endian, of SHA-256("shard" 0 signal 0 number)
 *  shard of a key          = XXH64(key) modulo the shards of its signal
 * ```
 *
 * Every record that comes in has its key hashed, so that hash is a fast one: SHA-256 of a trace id
 * takes 230 ns, XXH64 15 ns, where all of a span's way to the disk takes 1,500 ns
 * (docs/adr/0007-hash-of-shard-keys.md).
 */

import { createHash } from 'node:crypto'
import { OtlakeError } from '../base/errors.js'
import { xxhash64 } from './xxhash.js'

export type Signal = 'spans' | 'metrics' | 'logs'

/** Shards of each signal, 1,000 in all. */
export const SHARDS: Readonly<Record<Signal, number>> = { spans: 500, metrics: 300, logs: 200 }
export const SIGNALS: readonly Signal[] = ['spans', 'metrics', 'logs']

/** Virtual nodes of a node of weight 1. */
export const VIRTUAL_NODES = 128
/** The largest weight; a ring has at most this many times `VIRTUAL_NODES` points for a node. */
export const MAX_WEIGHT = 16
/** Nodes of one ring. */
export const MAX_RING_NODES = 1024

export interface RingNode {
  readonly name: string
  /** Empty: a zone of its own. */
  readonly zone: string
  /** How much it takes in comparison with others; above 0, up to `MAX_WEIGHT`. */
  readonly weight: number
}

export interface Shard {
  readonly signal: Signal
  readonly number: number
}

/** Pins what carries an attribute's value to some nodes. */
export interface PlacementRule {
  /** An attribute of the resource, such as `service.name`. */
  readonly attribute: string
  readonly value: string
  readonly nodes: readonly string[]
}

interface Point {
  readonly place: number
  readonly node: RingNode
}

/** The shard of a trace id, a series id or a resource, given as its bytes. */
export function shardOf(signal: Signal, key: Uint8Array): Shard {
  return { signal, number: Number(xxhash64(key) % BigInt(SHARDS[signal])) }
}

/** Every shard, in order. */
export function allShards(): Shard[] {
  return SIGNALS.flatMap((signal) =>
    Array.from({ length: SHARDS[signal] }, (_, number) => ({ signal, number })),
  )
}

/** A shard's name, `spans/17`. */
export function shardName({ signal, number }: Shard): string {
  return `${signal}/${number}`
}

export class Ring {
  readonly nodes: readonly RingNode[]
  readonly #points: Point[]
  readonly #byName: ReadonlyMap<string, RingNode>

  /** Throws `CONFIG_INVALID` for two nodes of one name, a weight past the limits, too many nodes. */
  constructor(nodes: readonly RingNode[]) {
    this.#byName = new Map(nodes.map((node) => [node.name, node]))
    const isFine = nodes.every(({ weight }) => weight > 0 && weight <= MAX_WEIGHT)
    if (!isFine || this.#byName.size < nodes.length || nodes.length > MAX_RING_NODES) {
      const limits = `${MAX_RING_NODES} nodes, weights above 0 and up to ${MAX_WEIGHT}`
      throw new OtlakeError('CONFIG_INVALID', `a ring takes different names, ${limits}`)
    }
    this.nodes = [...nodes]
    this.#points = nodes
      .flatMap((node) =>
        Array.from(
          { length: Math.max(1, Math.round(node.weight * VIRTUAL_NODES)) },
          (_, index) => ({
            place: placeOf('node', node.name, index),
            node,
          }),
        ),
      )
      // Two points of one place stand in the order of their nodes' names.
      .sort((a, b) => a.place - b.place || (a.node.name < b.node.name ? -1 : 1))
  }

  /** The nodes of a shard, its owner first; fewer than `replicas` where there are not so many. */
  replicas(shard: Shard, replicas: number): string[] {
    return this.#walk(placeOf('shard', shard.signal, shard.number), replicas, () => true)
  }

  /**
   * The same for what a rule pins: only nodes that the first rule that fits names, if any of them is
   * in the ring.
   */
  pinned(
    shard: Shard,
    replicas: number,
    attributes: ReadonlyMap<string, string>,
    rules: readonly PlacementRule[],
  ): string[] {
    const rule = rules.find(({ attribute, value }) => attributes.get(attribute) === value)
    const names = new Set(rule?.nodes.filter((name) => this.#byName.has(name)))
    if (names.size === 0) return this.replicas(shard, replicas)
    const place = placeOf('shard', shard.signal, shard.number)
    return this.#walk(place, replicas, ({ name }) => names.has(name))
  }

  /** Around the circle, at most once: nodes of new zones first, then any that are left. */
  #walk(place: number, wanted: number, takes: (node: RingNode) => boolean): string[] {
    const takers = this.nodes.filter(takes)
    const named = new Set(takers.map(({ zone }) => zone).filter((zone) => zone !== ''))
    // A node without a zone is a zone of its own.
    const zones = named.size + takers.filter(({ zone }) => zone === '').length
    const chosen: string[] = []
    const spare: string[] = []
    const seen = new Set<string>()
    const used = new Set<string>()
    const start = this.#after(place)
    for (let step = 0; step < this.#points.length; step++) {
      const needed = Math.min(wanted, zones)
      if (chosen.length >= needed && chosen.length + spare.length >= wanted) break
      const { node } = this.#points[(start + step) % this.#points.length] as Point
      if (seen.has(node.name) || !takes(node)) continue
      seen.add(node.name)
      if (node.zone !== '' && used.has(node.zone)) spare.push(node.name)
      else {
        used.add(node.zone)
        chosen.push(node.name)
      }
    }
    return [...chosen, ...spare].slice(0, wanted)
  }

  /** Index of the first point at or after a place. */
  #after(place: number): number {
    let low = 0
    let high = this.#points.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#points[middle] as Point).place < place) low = middle + 1
      else high = middle
    }
    return low
  }
}

function placeOf(kind: 'node' | 'shard', name: string, index: number): number {
  return createHash('sha256').update(`${kind}\0${name}\0${index}`).digest().readUInt32BE()
}

/** Who holds what: replicas by the name of the shard. */
export type Assignment = ReadonlyMap<string, readonly string[]>

/** What the ring wants. */
export function assign(ring: Ring, replicas: number): Map<string, string[]> {
  return new Map(allShards().map((shard) => [shardName(shard), ring.replicas(shard, replicas)]))
}

export interface Rebalance {
  /** Who holds what after this step. */
  readonly next: Map<string, readonly string[]>
  /** Shards that got a node that did not hold them, in this step. */
  readonly moved: readonly string[]
  /** Shards that are still to be moved. */
  readonly left: number
}

/**
 * One step from what is to what the ring wants. At most `limit` shards move, those first that have
 * lost most copies. What only changes its order, or drops a copy, moves no data and is done at once.
 */
export function rebalance(
  current: Assignment,
  wanted: Assignment,
  present: ReadonlySet<string>,
  limit: number,
): Rebalance {
  const next = new Map(wanted)
  const moving = [...wanted].filter(([shard, nodes]) => {
    const held = current.get(shard) ?? []
    return nodes.some((node) => !held.includes(node))
  })
  const lost = ([shard]: [string, readonly string[]]) =>
    (current.get(shard) ?? []).filter((node) => !present.has(node)).length
  const inOrder = moving
    .map((entry) => ({ entry, lost: lost(entry) }))
    .sort((a, b) => b.lost - a.lost)
    .map(({ entry: [shard] }) => shard)
  for (const shard of inOrder.slice(limit)) {
    const held = current.get(shard)
    if (held !== undefined) next.set(shard, held)
  }
  return {
    next,
    moved: inOrder.slice(0, limit),
    left: Math.max(0, inOrder.length - limit),
  }
}
