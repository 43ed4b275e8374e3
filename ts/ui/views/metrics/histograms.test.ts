import { expect, test } from 'vitest'
import { counted, type Point, quantileOf } from './histograms'

const point = (seconds: number, counts: number[], more: Partial<Point> = {}): Point => ({
  ...{ series_id: 1, group: '', at: seconds * 1e9, began: 0, temporality: 2 },
  count: counts.reduce((a, b) => a + b, 0),
  sum: counts.reduce((a, b) => a + b, 0) * 10,
  bucket_counts: counts,
  explicit_bounds: [10, 20],
  ...more,
})
const counts = (points: Point[]) =>
  [...(counted(points, 10).get('')?.entries() ?? [])].map(([step, { count, sum }]) => [
    step,
    count,
    sum,
  ])

test('sums since a start are told by how they grew', () => {
  expect(counts([point(5, [5, 0, 0]), point(15, [7, 1, 0]), point(25, [7, 1, 4])])).toEqual([
    [10, 3, 30],
    [20, 4, 40],
  ])
})

test('a sum that shrank, or has another start, began anew', () => {
  expect(counts([point(5, [5, 0, 0]), point(15, [2, 0, 0])])).toEqual([[10, 2, 20]])
  expect(counts([point(5, [5, 0, 0]), point(15, [6, 0, 0], { began: 7 })])).toEqual([[10, 6, 60]])
})

test('points that stand for themselves are added, over series of one group', () => {
  const delta = { temporality: 1 }
  const points = [point(1, [1, 0, 0], delta), point(2, [2, 0, 0], { ...delta, series_id: 2 })]
  expect(counts(points)).toEqual([[0, 3, 30]])
})

test('quantiles lie in their bucket by their rank', () => {
  const of = counted([point(1, [10, 10, 0], { temporality: 1 })], 10)
    .get('')
    ?.get(0)
  if (!of) throw new Error('nothing was counted')
  expect([0.25, 0.5, 0.75, 1].map((quantile) => quantileOf(of, quantile))).toEqual([5, 10, 15, 20])
  const above = counted([point(1, [0, 0, 3], { temporality: 1 })], 10)
    .get('')
    ?.get(0)
  expect(above && quantileOf(above, 0.5)).toBe(20)
  expect(quantileOf({ count: 0, sum: 0, buckets: new Map() }, 0.5)).toBeNull()
})

test('exponential buckets of several scales are counted together', () => {
  const exponential = (scale: number, offset: number, buckets: number[]): Point => ({
    ...{ series_id: scale, group: '', at: 1e9, began: 0, temporality: 1, sum: 0 },
    count: buckets.reduce((a, b) => a + b, 0),
    ...{ scale, zero_count: 0, positive_offset: offset, positive_bucket_counts: buckets },
  })
  const of = counted([exponential(0, 3, [4]), exponential(1, 6, [2, 2])], 10)
    .get('')
    ?.get(0)
  if (!of) throw new Error('nothing was counted')
  expect(of.count).toBe(8)
  // All of it lies between 8 and 16.
  for (const quantile of [0.01, 0.5, 0.99]) {
    expect(quantileOf(of, quantile)).toBeGreaterThanOrEqual(8)
    expect(quantileOf(of, quantile)).toBeLessThanOrEqual(16)
  }
})
