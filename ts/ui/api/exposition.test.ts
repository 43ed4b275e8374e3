import { expect, test } from 'vitest'
import { byLabel, parseExposition, ranking, total } from './exposition'

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

test('reasons without a count are not told, and the largest come first', () => {
  const read = parseExposition('n{reason="a"} 4\nn{reason="b"} 0\nn{reason="c"} 5\n')
  expect(ranking(read, 'n', 'reason')).toEqual([
    ['c', 5],
    ['a', 4],
  ])
})
