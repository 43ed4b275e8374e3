/** Voters are an odd number, of different zones, and stay. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Scene } from '../../testing/cluster/situations.js'

const names = (count: number) => Array.from({ length: count }, (_, index) => `n${index}`)

/** Decides until the group has the voters it should have. */
function settle(scene: Scene): string[] {
  for (let round = 0; round < 4; round++) scene.set({ voters: scene.decide().view.voters })
  return scene.metadata.voters
}

test.each([
  [1, 1],
  [2, 1],
  [3, 3],
  [4, 3],
  [5, 5],
  [9, 5],
])('of %i nodes %i vote', (size, voters) => {
  expect(settle(new Scene('n0', names(size)))).toHaveLength(voters)
})

test('the setting bounds them', () => {
  expect(settle(new Scene('n0', names(9), { voters: 3 }))).toHaveLength(3)
  expect(settle(new Scene('n0', names(9), { voters: 1 }))).toHaveLength(1)
})

test('a cluster that grows keeps its voters and adds to them', () => {
  const scene = new Scene('n0', ['n0'])
  expect(settle(scene)).toEqual(['n0'])
  scene.change('n1', {})
  expect(settle(scene)).toEqual(['n0'])
  scene.change('n2', {})
  expect(settle(scene)).toEqual(['n0', 'n1', 'n2'])
  scene.change('a', {})
  expect(settle(scene)).toEqual(['n0', 'n1', 'n2'])
  scene.change('b', {})
  expect(settle(scene)).toEqual(['a', 'b', 'n0', 'n1', 'n2'])
})

test('voters are of different zones while there are any', () => {
  const scene = new Scene('n0', names(6), { voters: 3 })
  for (const [index, name] of names(6).entries()) {
    scene.change(name, { zone: index < 4 ? 'x' : `z${index}` })
  }
  expect(settle(scene)).toEqual(['n0', 'n4', 'n5'])
})

test('a dead voter stays for a while, and for good where nobody can take its place', () => {
  const scene = new Scene('n0', names(3))
  settle(scene)
  scene.change('n2', { status: 'dead' })
  expect(scene.pass(120_000).view.voters).toEqual(['n0', 'n1', 'n2'])
  scene.change('n3', {})
  expect(scene.pass(1000).view.voters).toEqual(['n0', 'n1', 'n3'])
})

test('of four nodes the fourth takes the place of a dead voter after the time, not before', () => {
  const scene = new Scene('n0', names(4))
  settle(scene)
  scene.change('n1', { status: 'dead' })
  expect(scene.decide().view.voters).toEqual(['n0', 'n1', 'n2'])
  expect(scene.pass(29_500).view.voters).toEqual(['n0', 'n1', 'n2'])
  expect(scene.pass(1000).view.voters).toEqual(['n0', 'n2', 'n3'])
})

test('who drains gives its seat to another at once', () => {
  const scene = new Scene('n1', names(4))
  expect(settle(scene)).toEqual(['n0', 'n1', 'n2'])
  scene.change('n0', { draining: true })
  expect(settle(scene)).toEqual(['n1', 'n2', 'n3'])
})

test('over a restart of one of three the group stays as it is', () => {
  const scene = new Scene('n1', names(3))
  settle(scene)
  scene.change('n0', { draining: true })
  expect(settle(scene)).toEqual(['n0', 'n1', 'n2'])
  scene.change('n0', { status: 'left' })
  expect(settle(scene)).toEqual(['n0', 'n1', 'n2'])
  expect(scene.decide().view.members).toContainEqual({
    name: 'n0',
    address: 'n0:4322',
    alive: false,
    queries: false,
  })
  scene.change('n3', {})
  expect(settle(scene)).toEqual(['n1', 'n2', 'n3'])
})

test('the group becomes smaller before those that stay are no majority', () => {
  const scene = new Scene('n1', names(3))
  settle(scene)
  scene.change('n0', { status: 'left' })
  expect(settle(scene)).toHaveLength(3)
  scene.change('n2', { draining: true })
  expect(settle(scene)).toEqual(['n1'])
})

test('a voter that has just started anew is one still', () => {
  const scene = new Scene('n0', names(4))
  settle(scene)
  scene.change('n1', { generation: 2, group: '', stream: '', roles: [] })
  expect(scene.decide().view.voters).toEqual(['n0', 'n1', 'n2'])
})

test('who is in no group yet does not vote, and a node without a group changes nothing', () => {
  const scene = new Scene('n0', names(3))
  scene.change('n2', { group: '' })
  expect(settle(scene)).toEqual(['n0'])
  const newcomer = new Scene('n2', names(3))
  newcomer.change('n2', { group: '' })
  newcomer.set({ voters: ['n0', 'n1'], group: '' })
  expect(newcomer.decide().view.voters).toEqual(['n0', 'n1'])
})

test('whatever happens there is an odd number of voters, and those that go are never half of them', () => {
  const change = fc.record({
    name: fc.constantFrom(...names(7).slice(1)),
    status: fc.constantFrom('alive', 'suspect', 'dead', 'left'),
    draining: fc.boolean(),
    waitMs: fc.constantFrom(0, 1000, 40_000),
  })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 10 }), (changes) => {
      const scene = new Scene('n0', names(7))
      settle(scene)
      for (const { name, status, draining, waitMs } of changes) {
        scene.change(name, { status: status as 'alive', draining })
        scene.now += waitMs
        const voters = settle(scene)
        expect([1, 3, 5]).toContain(voters.length)
        expect(new Set(voters).size).toBe(voters.length)
        for (const voter of voters) {
          expect(scene.members.has(voter)).toBe(true)
        }
        const all = voters.map((voter) => scene.members.get(voter))
        const staying = all.filter((view) => view?.status !== 'left' && !view?.draining)
        expect(2 * staying.length).toBeGreaterThan(voters.length)
      }
    }),
    { numRuns: 25 },
  )
})
