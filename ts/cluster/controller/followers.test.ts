/** Followers stay as long as they can, and are in other zones while there are any. */

import { expect, test } from 'vitest'
import { Scene } from '../../testing/cluster/situations.js'

const five = ['a', 'b', 'c', 'd', 'e']

test('each signal has its copies, this node never among them, and shares its followers', () => {
  const { followers } = new Scene('a', five).decide().view
  expect(followers.spans).toHaveLength(2)
  expect(followers.metrics).toHaveLength(1)
  expect(followers.logs).toHaveLength(1)
  expect(followers.spans).not.toContain('a')
  expect(followers.spans).toContain(followers.metrics[0])
  expect(followers.spans).toContain(followers.logs[0])
})

test('nodes do not all choose the same followers', () => {
  const first = five.map((self) => new Scene(self, five).decide().view.followers.spans[0])
  expect(new Set(first).size).toBeGreaterThan(1)
})

test('copies go to other zones while there are any', () => {
  for (const self of five) {
    const scene = new Scene(self, five)
    for (const [name, zone] of Object.entries({ a: 'x', b: 'x', c: 'y', d: 'y', e: 'z' })) {
      scene.change(name, { zone })
    }
    const zoneOf = (name: string) => scene.members.get(name)?.zone
    const { spans, metrics } = scene.decide().view.followers
    expect(new Set([self, ...spans].map(zoneOf)).size).toBe(3)
    expect(zoneOf(metrics[0] ?? '')).not.toBe(zoneOf(self))
  }
})

test('newcomers change nothing, but take a place that nobody had', () => {
  const scene = new Scene('a', ['a', 'b'])
  expect(scene.decide().view.followers.spans).toEqual(['b'])
  scene.change('c', {})
  expect(scene.decide().view.followers.spans).toEqual(['b', 'c'])
  for (const name of ['d', 'e', 'f', 'g']) scene.change(name, {})
  expect(scene.pass(120_000).view.followers.spans).toEqual(['b', 'c'])
})

test('a dead follower keeps its place for a while, then another takes it for good', () => {
  const scene = new Scene('a', five)
  const [first, second] = scene.decide().view.followers.spans as [string, string]
  scene.change(first, { status: 'dead' })
  expect(scene.decide().view.followers.spans).toEqual([first, second])
  expect(scene.pass(29_500).view.followers.spans).toEqual([first, second])
  const replaced = scene.pass(1000).view.followers.spans
  expect(replaced).not.toContain(first)
  expect(replaced).toContain(second)
  scene.change(first, { status: 'alive' })
  expect(scene.pass(60_000).view.followers.spans).toEqual(replaced)
})

test('one that is back before that has lost nothing', () => {
  const scene = new Scene('a', five)
  const before = scene.decide().view.followers
  const [first] = before.spans as [string]
  scene.change(first, { status: 'dead' })
  scene.pass(20_000)
  scene.change(first, { generation: 2, status: 'alive', group: '', stream: '' })
  expect(scene.pass(5000).view.followers.spans).toEqual(before.spans)
  scene.change(first, { group: 'g', stream: 'new' })
  expect(scene.pass(60_000).view.followers.spans).toEqual(before.spans)
})

test('where the quorum is lost another takes the place at once', () => {
  const scene = new Scene('a', five)
  const [metrics] = scene.decide().view.followers.metrics as [string]
  scene.change(metrics, { status: 'dead' })
  const after = scene.decide().view.followers
  expect(after.metrics).not.toContain(metrics)
  expect(after.metrics).toHaveLength(1)
  // Spans still have two of three, and wait.
  expect(after.spans).toContain(metrics)
  // Logs are acknowledged at one copy, but not for long without anybody for the second.
  expect(after.logs).not.toContain(metrics)
  expect(after.logs).toHaveLength(1)
})

test('a follower that others hear and that does not answer this node is replaced where the quorum needs it', () => {
  const scene = new Scene('a', ['a', 'b', 'c'])
  const before = scene.decide().view.followers
  const [silent] = before.metrics as [string]
  scene.silent.add(silent)
  // A node that is busy for a moment keeps its place.
  expect(scene.pass(2000).view.followers).toEqual(before)
  scene.silent.delete(silent)
  scene.pass(500)
  scene.silent.add(silent)
  expect(scene.pass(2500).view.followers).toEqual(before)
  const after = scene.pass(1000).view.followers
  const other = silent === 'b' ? 'c' : 'b'
  expect([after.metrics, after.logs]).toEqual([[other], [other]])
  // Spans have a quorum without it, and nobody else could take its place.
  expect(after.spans).toEqual(before.spans)
  // Who took the place keeps it.
  scene.silent.clear()
  expect(scene.pass(60_000).view.followers).toEqual(after)
})

test('a follower that does not answer for long is replaced where others are there, and not where all are silent', () => {
  const scene = new Scene('a', five)
  const before = scene.decide().view.followers
  const [silent] = before.spans as [string]
  scene.silent.add(silent)
  expect(scene.pass(29_500).view.followers.spans).toEqual(before.spans)
  const after = scene.pass(1000).view.followers.spans
  expect(after).not.toContain(silent)
  expect(after).toHaveLength(2)
  for (const name of five) scene.silent.add(name)
  expect(scene.pass(60_000).view.followers.spans).toEqual(after)
})

test('a follower that drains or leaves is replaced at once where another can be had', () => {
  for (const change of [{ draining: true }, { status: 'left' as const }]) {
    const scene = new Scene('a', five)
    const [first] = scene.decide().view.followers.spans as [string]
    scene.change(first, change)
    const after = scene.decide().view.followers.spans
    expect(after).not.toContain(first)
    expect(after).toHaveLength(2)
  }
})

test('where nobody else is there, a dead or draining follower keeps its place, one that left does not', () => {
  const scene = new Scene('a', ['a', 'b', 'c'])
  scene.decide()
  scene.change('b', { status: 'dead' })
  expect(scene.pass(60_000).view.followers.spans.toSorted()).toEqual(['b', 'c'])
  scene.change('c', { draining: true })
  expect(scene.decide().view.followers.spans.toSorted()).toEqual(['b', 'c'])
  scene.change('c', { status: 'left' })
  expect(scene.decide().view.followers.spans).toEqual(['b'])
})

test('who has no storage, no group or no address follows nobody', () => {
  const scene = new Scene('a', five)
  scene.change('b', { roles: ['query'] })
  scene.change('c', { group: '' })
  scene.change('d', { peer: '' })
  expect(scene.decide().view.followers.spans).toEqual(['e'])
})

test('where one copy is enough there are no followers', () => {
  const copies = { spans: 1, metrics: 1, logs: 1 }
  const acks = { spans: 1, metrics: 1, logs: 1 }
  const { followers } = new Scene('a', five, { copies, acks }).decide().view
  expect(followers).toEqual({ spans: [], metrics: [], logs: [] })
})
