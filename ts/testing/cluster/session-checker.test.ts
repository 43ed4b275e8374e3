/** The checker finds each promise broken, and nothing where all are kept. */

import { expect, test } from 'vitest'
import { checkSessions, type Read, type SessionEvent, type Written } from './session-checker.js'

const SPANS = 2

function write(session: string, item: number, called: number, more: Partial<Written> = {}) {
  return {
    kind: 'write',
    session,
    item,
    called,
    answered: called + 1,
    position: null,
    ...more,
  } satisfies Written as Written
}

function read(session: string, items: number[], called: number, more: Partial<Read> = {}): Read {
  const saw = new Map(items.map((item) => [item, { rows: SPANS, spans: SPANS }]))
  const level = 'session'
  return { kind: 'read', session, node: 'n1', level, called, answered: called + 1, saw, ...more }
}

const at = (stream: string, sequence: number) => ({ position: { stream, sequence } })
const broken = (...history: SessionEvent[]) => [
  ...new Set(checkSessions(history, SPANS).map(({ promise }) => promise)),
]

test('a history that keeps every promise is taken', () => {
  expect(
    broken(
      write('a', 1, 0, at('x', 1)),
      read('a', [1], 2),
      write('b', 2, 3, at('y', 1)),
      // Nobody promised session a that it sees what b wrote.
      read('a', [1], 5),
      { kind: 'handover', from: 'a', to: 'b', called: 6 },
      read('b', [1, 2], 7),
      write('a', 3, 8, at('x', 2)),
      read('c', [1, 2, 3], 10, { level: 'strong' }),
      // One that was never acknowledged may be there, or not.
      write('a', 4, 11, { answered: Infinity }),
      read('b', [1, 2, 3, 4], 12),
    ),
  ).toEqual([])
})

test('a write that its session does not see is found', () => {
  expect(broken(write('a', 1, 0), read('a', [], 2))).toEqual(['read your writes'])
  // Not before it is acknowledged, and not by others.
  expect(broken(write('a', 1, 0, { answered: 9 }), read('b', [], 2), read('a', [1], 10))).toEqual(
    [],
  )
})

test('something seen before that is not seen again is found, at whichever node', () => {
  const first = [write('b', 1, 0, { answered: 30 }), read('a', [1], 2, { node: 'n2' })]
  expect(broken(...first, read('a', [], 4, { node: 'n3' }))).toEqual(['monotonic reads'])
  expect(broken(...first, read('c', [], 4))).toEqual([])
})

test('a session that was given a token and sees less than who gave it is found', () => {
  const history: SessionEvent[] = [
    write('a', 1, 0),
    { kind: 'handover', from: 'a', to: 'b', called: 2 },
  ]
  expect(broken(...history, read('b', [], 3))).toEqual(['a token is enough'])
  // What was written after the token was given is not in it.
  expect(broken(...history, write('a', 2, 3), read('b', [1], 5))).toEqual([])
})

test('a later write of a stream that is seen without an earlier one is found', () => {
  const history = [write('a', 1, 0, at('x', 1)), write('a', 2, 2, at('x', 2))]
  expect(broken(...history, read('c', [2], 4))).toEqual(['monotonic writes'])
  expect(broken(...history, read('c', [1], 4))).toEqual([])
  const apart = [write('a', 1, 0, at('x', 1)), write('a', 2, 2, at('y', 2))]
  expect(broken(...apart, read('c', [2], 4))).toEqual([])
})

test('a strong read that misses what anybody was acknowledged is found', () => {
  expect(broken(write('a', 1, 0), read('c', [], 2, { level: 'strong' }))).toEqual(['strong'])
  expect(broken(write('a', 1, 0), read('c', [], 0.5, { level: 'strong' }))).toEqual([])
})

test('an item that is there twice, in part, or without having been sent is found', () => {
  const of = (rows: number, spans: number) => ({ saw: new Map([[1, { rows, spans }]]) })
  expect(broken(write('a', 1, 0), read('a', [], 2, of(2 * SPANS, SPANS)))).toEqual(['once'])
  expect(broken(write('a', 1, 0), read('a', [], 2, of(SPANS - 1, SPANS - 1)))).toEqual(['once'])
  expect(broken(read('a', [1], 2))).toEqual(['once'])
  expect(broken(read('a', [1], 2), write('b', 1, 4))).toEqual(['once'])
})

test('of one promise broken often a few breaches are told', () => {
  const history = Array.from({ length: 50 }, (_, item) => write('a', item, item))
  expect(checkSessions([...history, read('a', [], 100)], SPANS)).toHaveLength(5)
})
