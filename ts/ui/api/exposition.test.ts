import { expect, test } from 'vitest'
import { byLabel, parseExposition, quantileBetween, total } from './exposition'

const TEXT = `# HELP a_total Something
# TYPE a counter
a_total{signal="logs",reason="x \\"y\\", }"} 3
a_total{signal="traces",reason="z"} 4.5
b 1e3
c +Inf
# EOF
`

test('samples are read with their labels, and added', () => {
  const read = parseExposition(TEXT)
  expect(read.get('a_total')?.[0]).toEqual({
    labels: { signal: 'logs', reason: 'x "y", }' },
    value: 3,
  })
  expect(total(read, 'a_total')).toBe(7.5)
  expect(total(read, 'a_total', { signal: 'logs' })).toBe(3)
  expect(total(read, 'b')).toBe(1000)
  expect(total(read, 'c')).toBe(Number.POSITIVE_INFINITY)
  expect(byLabel(read, 'a_total', 'signal')).toEqual(
    new Map([
      ['logs', 3],
      ['traces', 4.5],
    ]),
  )
})

test('a quantile is of what came between two readings', () => {
  const reading = (fast: number, slow: number) =>
    parseExposition(
      `h_bucket{le="0.1"} ${fast}\nh_bucket{le="0.2"} ${fast + slow}\nh_bucket{le="+Inf"} ${fast + slow}\n`,
    )
  const before = reading(1000, 0)
  expect(quantileBetween(before, reading(1010, 10), 'h', 0.5)).toBeCloseTo(0.1)
  expect(quantileBetween(before, reading(1010, 10), 'h', 0.75)).toBeCloseTo(0.15)
  expect(quantileBetween(before, before, 'h', 0.5)).toBeNull()
})
