/** Shards are spread by weight and zone, and stay where they are when others come and go. */

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import {
  allShards,
  assign,
  MAX_RING_NODES,
  Ring,
  type RingNode,
  rebalance,
  type Shard,
  shardName,
  shardOf,
} from './ring.js'

// Many courses of events in one test; nothing in it waits for real.
vi.setConfig({ testTimeout: 60_000 })

const RUNS = { numRuns: 15 }
const nodes = (count: number, zones = 0): RingNode[] =>
  Array.from({ length: count }, (_, index) => ({
    name: `n${index}`,
    zone: zones > 0 ? `z${index % zones}` : '',
    weight: 1,
  }))

const vectors = JSON.parse(
  readFileSync(new URL('../../proto/otlake/v1/ring-vectors.json', import.meta.url), 'utf8'),
) as {
  keys: ({ key: string } & Shard)[]
  placements: { nodes: RingNode[]; shards: (Shard & { replicas: string[] })[] }[]
}

test('keys and shards are where the shared vectors say', () => {
  expect(vectors.keys.length * vectors.placements.length).toBeGreaterThan(10)
  for (const { key, signal, number } of vectors.keys) {
    expect(shardOf(signal, Buffer.from(key, 'hex'))).toEqual({ signal, number })
  }
  for (const placement of vectors.placements) {
    const ring = new Ring(placement.nodes)
    for (const { replicas, ...shard } of placement.shards) {
      expect(ring.replicas(shard, 3), shardName(shard)).toEqual(replicas)
    }
  }
})

test('there are 1,000 shards: 500 of spans, 300 of metrics, 200 of logs', () => {
  const names = new Set(allShards().map(shardName))
  expect(names.size).toBe(1000)
  for (const [signal, count] of [
    ['spans', 500],
    ['metrics', 300],
    ['logs', 200],
  ] as const) {
    expect(allShards().filter((shard) => shard.signal === signal)).toHaveLength(count)
  }
})

test('placement does not depend on the order in which nodes are named', () => {
  fc.assert(
    fc.property(fc.shuffledSubarray(nodes(6, 2), { minLength: 6 }), (given) => {
      expect([...assign(new Ring(given), 3)]).toEqual([...assign(new Ring(nodes(6, 2)), 3)])
    }),
    RUNS,
  )
})

test('a node that comes or goes moves about its share of the shards, and only to or from itself', () => {
  fc.assert(
    fc.property(fc.integer({ min: 3, max: 20 }), fc.nat(1000), (count, salt) => {
      const named = nodes(count).map((node) => ({ ...node, name: `${node.name}-${salt}` }))
      const [first, ...rest] = named as [RingNode, ...RingNode[]]
      const all = assign(new Ring(named), 1)
      const fewer = assign(new Ring(rest), 1)
      const changed = [...all].filter(([shard, [owner]]) => fewer.get(shard)?.[0] !== owner)
      for (const [, [owner]] of changed) expect(owner).toBe(first.name)
      expect(changed.length).toBeLessThan((2 * 1000) / count)
      expect(changed.length).toBeGreaterThan(1000 / count / 2.5)
    }),
    RUNS,
  )
})

test('a node of twice the weight has about twice the shards', () => {
  const [a, b, c] = nodes(3) as [RingNode, RingNode, RingNode]
  const owners = [...assign(new Ring([{ ...a, weight: 2 }, b, c]), 1).values()].flat()
  const share = owners.filter((name) => name === a.name).length
  expect(share).toBeGreaterThan(400)
  expect(share).toBeLessThan(600)
})

test('replicas are of different nodes, and of different zones while there are any', () => {
  fc.assert(
    fc.property(fc.integer({ min: 3, max: 12 }), fc.integer({ min: 1, max: 4 }), (count, zones) => {
      const given = nodes(count, zones)
      const zoneOf = new Map(given.map(({ name, zone }) => [name, zone]))
      for (const replicas of assign(new Ring(given), 3).values()) {
        expect(new Set(replicas).size).toBe(3)
        expect(new Set(replicas.map((name) => zoneOf.get(name))).size).toBe(Math.min(3, zones))
      }
    }),
    RUNS,
  )
})

test('with fewer nodes than replicas each holds everything', () => {
  for (const replicas of assign(new Ring(nodes(2)), 3).values()) expect(replicas).toHaveLength(2)
  expect(new Ring([]).replicas({ signal: 'logs', number: 0 }, 3)).toEqual([])
})

test('a rule pins what carries its attribute to its nodes, those that are there', () => {
  const ring = new Ring(nodes(5))
  const shard: Shard = { signal: 'spans', number: 3 }
  const rules = [
    { attribute: 'service.name', value: 'pay', nodes: ['n3', 'n4', 'gone'] },
    { attribute: 'deployment.environment.name', value: 'test', nodes: ['gone'] },
  ]
  const of = (attributes: Record<string, string>) =>
    ring.pinned(shard, 3, new Map(Object.entries(attributes)), rules)
  expect(of({ 'service.name': 'pay' }).sort()).toEqual(['n3', 'n4'])
  const unpinned = ring.replicas(shard, 3)
  expect(of({ 'service.name': 'shop' })).toEqual(unpinned)
  expect(of({ 'deployment.environment.name': 'test' }), 'none is there').toEqual(unpinned)
})

describe('rebalancing', () => {
  test('moves no more at once than the limit, and ends where the ring says', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 8 }),
        fc.integer({ min: 20, max: 300 }),
        (count, limit) => {
          let current: ReadonlyMap<string, readonly string[]> = assign(new Ring(nodes(count)), 3)
          const wanted = assign(new Ring(nodes(count + 1)), 3)
          const present = new Set(nodes(count + 1).map(({ name }) => name))
          for (let step = 0; ; step++) {
            expect(step).toBeLessThan(60)
            const { next, moved, left } = rebalance(current, wanted, present, limit)
            expect(moved.length).toBeLessThanOrEqual(limit)
            for (const [shard, held] of next) {
              const isNew = held.some((name) => !current.get(shard)?.includes(name))
              expect(isNew).toBe(moved.includes(shard))
            }
            current = next
            if (left === 0) break
          }
          expect([...current].sort()).toEqual([...wanted].sort())
        },
      ),
      RUNS,
    )
  })

  test('sees first to shards that have lost a copy', () => {
    const before = assign(new Ring(nodes(4)), 3)
    // One comes, one is gone: shards of the latter are in danger, the others only in the wrong place.
    const now = nodes(5).filter(({ name }) => name !== 'n0')
    const present = new Set(now.map(({ name }) => name))
    const { moved } = rebalance(before, assign(new Ring(now), 3), present, 100)
    expect(moved).toHaveLength(100)
    for (const shard of moved) expect(before.get(shard)).toContain('n0')
  })
})

test('a ring refuses two nodes of one name, weights past the limits, and too many nodes', () => {
  const [a] = nodes(1) as [RingNode]
  for (const given of [
    [a, a],
    [{ ...a, weight: 0 }],
    [{ ...a, weight: 17 }],
    [{ ...a, weight: Number.NaN }],
    nodes(MAX_RING_NODES + 1),
  ]) {
    expect(() => new Ring(given)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  }
})
