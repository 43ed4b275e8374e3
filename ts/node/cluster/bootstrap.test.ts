/** One node alone begins the metadata group, whatever the order of their starts. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Answer,
  type Circumstances,
  type Resolver,
  resolveSeeds,
  type Seed,
  shouldBootstrap,
  whyWaiting,
} from './bootstrap.js'

const seed = (host: string, isSelf = false): Seed => ({
  given: `${host}:4321`,
  addresses: [`${host}:4321`],
  isSelf,
})
const answer = (host: string, changes: Partial<Answer> = {}): Answer => ({
  address: `${host}:4321`,
  isPresent: true,
  group: '',
  saysNoGroup: true,
  ...changes,
})
const first = (others: Answer[], changes: Partial<Circumstances> = {}): Circumstances => ({
  bootstrap: false,
  group: '',
  seeds: [seed('a', true), seed('b'), seed('c')],
  others,
  ...changes,
})

test('the first of the list begins when all others say that they are in no group', () => {
  expect(shouldBootstrap(first([answer('b'), answer('c')]))).toBe(true)
  expect(shouldBootstrap(first([answer('b')]))).toBe(false)
  expect(shouldBootstrap(first([]))).toBe(false)
})

test.each([
  ['one is in a group', answer('c', { group: 'g', saysNoGroup: false })],
  ['one has not said', answer('c', { saysNoGroup: false })],
  ['one is dead', answer('c', { isPresent: false })],
])('it does not while %s', (_what, other) => {
  expect(shouldBootstrap(first([answer('b'), other]))).toBe(false)
})

test('it does not where it knows a group, nor where a node beside the list is in one', () => {
  const others = [answer('b'), answer('c')]
  expect(shouldBootstrap(first(others, { group: 'g' }))).toBe(false)
  const beside = answer('d', { group: 'g', saysNoGroup: false })
  expect(shouldBootstrap(first([...others, beside]))).toBe(false)
  // Of a dead one nobody knows whether it will be back: its group is not ours to wait for.
  expect(shouldBootstrap(first([...others, { ...beside, isPresent: false }]))).toBe(true)
})

test('who is not first waits, and a list of oneself alone is enough', () => {
  const seeds = [seed('b'), seed('a', true)]
  expect(shouldBootstrap(first([answer('b')], { seeds }))).toBe(false)
  expect(shouldBootstrap(first([], { seeds: [seed('a', true)] }))).toBe(true)
  expect(shouldBootstrap(first([], { seeds: [] }))).toBe(false)
})

test('who is told to begins without the others, but not beside a group', () => {
  expect(shouldBootstrap(first([], { bootstrap: true }))).toBe(true)
  const others = [answer('c', { group: 'g', saysNoGroup: false })]
  expect(shouldBootstrap(first(others, { bootstrap: true }))).toBe(false)
})

test('of any nodes with one list, one at most begins', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.array(fc.boolean()), (size, up) => {
      const names = Array.from({ length: size }, (_, index) => `n${index}`)
      const begins = names.filter((self) =>
        shouldBootstrap({
          bootstrap: false,
          group: '',
          seeds: names.map((name) => seed(name, name === self)),
          others: names
            .filter((name) => name !== self)
            .map((name, index) => answer(name, { isPresent: up[index] ?? true })),
        }),
      )
      expect(begins.length).toBeLessThanOrEqual(1)
    }),
  )
})

test('why a node waits names who is to come', () => {
  expect(whyWaiting(first([answer('b')]))).toContain('c:4321 did not answer')
  const second = first([], { seeds: [seed('b'), seed('a', true)] })
  expect(whyWaiting(second)).toContain('b:4321 has to begin it')
  expect(whyWaiting(first([], { seeds: [] }))).toContain('--bootstrap')
})

const names: Record<string, string[]> = {
  one: ['10.0.0.1'],
  two: ['10.0.0.2', 'fd00::2'],
  localhost: ['127.0.0.1'],
}
const resolver: Resolver = {
  addresses: async (host) => names[host] ?? (/^[\d.:a-f]+$/.test(host) ? [host] : []),
  own: () => ['127.0.0.1', '10.0.0.1'],
}

test('the list is known by what its names stand for, oneself included', async () => {
  const given = ['one:4321', 'two:4321', '10.0.0.1:4321', 'one:5000', 'nowhere:1']
  const self = { advertised: '10.0.0.1:4321', listen: '10.0.0.1:4321' }
  expect(await resolveSeeds(given, self, resolver)).toEqual([
    { given: 'one:4321', addresses: ['10.0.0.1:4321'], isSelf: true },
    { given: 'two:4321', addresses: ['10.0.0.2:4321', '[fd00::2]:4321'], isSelf: false },
    { given: '10.0.0.1:4321', addresses: ['10.0.0.1:4321'], isSelf: true },
    { given: 'one:5000', addresses: ['10.0.0.1:5000'], isSelf: false },
    { given: 'nowhere:1', addresses: [], isSelf: false },
  ])
})

test('a node that listens everywhere is each of its addresses', async () => {
  const self = { advertised: '192.168.0.9:5000', listen: '0.0.0.0:4321' }
  const given = ['localhost:4321', '10.0.0.1:4321', '192.168.0.9:5000', '10.0.0.2:4321']
  const seeds = await resolveSeeds(given, self, resolver)
  expect(seeds.map(({ isSelf }) => isSelf)).toEqual([true, true, true, false])
})
