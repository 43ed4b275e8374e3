import { expect, test } from 'vitest'
import type { MetricSeries } from '../../api/tempo'
import { ranked, UNSET, without } from './ranking'

const one = (type: string, key: string, text: string, value: number): MetricSeries => ({
  labels: [
    { key: '__meta_type', value: { stringValue: type } },
    { key, value: { stringValue: text } },
  ],
  promLabels: '',
  value,
})

// 10 selected spans and 100 others: the selected ones pay by voucher.
const series = [
  one('selection', 'kind', 'server', 10),
  one('selection_total', 'kind', 'nil', 10),
  one('baseline', 'kind', 'server', 100),
  one('baseline_total', 'kind', 'nil', 100),
  one('selection', 'span.payment', 'voucher', 9),
  one('selection', 'span.payment', 'card', 1),
  one('selection_total', 'span.payment', 'nil', 10),
  one('baseline', 'span.payment', 'card', 90),
  one('baseline', 'span.payment', 'voucher', 10),
  one('baseline_total', 'span.payment', 'nil', 100),
  one('selection', 'span.retry', '1', 5),
  one('selection_total', 'span.retry', 'nil', 5),
]

test('the attribute that tells a selection from the rest comes first', () => {
  const { inside, outside, differences } = ranked(series)
  expect([inside, outside]).toEqual([10, 100])
  expect(differences.map(({ attribute }) => attribute)).toEqual([
    ...['span.payment', 'span.retry', 'kind'],
  ])
  expect(differences[0]?.score).toBeCloseTo(0.8)
  expect(differences[0]?.values[0]).toEqual({ value: 'voucher', inside: 0.9, outside: 0.1 })
  expect(differences[2]?.score).toBe(0)
})

test('spans that lack an attribute are a value of it', () => {
  const retry = ranked(series).differences[1]
  expect(retry?.values).toContainEqual({ value: UNSET, inside: 0.5, outside: 1 })
  expect(retry?.score).toBeCloseTo(0.5)
})

test('what was selected by is not told', () => {
  const { differences } = ranked(series)
  const left = without(differences, '{ span.payment = "voucher" && duration > 1ms }')
  expect(left.map(({ attribute }) => attribute)).toEqual(['span.retry', 'kind'])
})
