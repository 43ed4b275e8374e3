import { expect, test } from 'vitest'
import { parseExposition } from '../../api/exposition'
import { KEPT, quantiles, type Reading, ranking, rates, withReading } from './readings'

const reading = (at: number, count: number, started = 1): Reading => ({
  at,
  metrics: parseExposition(
    `process_start_time_seconds ${started}\nn_total{reason="a"} ${count}\nn_total{reason="b"} 0\n` +
      `h_bucket{le="1"} ${count}\nh_bucket{le="+Inf"} ${count}\n`,
  ),
})

test('rates are of the time between readings; the first has none', () => {
  const readings = [reading(0, 0), reading(2000, 10), reading(4000, 10)]
  expect(rates(readings, 'n_total')).toEqual([null, 5, 0])
  expect(quantiles(readings, 'h', 0.5)).toEqual([null, 0.5, null])
})

test('a node that started anew begins its readings anew', () => {
  const before = withReading([], reading(0, 100))
  expect(withReading(before, reading(2000, 3, 2))).toHaveLength(1)
  expect(withReading(before, reading(2000, 103))).toHaveLength(2)
})

test('readings are bounded', () => {
  let readings: Reading[] = []
  for (let index = 0; index < KEPT + 50; index++)
    readings = withReading(readings, reading(index, 0))
  expect(readings).toHaveLength(KEPT)
})

test('reasons without a count are not told', () => {
  expect(ranking(reading(0, 4).metrics, 'n_total', 'reason')).toEqual([['a', 4]])
})
