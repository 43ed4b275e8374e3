/** The reference's metrics against what TraceQL's documentation says. */

import { expect, test } from 'vitest'
import { parseTraceql } from '../../query/traceql/parse.js'
import { plainSpan } from './plain.js'
import { bucketOf, comparison, quantileOf, seriesOf } from './series.js'

const SECOND = 1_000_000_000n
const START = 1_000_000n * SECOND
/** Steps of ten seconds: two spans in the first, one at its end, one in the third. */
const SPANS = (
  [
    [1n, 'x', 4n],
    [10n, 'y', 8n],
    [5n, 'x', 2n],
    [25n, 'x', 16n],
  ] as const
).map(([second, name, n], index) =>
  plainSpan({
    spanId: String(index),
    traceId: String(index),
    name,
    start: START + second * SECOND,
    duration: n * SECOND,
    attributes: { n },
  }),
)
const TRACES = SPANS.map((span) => [span])
const range = { start: START, end: START + 30n * SECOND, step: 10n * SECOND }
const shown = (text: string, step: bigint | null = range.step) =>
  Object.fromEntries(
    seriesOf(parseTraceql(text), TRACES, { ...range, step }).map(({ labels, samples }) => [
      labels.map((label) => label.replace(/^\["string","(.*)"\]$/, '$1')).join(','),
      Object.fromEntries(
        [...samples].map(([at, value]) => [(at - Number(START / 1_000_000n)) / 1000, value]),
      ),
    ]),
  )

test.each([
  ['{ } | count_over_time()', { '': { 10: 3, 30: 1 } }],
  ['{ } | rate()', { '': { 10: 0.3, 30: 0.1 } }],
  ['{ } | count_over_time() by (name)', { x: { 10: 2, 30: 1 }, y: { 10: 1 } }],
  ['{ name = "x" } | min_over_time(.n)', { '': { 10: 2, 30: 16 } }],
  ['{ } | max_over_time(duration)', { '': { 10: 8, 30: 16 } }],
  ['{ name = "x" } | avg_over_time(duration)', { '': { 10: 3, 30: 16 } }],
  ['{ } | sum_over_time(.n) by (name)', { x: { 10: 6, 30: 16 }, y: { 10: 8 } }],
  ['{ } | sum_over_time(.missing)', {}],
  ['{ } | histogram_over_time(.n)', { 2: { 10: 1 }, 4: { 10: 1 }, 8: { 10: 1 }, 16: { 30: 1 } }],
  ['{ } | quantile_over_time(.n, 1, 0.5)', { 1: { 10: 8, 30: 16 }, 0.5: { 10: 4, 30: 16 } }],
  ['{ } | sum_over_time(.n) by (name) | topk(1)', { x: { 30: 16 }, y: { 10: 8 } }],
  ['{ } | sum_over_time(.n) by (name) | bottomk(1)', { x: { 10: 6, 30: 16 } }],
  ['{ } | sum_over_time(.n) by (name) > 7', { x: { 30: 16 }, y: { 10: 8 } }],
  ['{ } | sum_over_time(duration) > 15s', { '': { 30: 16 } }],
])('%s', (text, expected) => {
  expect(shown(text)).toEqual(expected)
})

test('without a step there is one value over all', () => {
  expect(shown('{ } | count_over_time() by (name)', null)).toEqual({ x: { 30: 3 }, y: { 30: 1 } })
})

test('buckets are powers of two, and quantiles lie between them', () => {
  expect([1, 2, 3, 4, 5, 1024, 1025].map(bucketOf)).toEqual([null, 2, 4, 4, 8, 1024, 2048])
  expect(quantileOf(0.5, [2, 4, 8, 16])).toBe(4)
  expect(quantileOf(0.5, [8, 8, 8, 8])).toBeCloseTo(2 ** 2.5)
  expect(quantileOf(0, [8, 8])).toBeCloseTo(2 ** 2.5)
})

test('compare counts the values of attributes inside and outside of the selection', () => {
  const counts = comparison(parseTraceql('{ } | compare({ name = "x" })'), TRACES)
  expect(Object.fromEntries(counts)).toEqual({
    '["selection","span.n","[\\"number\\",4]"]': 1,
    '["selection","span.n","[\\"number\\",2]"]': 1,
    '["selection","span.n","[\\"number\\",16]"]': 1,
    '["baseline","span.n","[\\"number\\",8]"]': 1,
  })
})
