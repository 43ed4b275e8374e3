/** State and counters end the same everywhere, in whatever order, however often, they come. */

import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { Counters } from './counters.js'
import type { CounterEntry, MemberRecord, StateEntry } from './messages.js'
import { supersedes } from './messages.js'
import { MAX_COUNTERS, MAX_STATE_KEYS } from './settings.js'
import { StateStore } from './state-store.js'

// Many courses of events in one test; nothing in it waits for real.
vi.setConfig({ testTimeout: 60_000 })

const RUNS = { numRuns: 300 }
const MEMBERS = ['a', 'b', 'c']

interface Write {
  member: string
  restarts: boolean
  key: string
  value: string | null
}

const writes = fc.array(
  fc.record({
    member: fc.constantFrom(...MEMBERS),
    restarts: fc.boolean().map((yes) => yes),
    key: fc.constantFrom('zone', 'load', 'disk'),
    value: fc.option(fc.constantFrom('1', '2', '3'), { nil: null }),
  }),
  { maxLength: 30 },
)

/** What members write, each on its own, some of them starting anew in between. */
function entriesOf(given: readonly Write[]): {
  entries: StateEntry[]
  generations: Map<string, number>
} {
  const generations = new Map(MEMBERS.map((member) => [member, 1]))
  const own = new Map(MEMBERS.map((member) => [member, new StateStore()]))
  const entries = given.flatMap(({ member, restarts, key, value }) => {
    const generation = (generations.get(member) ?? 1) + (restarts ? 1 : 0)
    generations.set(member, generation)
    const entry = own.get(member)?.set(member, generation, key, value)
    return entry ? [entry] : []
  })
  return { entries, generations }
}

function storeOf(entries: readonly StateEntry[]): StateStore {
  const store = new StateStore()
  for (const entry of entries) store.apply(entry)
  return store
}

/** Everything that others can see of a store. */
function seen(store: StateStore) {
  return {
    digest: store.digest().sort((a, b) => (a.member < b.member ? -1 : 1)),
    all: store
      .newerThan([])
      .map(({ member, generation, key, value, version }) => [
        member,
        generation,
        key,
        value,
        version,
      ])
      .map((row) => JSON.stringify(row))
      .sort(),
  }
}

/** What one store takes over from another in a push-pull. */
function pull(into: StateStore, from: StateStore): StateStore {
  for (const entry of from.newerThan(into.digest())) into.apply(entry)
  return into
}

describe('the state of members', () => {
  test('is the same in any order and with repetitions', () => {
    const cases = writes.chain((given) => {
      const { entries } = entriesOf(given)
      return fc.tuple(
        fc.constant(entries),
        fc.shuffledSubarray([...entries, ...entries], { minLength: 2 * entries.length }),
      )
    })
    fc.assert(
      fc.property(cases, ([entries, shuffled]) => {
        const texts = (store: StateStore) => seen(store).all
        expect(texts(storeOf(shuffled))).toEqual(texts(storeOf(entries)))
      }),
      RUNS,
    )
  })

  const parts = writes.chain((given) => {
    const { entries } = entriesOf(given)
    const part = () => fc.subarray(entries)
    return fc.tuple(part(), part(), part())
  })

  test('joins the same way round: a with b is b with a', () => {
    fc.assert(
      fc.property(parts, ([a, b]) => {
        const left = pull(storeOf(a), storeOf(b))
        const right = pull(storeOf(b), storeOf(a))
        expect(seen(left).all).toEqual(seen(right).all)
      }),
      RUNS,
    )
  })

  test('joins in any grouping: (a with b) with c is a with (b with c)', () => {
    fc.assert(
      fc.property(parts, ([a, b, c]) => {
        const left = pull(pull(storeOf(a), storeOf(b)), storeOf(c))
        const right = pull(storeOf(a), pull(storeOf(b), storeOf(c)))
        expect(seen(left).all).toEqual(seen(right).all)
      }),
      RUNS,
    )
  })

  test('joined with itself is itself', () => {
    fc.assert(
      fc.property(parts, ([a]) => {
        expect(seen(pull(storeOf(a), storeOf(a)))).toEqual(seen(storeOf(a)))
      }),
      RUNS,
    )
  })

  test('converges by push-pull alone, after any loss, to what members wrote last', () => {
    fc.assert(
      fc.property(writes, fc.infiniteStream(fc.boolean()), (given, lost) => {
        const { entries, generations } = entriesOf(given)
        const stores = MEMBERS.map(() => new StateStore())
        for (const entry of entries) {
          // Its writer has it; to the others it may get lost.
          for (const [index, store] of stores.entries()) {
            if (MEMBERS[index] === entry.member || !lost.next().value) store.apply(entry)
          }
        }
        for (const into of stores) for (const from of stores) pull(into, from)
        for (const into of stores) for (const from of stores) pull(into, from)
        const truth = storeOf(entries)
        for (const store of stores) {
          expect(seen(store)).toEqual(seen(truth))
          for (const name of MEMBERS) {
            const generation = generations.get(name) ?? 1
            expect(store.of({ name, generation })).toEqual(truth.of({ name, generation }))
          }
        }
      }),
      RUNS,
    )
  })

  test('has a limit of keys for each member (I5)', () => {
    const store = new StateStore()
    for (let key = 0; key < MAX_STATE_KEYS; key++) {
      expect(store.set('a', 1, `k${key}`, 'x')).not.toBeNull()
    }
    expect(store.set('a', 1, 'one more', 'x')).toBeNull()
    expect(store.set('a', 1, 'k0', 'y')).not.toBeNull()
    const other = { member: 'a', generation: 1, version: 999, after: 998, value: 'x' }
    expect(store.apply({ ...other, key: 'one more' })).toBe(false)
  })
})

describe('counters', () => {
  const adds = fc.array(
    fc.record({
      member: fc.constantFrom(...MEMBERS),
      generation: fc.integer({ min: 1, max: 2 }),
      amount: fc.integer({ min: -5, max: 5 }),
    }),
    { maxLength: 30 },
  )

  function spread(given: { member: string; generation: number; amount: number }[]): CounterEntry[] {
    const own = new Counters()
    return given.flatMap(({ member, generation, amount }) => {
      const entry = own.add({ counter: 'n', member, generation, expires: 10 }, amount)
      return entry ? [entry] : []
    })
  }

  test('are the sum of what all added and took, in any order, with repetitions and gaps', () => {
    const cases = adds.chain((given) => {
      const entries = spread(given)
      const last = new Map(entries.map((entry) => [`${entry.member} ${entry.generation}`, entry]))
      return fc.tuple(
        fc.constant(given.reduce((sum, { amount }) => sum + amount, 0)),
        // Of each writer the last word has to come; any of the others may not.
        fc.subarray(entries).chain((some) =>
          fc.shuffledSubarray([...some, ...last.values(), ...some], {
            minLength: 2 * some.length + last.size,
          }),
        ),
      )
    })
    fc.assert(
      fc.property(cases, ([sum, entries]) => {
        const counters = new Counters()
        for (const entry of entries) counters.apply(entry)
        expect(counters.value('n')).toBe(sum)
      }),
      RUNS,
    )
  })

  test('end, and have a limit (I5)', () => {
    const counters = new Counters()
    const own = { member: 'a', generation: 1 }
    for (let index = 0; index < MAX_COUNTERS; index++) {
      expect(counters.add({ ...own, counter: `c${index}`, expires: 10 }, 1)).not.toBeNull()
    }
    expect(counters.add({ ...own, counter: 'one more', expires: 20 }, 1)).toBeNull()
    counters.expire(10)
    expect(counters.value('c0')).toBe(0)
    expect(counters.add({ ...own, counter: 'one more', expires: 20 }, 1)).not.toBeNull()
    expect(counters.all()).toHaveLength(1)
  })
})

test('records have one order: of any two different ones exactly one stands', () => {
  const record = fc.record({
    incarnation: fc.integer({ min: 0, max: 3 }),
    status: fc.constantFrom<MemberRecord['status']>('alive', 'suspect', 'dead', 'left'),
  })
  fc.assert(
    fc.property(record, record, record, (a, b, c) => {
      const isSame = a.incarnation === b.incarnation && a.status === b.status
      expect(Number(supersedes(a, b)) + Number(supersedes(b, a))).toBe(isSame ? 0 : 1)
      if (supersedes(a, b) && supersedes(b, c)) expect(supersedes(a, c)).toBe(true)
    }),
    RUNS,
  )
})
