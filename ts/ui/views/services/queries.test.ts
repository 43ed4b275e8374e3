import { expect, test } from 'vitest'
import { withSeries } from './queries'

test('steps without a call have a rate of 0, and no duration', () => {
  const range = { from: 0, to: 30_000 }
  const row = { name: 'shop', calls: 20, errors: 5, p50: 1, p95: 2, p99: 3 }
  const steps = [{ ...row, step: 10 }]
  const [shop] = withSeries([row], steps, range, 10)
  expect(shop?.series).toEqual({
    rate: [0, 2, 0],
    errors: [0, 0.25, 0],
    p50: [null, 1, null],
    p95: [null, 2, null],
    p99: [null, 3, null],
  })
})

test('operations of one name and two kinds are two', () => {
  const row = { name: 'GET', calls: 1, errors: 0, p50: 1, p95: 2, p99: 3 }
  const all = [
    { ...row, kind: 2 },
    { ...row, kind: 3, calls: 7 },
  ]
  const steps = all.map((each) => ({ ...each, step: 0 }))
  const named = withSeries(all, steps, { from: 0, to: 1000 }, 1)
  expect(named.map(({ series }) => series.rate)).toEqual([[1], [7]])
})
