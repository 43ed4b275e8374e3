import { expect, test } from 'vitest'
import { makesMetrics, narrowed, plain, quoted } from './tempo'

test('a query makes metrics where a function of metrics stands outside of texts', () => {
  expect(makesMetrics('{ } | rate() by (name)')).toBe(true)
  expect(makesMetrics('{ } | quantile_over_time(duration, 0.9)')).toBe(true)
  expect(makesMetrics('{ name = "a | rate()" } | count() > 2')).toBe(false)
})

test('texts are quoted as TraceQL reads them', () => {
  expect(quoted('a "b" \\ c')).toBe('"a \\"b\\" \\\\ c"')
})

test('a query is narrowed to durations behind all that it has', () => {
  expect(narrowed('', 1.5, 2.5)).toBe('{ } | { duration >= 1ns && duration < 3ns }')
})

test('values of OTLP are written as text', () => {
  expect(plain({ arrayValue: { values: [{ intValue: '1' }, { stringValue: 'a' }] } })).toBe(
    '[1, a]',
  )
  expect(plain({ boolValue: false })).toBe('false')
})
