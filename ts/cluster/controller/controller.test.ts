/** Who is told to the native side, and what operators' rules come to. */

import { expect, test } from 'vitest'
import { Scene } from '../../testing/cluster/situations.js'
import { readPlacement, ruleKey } from './rules.js'

const names = ['a', 'b', 'c']

test('everyone with an address is told, the dead as dead, those that left not at all', () => {
  const scene = new Scene('a', [...names, 'd', 'e'])
  scene.change('b', { status: 'suspect' })
  scene.change('c', { status: 'dead' })
  scene.change('d', { status: 'left' })
  scene.change('e', { peer: '' })
  const { view, forgotten } = scene.decide()
  expect(view.members).toEqual([
    { name: 'a', address: 'a:4322', alive: true, queries: true },
    { name: 'b', address: 'b:4322', alive: true, queries: true },
    { name: 'c', address: 'c:4322', alive: false, queries: false },
  ])
  expect(forgotten).toEqual(['d'])
})

test('tasks of queries go to nodes that are there, ready, of the role, and not about to go', () => {
  const scene = new Scene('a', [...names, 'd', 'e'])
  scene.change('b', { ready: false })
  scene.change('c', { draining: true })
  scene.change('d', { roles: ['gateway', 'processor', 'storage'] })
  const { members } = scene.decide().view
  const taking = members.filter(({ queries }) => queries)
  expect(taking.map(({ name }) => name)).toEqual(['a', 'e'])
})

test('a dead node that was removed is forgotten until it starts anew', () => {
  const scene = new Scene('a', names)
  scene.change('c', { generation: 5, status: 'dead' })
  scene.set({ config: { 'removed/c': 5 }, voters: names })
  const gone = scene.decide()
  expect(gone.forgotten).toEqual(['c'])
  expect(gone.view.members.map(({ name }) => name)).toEqual(['a', 'b'])
  expect(gone.view.voters).toEqual(['a'])
  scene.change('c', { generation: 6, status: 'alive' })
  expect(scene.decide().view.members).toHaveLength(3)
})

test('a removal does not reach a node that is there', () => {
  const scene = new Scene('a', names)
  scene.set({ config: { 'removed/c': 1 } })
  expect(scene.decide().view.members).toHaveLength(3)
})

test('nodes of another group, and of wire versions that nobody here speaks, are kept out', () => {
  const scene = new Scene('a', names)
  scene.change('b', { group: 'other' })
  scene.change('c', { wire: { min: 7, max: 9 } })
  const { view, strangers, incompatible } = scene.decide()
  expect(view.members.map(({ name }) => name)).toEqual(['a'])
  expect(strangers).toEqual(['b'])
  expect(incompatible).toEqual(['c'])
  expect(new Set(Object.values(view.owners).flat())).toEqual(new Set(['a']))
})

test('a node of the next version that still speaks this one takes part', () => {
  const scene = new Scene('a', names)
  scene.change('c', { wire: { min: 1, max: 2 } })
  expect(scene.decide()).toMatchObject({ incompatible: [], wire: 1 })
})

test('a newcomer sees the owners of the group that the others are in', () => {
  const newcomer = new Scene('d', [...names, 'd'])
  newcomer.change('d', { group: '', stream: '' })
  const { owners } = newcomer.decide().view
  expect(owners).toEqual(new Scene('a', names).decide().view.owners)
})

test('a rule names the nodes of its that can be given something, and none is no rule', () => {
  const scene = new Scene('a', names)
  scene.set({
    config: {
      [ruleKey('service.name', 'checkout')]: { nodes: ['b', 'c', 'x'] },
      [ruleKey('service.name', 'old')]: null,
      [ruleKey('deployment.environment.name', 'test')]: { nodes: ['c'] },
    },
  })
  expect(scene.decide().view.rules).toHaveLength(2)
  scene.change('c', { status: 'dead' })
  expect(scene.decide().view.rules).toEqual([
    { attribute: 'service.name', value: 'checkout', nodes: ['b'] },
  ])
})

test('what is no rule, weight or removal is passed over', () => {
  const placement = readPlacement({
    'rule/': { nodes: ['a'] },
    'rule/=x': { nodes: ['a'] },
    'rule/a=b=c': { nodes: ['n'] },
    'rule/a=1': 'n',
    'weight/a': 0,
    'weight/b': 'much',
    'weight/c': 2,
    'removed/a': 'yes',
    rebalance: 'now',
    other: 1,
  })
  expect(placement.rules).toEqual([{ attribute: 'a', value: 'b=c', nodes: ['n'] }])
  expect([...placement.weights]).toEqual([['c', 2]])
  expect(placement.removed.size).toBe(0)
  expect(placement.rebalance).toBe(0)
  expect(() => ruleKey('a=b', 'c')).toThrow('ATTRIBUTE=VALUE')
  expect(() => ruleKey('', 'c')).toThrow('ATTRIBUTE=VALUE')
})
