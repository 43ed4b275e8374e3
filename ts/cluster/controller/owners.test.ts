/** Shards go where the ring wants them, in limited steps, and at once where their owner is gone. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { counts, member, Scene } from '../../testing/cluster/situations.js'
import { allShards, Ring, SHARDS, type Signal } from '../ring.js'

const THREE = ['a', 'b', 'c']
const total = SHARDS.spans + SHARDS.metrics + SHARDS.logs

test('a start takes what the ring wants, the same on every node', () => {
  const views = THREE.map((self) => new Scene(self, THREE).decide().view.owners)
  expect(views[1]).toEqual(views[0])
  expect(views[2]).toEqual(views[0])
  const ring = new Ring(THREE.map((name) => ({ name, zone: '', weight: 1 })))
  for (const { signal, number } of allShards()) {
    expect(views[0]?.[signal][number]).toBe(ring.replicas({ signal, number }, 1)[0])
  }
})

test('shards of a dead node move at once, and nothing else does', () => {
  const scene = new Scene('a', THREE)
  const before = scene.decide()
  scene.change('c', { status: 'dead' })
  const after = scene.decide()
  expect(after.moved).toBe(counts(before).c)
  expect(counts(after).c).toBeUndefined()
  for (const signal of Object.keys(SHARDS) as Signal[]) {
    for (const [number, owner] of before.view.owners[signal].entries()) {
      if (owner !== 'c') expect(after.view.owners[signal][number]).toBe(owner)
    }
  }
})

test('a suspect keeps its shards: it may be well', () => {
  const scene = new Scene('a', THREE)
  const before = counts(scene.decide())
  scene.change('b', { status: 'suspect' })
  expect(counts(scene.decide())).toEqual(before)
})

test('a newcomer gets its share in steps of the limit', () => {
  const scene = new Scene('a', THREE, { rebalanceShards: 40 })
  scene.decide()
  scene.change('d', {})
  const first = scene.decide()
  expect(first.moved).toBe(40)
  expect(scene.decide().moved).toBe(0)
  scene.now += 999
  expect(scene.decide().moved).toBe(0)
  scene.now += 1
  expect(scene.decide().moved).toBe(40)
  const last = scene.pass(60_000)
  expect(last.left).toBe(0)
  expect(counts(last).d).toBe(first.moved + first.left)
  expect(counts(last).d).toBeGreaterThan(total / 8)
})

test('a node that drains gives its shards away within the limit, before others move', () => {
  const scene = new Scene('a', THREE, { rebalanceShards: 50 })
  scene.decide()
  scene.change('d', {})
  scene.change('b', { draining: true })
  const before = counts(scene.decide()).b ?? 0
  scene.now += 1000
  const step = scene.decide()
  expect(before - (counts(step).b ?? 0)).toBe(Math.min(50, before))
  expect(counts(scene.pass(60_000)).b).toBeUndefined()
})

test('the last node that is there keeps everything though it drains', () => {
  const scene = new Scene('a', ['a'])
  scene.decide()
  scene.change('a', { draining: true })
  expect(counts(scene.pass(5000))).toEqual({ a: total })
})

test('a node that has not registered its stream, or has no such role, owns nothing', () => {
  const scene = new Scene('a', THREE)
  scene.change('b', { stream: '' })
  scene.change('c', { roles: ['query'] })
  expect(counts(scene.decide())).toEqual({ a: total })
})

test('a node that has started anew and is not ready loses its shards at once', () => {
  const scene = new Scene('a', THREE)
  scene.decide()
  scene.change('c', { generation: 2, stream: '' })
  expect(counts(scene.decide()).c).toBeUndefined()
})

test('a weight of the metadata group stands before the node’s own', () => {
  const scene = new Scene('a', THREE, { rebalanceShards: total })
  scene.change('b', { weight: 0.1 })
  const light = counts(scene.decide()).b ?? 0
  scene.set({ config: { 'weight/b': 1 } })
  scene.now += 1000
  const full = counts(scene.decide()).b ?? 0
  expect(light).toBeLessThan(total / 10)
  expect(full).toBeGreaterThan(total / 6)
})

test('an order to rebalance lifts the limit once', () => {
  const scene = new Scene('a', THREE, { rebalanceShards: 1 })
  scene.decide()
  scene.change('d', {})
  expect(scene.decide().moved).toBe(1)
  scene.set({ config: { rebalance: 7 } })
  expect(scene.decide().left).toBe(0)
  scene.change('e', {})
  scene.now += 1000
  expect(scene.decide().moved).toBe(1)
})

test('whatever happens, every shard has an owner that is there, and all ends as the ring wants', () => {
  const names = ['a', 'b', 'c', 'd', 'e']
  const change = fc.record({
    name: fc.constantFrom(...names.slice(1)),
    status: fc.constantFrom('alive', 'suspect', 'dead', 'left'),
    draining: fc.boolean(),
    waitMs: fc.integer({ min: 0, max: 3000 }),
  })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 12 }), (changes) => {
      const scene = new Scene('a', names)
      for (const { name, status, draining, waitMs } of changes) {
        scene.change(name, { status: status as 'alive', draining })
        scene.now += waitMs
        for (const owner of new Set(Object.values(scene.decide().view.owners).flat())) {
          const { status: now } = scene.members.get(owner) ?? member('?', { status: 'dead' })
          expect(['alive', 'suspect']).toContain(now)
        }
      }
      const last = scene.pass(20_000)
      expect(last.left).toBe(0)
      expect(last.view.owners).toEqual(fresh(scene).view.owners)
    }),
    { numRuns: 25 },
  )
})

/** What a node that starts now with the same members decides. */
function fresh(scene: Scene) {
  const other = new Scene(scene.self, [])
  for (const [name, view] of scene.members) other.members.set(name, view)
  return other.decide()
}

test('nothing is told anew while no owner changes, and everything is when one does', () => {
  const scene = new Scene('a', THREE, { rebalanceShards: 40 })
  const first = scene.decide()
  scene.now += 500
  scene.change('b', { status: 'suspect' })
  expect(scene.decide().view.owners).toBe(first.view.owners)
  scene.change('d', {})
  const second = scene.decide()
  expect(second.view.owners).not.toBe(first.view.owners)
  expect(counts(second).d).toBe(40)
  expect(counts(first).d).toBeUndefined()
  const last = scene.pass(60_000)
  expect(scene.decide().view.owners).toBe(last.view.owners)
  scene.change('d', { status: 'dead' })
  expect(counts(scene.decide()).d).toBeUndefined()
})
