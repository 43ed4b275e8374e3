import { expect, test } from 'vitest'
import type { MetricSeries } from '../../api/tempo'
import { boxOf, countIn, darkness, formatBox, heatOf, parseBox } from './heat'

const bucket = (exponent: number, samples: [number, number][]): MetricSeries => ({
  labels: [{ key: '__bucket', value: { doubleValue: 2 ** exponent / 1e9 } }],
  promLabels: '',
  samples: samples.map(([seconds, value]) => ({ timestampMs: String(seconds * 1000), value })),
})
const range = { from: 1000_000, to: 1100_000 }
const heat = heatOf(
  [
    bucket(20, [
      [1010, 3],
      [1100, 1],
    ]),
    bucket(22, [[1020, 5]]),
    bucket(40, [[1020, 0]]),
  ],
  range,
  10,
)

test('a sample lies in the step that it ends, a bucket below its bound', () => {
  expect([heat.columns, heat.total, heat.most]).toEqual([10, 9, 5])
  const row = 19 - heat.exponent
  expect(heat.counts[row * heat.columns]).toBe(3)
  expect(heat.counts[row * heat.columns + 9]).toBe(1)
  expect(heat.counts[(row + 2) * heat.columns + 1]).toBe(5)
})

test('a box has the times and durations of its cells, whichever corner came first', () => {
  const [a, b] = [
    { column: 1, row: 21 - heat.exponent },
    { column: 0, row: 19 - heat.exponent },
  ]
  const box = { from: 1000_000, to: 1020_000, least: 2 ** 19, most: 2 ** 22 }
  expect(boxOf(heat, a, b)).toEqual(box)
  expect(boxOf(heat, b, a)).toEqual(box)
  expect(countIn(heat, a, b)).toBe(8)
})

test('a box that is written and read gives itself; what is no box gives none', () => {
  const box = { from: 1, to: 2, least: 3, most: 4.5 }
  expect(parseBox(formatBox(box))).toEqual(box)
  for (const text of ['', '1~2~3', '2~1~3~4', 'a~b~c~d']) expect(parseBox(text)).toBeNull()
})

test('a map of nothing is there, and empty', () => {
  const empty = heatOf([], range, 10)
  expect([empty.total, empty.most, darkness(0, empty.most)]).toEqual([0, 0, 0])
})

test('what is more is darker', () => {
  expect(darkness(100, 100)).toBe(1)
  expect(darkness(10, 100)).toBeLessThan(darkness(50, 100))
  expect(darkness(1, 100)).toBeGreaterThan(0)
})
