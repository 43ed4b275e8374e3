import { expect, test } from 'vitest'
import { type Past, SHOWN_MS, withMore } from './past'

const past = (at: number[], x = at.map((time) => time / 1000)): Past => ({
  everyMs: 5000,
  at,
  figures: { x },
})

test('what came since stands behind what is known', () => {
  const known = withMore(null, past([5000, 10_000]))
  expect(withMore(known, past([15_000]))).toEqual(past([5000, 10_000, 15_000]))
  expect(withMore(known, past([]))).toEqual(known)
})

test('nothing is drawn over the time in which the node was not there', () => {
  const { at, figures } = withMore(past([5000, 10_000]), past([60_000]))
  expect(at).toEqual([5000, 10_000, 15_000, 60_000])
  expect(figures.x).toEqual([5, 10, null, 60])
})

test('no more than an hour is kept', () => {
  const every = Array.from({ length: 720 }, (_, index) => (index + 1) * 5000)
  const { at, figures } = withMore(past(every), past([SHOWN_MS + 5000, SHOWN_MS + 10_000]))
  expect([at.length, at[0], figures.x?.length]).toEqual([720, 15_000, 720])
})

test('a figure that an older node did not have has no past', () => {
  const more = { everyMs: 5000, at: [10_000], figures: { y: [1] } }
  expect(withMore(past([5000]), more).figures).toEqual({ y: [null, 1] })
})
