import { expect, test } from 'vitest'
import { seriesOf } from './series'

test('rows become series over one axis, with gaps where one has no value', () => {
  const points = [
    { x: 2, y: 20, name: 'a' },
    { x: 1, y: 10, name: 'a' },
    { x: 2, y: 7, name: 'b' },
    { x: null, y: 7, name: 'b' },
  ]
  expect(seriesOf(points)).toEqual({
    x: [1, 2],
    series: [
      { name: 'a', values: [10, 20] },
      { name: 'b', values: [null, 7] },
    ],
    left: 0,
  })
})

test('more series than can be told apart are counted, not drawn', () => {
  const points = Array.from({ length: 40 }, (_, index) => ({ x: 0, y: 1, name: String(index) }))
  expect([seriesOf(points).series.length, seriesOf(points).left]).toEqual([30, 10])
})
