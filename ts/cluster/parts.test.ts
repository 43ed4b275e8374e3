/** The protocol's small parts: news, suspicion, local health, the order of probing. */

import { describe, expect, test } from 'vitest'
import { SeededRandom } from '../testing/seeded-random.js'
import { BroadcastQueue } from './broadcast.js'
import { LocalHealth } from './health.js'
import { Roster } from './roster.js'
import {
  checkSettings,
  DEFAULT_SETTINGS,
  MAX_LOCAL_HEALTH,
  MAX_LOOP_HEALTH,
  MAX_MEMBERS,
  MAX_QUEUED,
  suspicionBounds,
  syncInterval,
  transmitLimit,
} from './settings.js'
import { Suspicion } from './suspicion.js'

describe('news', () => {
  const queue = () =>
    new BroadcastQueue<string>(
      (news) => news.split('=')[0] as string,
      (news) => news.length,
    )

  test('are sent as often as the limit says, what was sent least first', () => {
    const news = queue()
    news.add('a=1')
    expect(news.take(100, 3)).toEqual(['a=1'])
    news.add('b=1')
    expect(news.take(3, 3)).toEqual(['b=1'])
    expect(news.sent('b')).toBe(1)
    expect(news.take(100, 3)).toEqual(['a=1', 'b=1'])
    expect(news.take(100, 3)).toEqual(['b=1'].concat(['a=1']).sort())
    expect(news.take(100, 3)).toEqual([])
    expect(news.size).toBe(0)
    expect(news.sent('b')).toBeNull()
  })

  test('of the same subject replace each other, and start anew', () => {
    const news = queue()
    news.add('a=1')
    news.take(100, 5)
    news.add('a=2')
    expect(news.size).toBe(1)
    expect(news.sent('a')).toBe(0)
    expect(news.take(100, 5)).toEqual(['a=2'])
  })

  test('keep within the budget', () => {
    const news = queue()
    for (let index = 0; index < 10; index++) news.add(`${index}=x`)
    expect(news.take(7, 5)).toHaveLength(2)
  })

  test('have a limit, at which what was sent most makes room (I5)', () => {
    const news = queue()
    news.add('old=1')
    news.take(100, 5)
    for (let index = 0; index < MAX_QUEUED; index++) news.add(`${index}=x`)
    expect(news.size).toBe(MAX_QUEUED)
    expect(news.sent('old')).toBeNull()
    expect(news.sent('0')).toBe(0)
  })
})

describe('suspicion', () => {
  // Of three members: 2 s at least, 12 s at most.
  const begin = (threshold = 3) => new Suspicion(0, { ...DEFAULT_SETTINGS, threshold }, 3, 'a')

  test('is longest with one piece of evidence, shortest with all, and in between in between', () => {
    const suspicion = begin()
    expect(suspicion.durationMs()).toBe(12_000)
    expect(suspicion.confirm('a'), 'the same word twice').toBe(false)
    expect(suspicion.confirm('b')).toBe(true)
    const between = suspicion.durationMs()
    expect(between).toBeGreaterThan(2000)
    expect(between).toBeLessThan(12_000)
    expect(suspicion.confirm('c')).toBe(true)
    expect(suspicion.durationMs()).toBe(2000)
    expect(suspicion.confirm('d'), 'nothing more is wanted').toBe(false)
  })

  test('is shortened by one who probes again where nobody else is there', () => {
    const suspicion = begin()
    suspicion.failedAgain()
    suspicion.failedAgain()
    suspicion.failedAgain()
    expect(suspicion.evidence).toBe(3)
    expect(suspicion.durationMs()).toBe(2000)
  })

  test('with a threshold of one is as short as can be', () => {
    expect(begin(1).durationMs()).toBe(2000)
  })

  test('of one whose machine refuses connections ends within a heartbeat, however much this node doubts itself', () => {
    const suspicion = begin()
    suspicion.refused(100)
    suspicion.refused(900)
    expect(suspicion.isOver(1099, 8)).toBe(false)
    expect(suspicion.isOver(1100, 8)).toBe(true)
  })

  test('of one whose machine refuses ends sooner where another accuses it as well', () => {
    const suspicion = begin()
    suspicion.refused(100)
    suspicion.confirm('b')
    expect(suspicion.isOver(349, 1)).toBe(false)
    expect(suspicion.isOver(350, 1)).toBe(true)
    suspicion.postpone(50)
    expect(suspicion.isOver(399, 1)).toBe(false)
    expect(suspicion.isOver(400, 1)).toBe(true)
  })
})

test('local health has bounds, and falls and rises with what a node sees of itself', () => {
  const health = new LocalHealth()
  health.probeAnswered()
  expect(health.score).toBe(0)
  health.helpersSilent(2)
  health.refuted()
  expect(health.score).toBe(3)
  health.helpersSilent(9)
  expect(health.score).toBe(MAX_LOCAL_HEALTH)
  expect(health.multiplier).toBe(MAX_LOCAL_HEALTH + 1)
  health.probeAnswered()
  expect(health.score).toBe(MAX_LOCAL_HEALTH - 1)
})

test('a late event loop counts at once, for a heartbeat, and never for much', () => {
  const health = new LocalHealth()
  health.loopDelayed(249)
  expect(health.score).toBe(0)
  health.loopDelayed(300)
  expect(health.score).toBe(1)
  for (let times = 0; times < 20; times++) {
    health.loopDelayed(10_000)
    health.heartbeat()
  }
  expect(health.score, 'who is busy for long still finds the dead').toBe(MAX_LOOP_HEALTH)
  health.heartbeat()
  expect(health.score).toBe(0)
})

describe('the roster', () => {
  const record = (name: string, status: 'alive' | 'dead' = 'alive') => ({
    name,
    address: 'h:1',
    generation: 1,
    incarnation: 1,
    status,
  })

  test('has everyone probed once before anyone is probed twice', () => {
    const roster = new Roster(new SeededRandom(1))
    const names = Array.from({ length: 20 }, (_, index) => `n${index}`)
    for (const name of names) roster.put(record(name), 0)
    for (let round = 0; round < 5; round++) {
      const probed = names.map(() => roster.nextToProbe()?.name)
      if (round > 0) expect(new Set(probed).size).toBe(20)
    }
    roster.put(record('n3', 'dead'), 0)
    expect(roster.present).toBe(19)
    const probed = Array.from({ length: 60 }, () => roster.nextToProbe()?.name)
    expect(probed).not.toContain('n3')
  })

  test('finds those that are wanted, however few they are', () => {
    const roster = new Roster(new SeededRandom(1))
    roster.put(record('a'), 0)
    roster.put(record('b', 'dead'), 0)
    expect(roster.sample(3, ({ record: { status } }) => status === 'dead')).toEqual([
      record('b', 'dead'),
    ])
    expect(roster.sample(1, () => true)).toHaveLength(1)
    expect(roster.sample(3, () => false)).toEqual([])
  })

  test('has a limit (I5)', () => {
    const roster = new Roster(new SeededRandom(1))
    for (let index = 0; index < MAX_MEMBERS; index++) {
      expect(roster.put(record(`n${index}`), 0)).toBe(true)
    }
    expect(roster.put(record('one more'), 0)).toBe(false)
    expect(roster.put(record('n0', 'dead'), 0)).toBe(true)
    roster.forget('n0')
    expect(roster.put(record('one more'), 0)).toBe(true)
  })
})

test('time-out, heartbeat and number of members give the times of the protocol', () => {
  expect(suspicionBounds(DEFAULT_SETTINGS, 3)).toEqual({ min: 2000, max: 12_000 })
  expect(suspicionBounds(DEFAULT_SETTINGS, 1000).min).toBeCloseTo(6000)
  expect(transmitLimit(DEFAULT_SETTINGS, 3)).toBe(4)
  expect(transmitLimit(DEFAULT_SETTINGS, 1000)).toBe(16)
  expect(syncInterval(DEFAULT_SETTINGS, 3)).toBe(10_000)
  expect(syncInterval(DEFAULT_SETTINGS, 1000)).toBe(60_000)
})

test.each([
  { heartbeatMs: 0 },
  { heartbeatMs: Number.NaN },
  { probeTimeoutMs: 1000 },
  { timeoutMs: 1000 },
])('settings that cannot be are refused: %o', (given) => {
  expect(() => checkSettings(given)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
})
