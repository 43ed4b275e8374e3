/** The checker tells histories that can be from those that cannot. */

import { expect, test } from 'vitest'
import { SeededRandom } from '../seeded-random.js'
import { checkRegister, type Operation } from './linearizability.js'

const write = (value: string, called: number, answered = Infinity, client = 'a'): Operation => ({
  client,
  kind: 'write',
  value,
  called,
  answered,
})
const read = (value: string, called: number, answered: number, client = 'b'): Operation => ({
  client,
  kind: 'read',
  value,
  called,
  answered,
})
const isFine = (...history: Operation[]) => checkRegister(history, '0').isLinearizable

test('operations one after the other are what a register does', () => {
  expect(isFine()).toBe(true)
  expect(isFine(read('0', 0, 1), write('1', 2, 3), read('1', 4, 5), write('2', 6, 7))).toBe(true)
})

test('a read that misses what was answered before it was asked is found', () => {
  const stale = [write('1', 0, 1), write('2', 2, 3), read('1', 4, 5)]
  expect(isFine(...stale)).toBe(false)
  expect(checkRegister(stale, '0').stuck).toEqual([stale[2]])
  expect(isFine(write('1', 0, 1), read('0', 2, 3))).toBe(false)
})

test('a read of what nobody wrote is found, and one of what was not written yet', () => {
  expect(isFine(read('7', 0, 1))).toBe(false)
  expect(isFine(read('1', 0, 1), write('1', 2, 3))).toBe(false)
})

test('operations at the same time may be in either order, and no read goes back behind another', () => {
  expect(isFine(write('1', 0, 10), read('0', 1, 2), read('1', 3, 4))).toBe(true)
  expect(isFine(write('1', 0, 10), read('1', 1, 2), read('0', 3, 4))).toBe(false)
  expect(isFine(write('1', 0, 10), write('2', 0, 10, 'c'), read('1', 11, 12))).toBe(true)
  // Two readers that saw them in different orders.
  expect(
    isFine(
      write('1', 0, 10),
      write('2', 0, 10, 'c'),
      read('1', 1, 2, 'd'),
      read('2', 3, 4, 'd'),
      read('1', 5, 6, 'e'),
    ),
  ).toBe(false)
})

test('a write that was not answered may have happened, late or never, but not before it was asked', () => {
  expect(isFine(write('1', 0), read('0', 1, 2), read('0', 3, 4))).toBe(true)
  expect(isFine(write('1', 0), read('0', 1, 2), read('1', 30, 40))).toBe(true)
  expect(isFine(write('1', 0), read('1', 1, 2), read('0', 3, 4))).toBe(false)
  expect(isFine(write('2', 0, 1), read('1', 2, 3), write('1', 4))).toBe(false)
  // It happened once: what came between is not undone by it again.
  expect(isFine(write('1', 0), read('1', 1, 2), write('2', 3, 4), read('1', 5, 6))).toBe(false)
})

test('a value that is written twice is refused, as it would tell nothing', () => {
  expect(() => checkRegister([write('1', 0, 1), write('1', 2, 3)], '0')).toThrow('twice')
  expect(() => checkRegister([write('0', 0, 1)], '0')).toThrow('twice')
})

/** Clients of a real register, each operation at a moment that only the register knows. */
function random(seed: number, clients: number, length: number): Operation[] {
  const random = new SeededRandom(seed)
  const moments: { at: number; operation: Operation; isLost: boolean }[] = []
  for (let client = 0; client < clients; client++) {
    let now = random.between(0, 5)
    for (let number = 0; number < length; number++) {
      const called = now
      const at = called + random.between(0, 5)
      now = at + random.between(0, 5)
      const isWrite = random.chance(0.5)
      const isLost = isWrite && random.chance(0.1)
      const operation: Operation = {
        client: `c${client}`,
        kind: isWrite ? 'write' : 'read',
        value: `${client}/${number}`,
        called,
        answered: isLost ? Infinity : now,
      }
      moments.push({ at, operation, isLost })
      now += random.between(0, 2)
    }
  }
  let value = '0'
  const done = moments
    .sort((a, b) => a.at - b.at)
    .flatMap(({ operation, isLost }) => {
      if (operation.kind === 'read') return [{ ...operation, value }]
      // Half of what is lost never happened.
      if (!isLost || random.chance(0.5)) value = operation.value
      return [operation]
    })
  return done
}

test('what a register did is always taken, and found where a read is set back', () => {
  let changed = 0
  let found = 0
  for (let seed = 1; seed <= 60; seed++) {
    const history = random(seed, 5, 40)
    expect(checkRegister(history, '0').isLinearizable, `seed ${seed}`).toBe(true)
    // The last read sees what one long before it saw.
    const reads = history.filter(({ kind }) => kind === 'read').sort((a, b) => a.called - b.called)
    const [early, late] = [reads[3], reads.at(-1)]
    if (early === undefined || late === undefined || early.value === late.value) continue
    changed++
    const broken = history.map((each) => (each === late ? { ...late, value: early.value } : each))
    if (!checkRegister(broken, '0').isLinearizable) found++
  }
  expect(changed).toBeGreaterThan(50)
  expect(found).toBe(changed)
})
