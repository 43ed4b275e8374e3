import { expect, test } from 'vitest'
import type { Passed } from './collector.js'
import { type Ledger, whoLost } from './ledger.js'

const passed = (of: Partial<Passed>): Passed => ({
  ...{ accepted: 0, refused: 0, unqueued: 0, sent: 0, failed: 0 },
  ...of,
})

/** Ten records, three of which the second Collector sent. */
const ledger = (of: Partial<Ledger> = {}): Ledger => ({
  what: 'spans',
  made: 10,
  complaints: [],
  // What the stop interrupted stays in the queue.
  first: passed({ accepted: 10, sent: 7, failed: 2 }),
  second: passed({ sent: 3 }),
  ...{ stored: 10, distinct: 10 },
  ...of,
})

test('a ledger in which all that was made arrived once names nobody', () => {
  expect(whoLost(ledger())).toEqual([])
})

test('what the generator made and the Collector was never given is the generator’s loss', () => {
  const first = passed({ accepted: 8, refused: 1, sent: 5 })
  const found = whoLost(
    ledger({ first, complaints: ['traces export: timed out'], stored: 8, distinct: 8 }),
  )
  expect(found).toEqual([
    'the generator made 10 spans; traces export: timed out: the Collector accepted 8 of them, and refused 1',
  ])
})

test('what the Collector accepted and nobody acknowledged to it is the Collector’s loss', () => {
  const second = passed({ sent: 2, failed: 1 })
  const found = whoLost(ledger({ second, stored: 9, distinct: 9 }))
  expect(found).toHaveLength(1)
  expect(found[0]).toMatch(/^the Collector accepted 10 spans, and 9 were acknowledged to it/)
})

test('what was acknowledged to the Collector and is not there is otlake’s loss', () => {
  expect(whoLost(ledger({ stored: 9, distinct: 9 }))).toEqual([
    'otlake acknowledged 10 spans to the Collector, and has 9',
  ])
})

test('what otlake has twice does not make up for what it lost', () => {
  expect(whoLost(ledger({ distinct: 9 }))).toEqual([
    'otlake has 10 spans, 9 different ones among them',
  ])
})
