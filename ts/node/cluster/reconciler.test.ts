/** Rounds bring the native side to what is decided, and outlive its failures. */

import { afterEach, beforeEach, expect, test } from 'vitest'
import { Membership } from '../../cluster/membership.js'
import { PEER_ADDRESS, toNodeRegisters, wireRegister } from '../../cluster/node-state.js'
import type { NativeCluster } from '../../native/cluster.js'
import { FakeGroup, type FakeNative } from '../../testing/cluster/fake-native.js'
import { SimNetwork } from '../../testing/cluster/sim-network.js'
import { SETTINGS } from '../../testing/cluster/situations.js'
import { SeededRandom } from '../../testing/seeded-random.js'
import { VirtualTime } from '../../testing/virtual-time.js'
import type { Logger } from '../node.js'
import { isGivenAway, isLast } from './drain.js'
import { problems } from './problems.js'
import { RECONCILE_MS, Reconciler, type Round } from './reconciler.js'

const QUORUM = {
  spans: { copies: 3, acks: 2, timeoutMs: 1 },
  metrics: { copies: 2, acks: 2, timeoutMs: 1 },
  logs: { copies: 2, acks: 1, timeoutMs: 1 },
}

let time: VirtualTime
let group: FakeGroup
let native: FakeNative
let membership: Membership
let reconciler: Reconciler
let logged: string[]
let rounds: Round[]

beforeEach(async () => {
  time = new VirtualTime()
  group = new FakeGroup()
  logged = []
  rounds = []
  const clock = {
    now: () => time.now,
    monotonic: () => time.now,
    every(ms: number, work: () => void) {
      let isOn = true
      const next = () => {
        if (!isOn) return
        work()
        time.after(ms, next)
      }
      time.after(ms, next)
      return () => {
        isOn = false
      }
    },
    sleep: () => new Promise<void>(() => undefined),
  }
  const config = { name: 'a', cluster: 'c', listen: '127.0.0.1:1', secret: null }
  native = (await group.start(null, {
    ...config,
    quorum: QUORUM,
    tenants: [],
    allowDegraded: false,
  })) as FakeNative
  const random = new SeededRandom(1)
  const transport = new SimNetwork(time, random).open('10.0.0.1:1')
  const about = { name: 'a', cluster: 'c', transport, keys: null, clock, monotonic: clock, random }
  membership = new Membership(about)
  membership.setLocalState({
    roles: ['processor', 'storage'],
    addresses: { [PEER_ADDRESS]: native.address },
  })
  const log = Object.fromEntries(
    ['error', 'warn', 'info', 'debug'].map((level) => [
      level,
      (_fields: object, message: string) => logged.push(`${level} ${message}`),
    ]),
  ) as unknown as Logger
  reconciler = new Reconciler({
    membership,
    native: native as NativeCluster,
    settings: SETTINGS,
    clock,
    monotonic: clock,
    log,
    onRound: (round) => {
      rounds.push(round)
      const { metadata, replication } = round
      const state = { group: metadata.group, stream: replication.stream }
      membership.setRegisters(new Map([wireRegister(), ...toNodeRegisters(state)]))
    },
  })
})

afterEach(async () => {
  await reconciler.stop()
  await membership.close()
})

const settle = () => new Promise((resolve) => setImmediate(resolve))

test('the view is told once, and again only when it changes', async () => {
  await native.bootstrap()
  await native.ready()
  reconciler.start()
  time.run(10 * RECONCILE_MS)
  expect(rounds.length).toBeGreaterThan(10)
  const views = native.views.length
  expect(views).toBeLessThanOrEqual(3)
  expect(native.views.at(-1)).toMatchObject({
    members: [{ name: 'a', address: native.address, alive: true, queries: false }],
    voters: ['a'],
    followers: { spans: [], metrics: [], logs: [] },
  })
  await native.configure('rule/service.name=x', '{"nodes":["a"]}')
  time.run(10 * RECONCILE_MS)
  expect(native.views).toHaveLength(views + 1)
})

test('a round that fails is said once and followed by others, and what was not told is told then', async () => {
  await native.bootstrap()
  const place = native.place.bind(native)
  native.place = () => {
    throw new Error('the native side is busy')
  }
  reconciler.start()
  time.run(5 * RECONCILE_MS)
  expect(reconciler.counts.failedRounds).toBeGreaterThan(3)
  expect(logged.filter((line) => line.startsWith('warn'))).toHaveLength(1)
  native.place = place
  time.run(2 * RECONCILE_MS)
  expect(native.views.length).toBeGreaterThan(0)
  expect(logged.at(-1)).toContain('can be told again')
})

test('a stream of nobody is recovered, each try is counted, and a call joins in', async () => {
  await native.bootstrap()
  await native.ready()
  const lost = { owner: 'gone', epoch: 1, state: 'open' as const, by: '', followers: [] }
  group.streams.set('lost', { stream: 'lost', ...lost })
  let answers = 0
  native.recovery = async (stream) => {
    answers++
    if (answers === 1) throw new Error('not yet')
    const complete = answers > 2
    return { stream, complete, records: 5, missingFrom: complete ? [] : ['b'] }
  }
  reconciler.start()
  for (let step = 0; step < 20; step++) {
    time.run(RECONCILE_MS)
    await settle()
  }
  expect(group.streams.get('lost')?.state).toBe('sealed')
  expect(reconciler.counts.recoveries).toEqual({ complete: 1, incomplete: 1, failed: 1 })
  expect(reconciler.counts.recoveredRecords).toBe(10)
  const both = [reconciler.recover('lost'), reconciler.recover('lost')]
  expect(both[0]).toBe(both[1])
  await Promise.all(both)
})

test('after its end no round begins', async () => {
  reconciler.start()
  await reconciler.stop()
  const before = rounds.length
  time.run(10 * RECONCILE_MS)
  reconciler.round()
  expect(rounds).toHaveLength(before)
})

test('problems are told in words: no group, no leader, no copies, strangers', async () => {
  const said = (changes: object = {}) =>
    problems({
      round: rounds.at(-1) as Round,
      self: 'a',
      quorum: QUORUM,
      tenants: [],
      allowDegraded: false,
      conflict: null,
      isRegistered: true,
      isFenced: false,
      waiting: null,
      lastError: null,
      ...changes,
    }).join('\n')
  reconciler.start()
  expect(said({ waiting: 'no metadata group yet' })).toBe('no metadata group yet')
  expect(said()).toContain('has no leader')
  await native.bootstrap()
  await native.ready()
  time.run(2 * RECONCILE_MS)
  expect(said()).toContain('spans are refused: 2 copies are needed and 1 can be had')
  expect(said()).not.toContain('logs are refused')
  const own = (tenant: string, signal: 'spans' | 'logs', acks: number) => ({
    tenant,
    signal,
    copies: 3,
    acks,
    timeoutMs: 1,
  })
  const strict = ['p', 'q', 'r', 's', 't', 'u'].map((tenant) => own(tenant, 'logs', 3))
  const tenants = [own('lax', 'spans', 1), own('same', 'spans', 2), ...strict]
  expect(said({ tenants }).split('\n')).toEqual([
    'spans of most tenants are refused: 2 copies are needed and 1 can be had; start more nodes',
    'metrics are refused: 2 copies are needed and 1 can be had; start more nodes',
    'logs of tenant p, q, r, s, t and 1 more are refused: 3 copies are needed and 1 can be had; start more nodes',
  ])
  expect(said({ allowDegraded: true })).toBe('')
  expect(said({ conflict: '10.0.0.9:1' })).toContain('10.0.0.9:1 is called a, too')
  expect(said({ isRegistered: false, lastError: 'it says no' })).toContain('it says no')
  expect(said({ isFenced: true })).toContain('it starts anew')
  const last = rounds.at(-1) as Round
  const ill = { ...last.metadata, failure: 'the disk is full', refused: { z: 'two of one name' } }
  rounds.push({ ...last, metadata: ill })
  expect(said()).toContain('has stopped: the disk is full')
  expect(said()).toContain('z cannot be in the metadata group: two of one name')
  const decision = { ...last.decision, strangers: ['x'], incompatible: ['y'] }
  rounds.push({ ...last, decision })
  expect(said()).toContain('x belong to another metadata group')
  expect(said()).toContain('y speak no wire version')
  const dead = { ...(last.members[0] as Round['members'][0]), name: 'b', status: 'dead' as const }
  rounds.push({ ...last, members: [...last.members, dead] })
  expect(said()).toContain('no other node answers')
})

test('what is given away is what others can take', async () => {
  await native.bootstrap()
  await native.ready()
  reconciler.start()
  time.run(2 * RECONCILE_MS)
  const last = rounds.at(-1) as Round
  const self = last.members[0] as Round['members'][0]
  const other = (name: string) => ({ ...self, name, stream: name })
  // Nobody is there to take anything.
  expect(isLast(last, 'a')).toBe(true)
  expect(isGivenAway(last, 'a', QUORUM)).toBe(true)
  const two = { ...last, members: [self, other('b')] }
  expect(isLast(two, 'a')).toBe(false)
  expect(isGivenAway(two, 'a', QUORUM)).toBe(false)
  const view = { ...last.decision.view, voters: ['a'] }
  const none = { ...last.decision, owned: 0, view }
  expect(isGivenAway({ ...two, decision: none }, 'a', QUORUM)).toBe(true)
  // It follows another, and no third is there to do it.
  const follows = { stream: 'b', owner: 'b', epoch: 1, state: 'open' as const, by: '' }
  const metadata = { ...last.metadata, streams: [{ ...follows, followers: ['a'] }] }
  expect(isGivenAway({ ...two, decision: none, metadata }, 'a', QUORUM)).toBe(true)
  const four = { ...two, members: [self, other('b'), other('c'), other('d')] }
  expect(isGivenAway({ ...four, decision: none, metadata }, 'a', QUORUM)).toBe(false)
  // Its seat is another's, once the group has agreed.
  const seat = { ...none, view: { ...view, voters: ['b'] } }
  expect(isGivenAway({ ...two, decision: seat }, 'a', QUORUM)).toBe(false)
  const agreed = { ...last.metadata, voters: ['b'] }
  expect(isGivenAway({ ...two, decision: seat, metadata: agreed }, 'a', QUORUM)).toBe(true)
})
