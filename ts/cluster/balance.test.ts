/** Equals get equal shares, the ill get less, and a key stays where it is. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  Balancer,
  EJECT_FAILURES,
  EJECT_MAX_MS,
  EJECT_MS,
  MAX_OVERLOAD,
  type Strategy,
  type Target,
} from './balance.js'

const STRATEGIES: Strategy[] = ['round_robin', 'weighted', 'least_connections', 'consistent_hash']
const ABC: Target[] = [{ name: 'a' }, { name: 'b' }, { name: 'c' }]

function balancer(strategy: Strategy, targets: readonly Target[] = ABC): Balancer {
  const made = new Balancer(strategy)
  made.update(targets)
  return made
}

/** Calls that end at once; how many each got. */
function spread(of: Balancer, calls: number, now = 0): Record<string, number> {
  const counted: Record<string, number> = {}
  for (let index = 0; index < calls; index++) {
    const call = of.begin(now, `key ${index}`)
    if (call === null) continue
    counted[call.name] = (counted[call.name] ?? 0) + 1
    call.end(now, true)
  }
  return counted
}

/** Calls to one node that end so. */
function calls(of: Balancer, name: string, times: number, isOk: boolean, now = 0, tookMs = 0) {
  const others = new Set(of.states(now).map((state) => state.name))
  others.delete(name)
  for (let index = 0; index < times; index++) of.begin(now, '', others)?.end(now + tookMs, isOk)
}

const health = (of: Balancer, now = 0) =>
  Object.fromEntries(of.states(now).map((state) => [state.name, state.health]))

test('round robin gives each its turn', () => {
  expect(spread(balancer('round_robin'), 300)).toEqual({ a: 100, b: 100, c: 100 })
})

test('weights share in their proportion, and evenly over time', () => {
  const of = balancer('weighted', [
    { name: 'a', weight: 3 },
    { name: 'b', weight: 1 },
    { name: 'c', weight: 1 },
  ])
  for (let round = 0; round < 20; round++) expect(spread(of, 5)).toEqual({ a: 3, b: 1, c: 1 })
})

test('the fewest calls, by weight, get the next', () => {
  const of = balancer('least_connections', [{ name: 'a', weight: 2 }, { name: 'b' }, { name: 'c' }])
  const running = Array.from({ length: 40 }, () => of.begin(0))
  const counted = (name: string) => running.filter((call) => call?.name === name).length
  expect([counted('a'), counted('b'), counted('c')]).toEqual([20, 10, 10])
  for (const call of running) if (call?.name === 'b') call.end(0, true)
  expect(of.begin(0)?.name).toBe('b')
})

test('a key has one node, and only those of a node that goes move', () => {
  const of = balancer('consistent_hash')
  const place = () =>
    Array.from({ length: 300 }, (_, index) => {
      const call = of.begin(0, `trace ${index}`)
      call?.end(0, true)
      return call?.name
    })
  const before = place()
  expect(place()).toEqual(before)
  of.update(ABC.slice(0, 2))
  for (const [index, name] of place().entries()) {
    if (before[index] !== 'c') expect(name).toBe(before[index])
  }
  of.update(ABC)
  expect(place()).toEqual(before)
})

test('one hot key does not load a node past its bound', () => {
  const of = balancer('consistent_hash')
  const running = Array.from({ length: 300 }, () => of.begin(0, 'hot')?.name)
  for (const name of ['a', 'b', 'c']) {
    const share = running.filter((each) => each === name).length
    expect(share).toBeLessThanOrEqual(Math.ceil((MAX_OVERLOAD * 300) / 3))
  }
})

describe.each(STRATEGIES)('%s', (strategy) => {
  test('never takes one that is out, and none where all are', () => {
    const of = balancer(strategy, [{ name: 'a' }, { name: 'b', isAvailable: false }])
    expect(spread(of, 50)).toEqual({ a: 50 })
    of.update([{ name: 'a', isAvailable: false }])
    expect(of.begin(0)).toBeNull()
    of.update([])
    expect(of.begin(0)).toBeNull()
  })

  test('leaves out those that were tried', () => {
    const of = balancer(strategy)
    const first = of.begin(0, 'k')
    const second = of.begin(0, 'k', new Set([first?.name ?? '']))
    const third = of.begin(0, 'k', new Set([first?.name ?? '', second?.name ?? '']))
    expect(new Set([first?.name, second?.name, third?.name]).size).toBe(3)
    expect(of.begin(0, 'k', new Set(['a', 'b', 'c']))).toBeNull()
  })

  test('passes by one whose processors or disk are full, unless all are', () => {
    for (const full of [{ load: 0.97 }, { disk: 0.99 }]) {
      const of = balancer(strategy, [{ name: 'a' }, { name: 'b', ...full }])
      expect(spread(of, 20)).toEqual({ a: 20 })
      of.update([
        { name: 'a', ...full },
        { name: 'b', ...full },
      ])
      expect(Object.keys(spread(of, 50)).sort()).toEqual(['a', 'b'])
    }
  })

  test('ejects one that fails again and again, tries it later, and takes it back', () => {
    const of = balancer(strategy)
    calls(of, 'b', EJECT_FAILURES, false)
    expect(health(of)).toEqual({ a: 'well', b: 'ejected', c: 'well' })
    expect(spread(of, 60).b).toBeUndefined()
    // Its trial fails: it is out for twice as long.
    const trial = of.begin(EJECT_MS, 'x')
    expect(trial?.name).toBe('b')
    expect(of.begin(EJECT_MS, 'x')?.name).not.toBe('b')
    trial?.end(EJECT_MS, false)
    expect(spread(of, 60, EJECT_MS + 2 * EJECT_MS - 1).b).toBeUndefined()
    const next = of.begin(3 * EJECT_MS)
    expect(next?.name).toBe('b')
    next?.end(3 * EJECT_MS, true)
    expect(health(of, 3 * EJECT_MS).b).toBe('well')
  })

  test('takes ejected ones rather than none', () => {
    const of = balancer(strategy, [{ name: 'a' }])
    calls(of, 'a', EJECT_FAILURES, false)
    expect(health(of)).toEqual({ a: 'ejected' })
    expect(of.begin(0)?.name).toBe('a')
  })
})

test('a slow one is degraded against the others, not all of them against each other', () => {
  const of = balancer('round_robin')
  for (const name of ['a', 'b']) calls(of, name, 10, true, 0, 10)
  calls(of, 'c', 10, true, 0, 200)
  expect(health(of, 200)).toEqual({ a: 'well', b: 'well', c: 'degraded' })
  const slow = balancer('round_robin')
  for (const name of ['a', 'b', 'c']) calls(slow, name, 10, true, 0, 500)
  expect(health(slow, 500)).toEqual({ a: 'well', b: 'well', c: 'well' })
})

test('differences of a few milliseconds are none', () => {
  const of = balancer('round_robin')
  calls(of, 'a', 10, true, 0, 1)
  calls(of, 'b', 10, true, 0, 19)
  expect(health(of, 20).b).toBe('well')
})

test('what was ill long ago is given another chance', () => {
  const of = balancer('round_robin')
  calls(of, 'c', 3, false)
  expect(health(of).c).toBe('degraded')
  expect(health(of, 300_000).c).toBe('well')
})

test('being out gets longer up to a bound', () => {
  const of = balancer('round_robin', [{ name: 'a' }, { name: 'b' }])
  let now = 0
  calls(of, 'b', EJECT_FAILURES, false, now)
  for (let tries = 0; tries < 20; tries++) {
    now += EJECT_MAX_MS
    const trial = of.begin(now, '', new Set(['a']))
    trial?.end(now, false)
  }
  expect(of.begin(now + EJECT_MAX_MS - 1)?.name).toBe('a')
  expect(of.begin(now + EJECT_MAX_MS)?.name).toBe('b')
})

test('what a caller ends twice counts once', () => {
  const of = balancer('least_connections', [{ name: 'a' }])
  const call = of.begin(0)
  of.begin(0)
  call?.end(1, true)
  call?.end(1, false)
  expect(of.states(1)[0]).toMatchObject({ calls: 1, errorRate: 0 })
})

test('who stays keeps what is known of it, who comes anew starts well', () => {
  const of = balancer('round_robin')
  calls(of, 'b', EJECT_FAILURES, false)
  of.update([...ABC, { name: 'd' }])
  expect(health(of)).toMatchObject({ b: 'ejected', d: 'well' })
  of.update([{ name: 'a' }])
  of.update(ABC)
  expect(health(of).b).toBe('well')
})

test('two of one name, and weights past the limits, are refused', () => {
  const of = new Balancer()
  expect(() => of.update([{ name: 'a' }, { name: 'a' }])).toThrow('different names')
  expect(() => of.update([{ name: 'a', weight: 0 }])).toThrow('weights')
  expect(() => of.update([{ name: 'a', weight: 17 }])).toThrow('weights')
})

test('whatever calls and failures come, counts hold, and someone available is always found', () => {
  const step = fc.record({
    key: fc.string({ maxLength: 4 }),
    waitMs: fc.integer({ min: 0, max: 5000 }),
    isOk: fc.boolean(),
    ends: fc.boolean(),
    out: fc.constantFrom('a', 'b', 'c', null),
  })
  fc.assert(
    fc.property(fc.constantFrom(...STRATEGIES), fc.array(step), (strategy, steps) => {
      const of = balancer(strategy)
      let now = 0
      let open: { name: string; end(now: number, isOk: boolean): void }[] = []
      for (const { key, waitMs, isOk, ends, out } of steps) {
        now += waitMs
        of.update(ABC.map((target) => ({ ...target, isAvailable: target.name !== out })))
        const call = of.begin(now, key)
        expect(call).not.toBeNull()
        expect(call?.name).not.toBe(out)
        if (call !== null) open.push(call)
        if (ends) {
          for (const each of open) each.end(now, isOk)
          open = []
        }
        for (const { name, calls: running, errorRate } of of.states(now)) {
          expect(running).toBe(open.filter((each) => each.name === name).length)
          expect(errorRate).toBeGreaterThanOrEqual(0)
          expect(errorRate).toBeLessThanOrEqual(1)
        }
      }
    }),
    { numRuns: 300 },
  )
})
