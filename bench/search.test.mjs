/** What the search benchmark holds answers against: which spans of a trace lie below which. */

import { expect, test } from 'vitest'
import { spread } from './search/questions.mjs'
import { below, durationOf, spansOf } from './search/tree.mjs'

const span = (spanId, parentSpanId, service) => ({
  ...{ spanId, parentSpanId, service, startTimeUnixNano: '5', endTimeUnixNano: '12' },
})
const tree = [
  span('a', '', 'front'),
  span('b', 'a', 'cart'),
  span('c', 'b', 'front'),
  span('d', 'c', 'pay'),
  span('e', 'lost', 'pay'),
]
const of = (service) => (each) => each.service === service
const ids = (spans) => spans.map(({ spanId }) => spanId)

test('a span lies below those above it at any distance, and not below itself', () => {
  expect(ids(below(tree, of('front'), of('pay')))).toEqual(['d'])
  expect(ids(below(tree, of('front'), of('front')))).toEqual(['c'])
  expect(ids(below(tree, of('pay'), () => true))).toEqual([])
})

test('spans that are each other’s parents end the search', () => {
  const circle = [span('a', 'b', 'cart'), span('b', 'a', 'cart')]
  expect(below(circle, of('front'), of('cart'))).toEqual([])
})

test('the spans of a trace have their services and durations', () => {
  const attributes = [{ key: 'service.name', value: { stringValue: 'pay' } }]
  const [only] = spansOf({
    resourceSpans: [{ resource: { attributes }, scopeSpans: [{ spans: [span('a', '')] }] }],
  })
  expect([only.service, durationOf(only)]).toEqual(['pay', 7n])
})

test('what is spread over a list is all different', () => {
  expect(spread([1, 2, 3, 4, 5, 6], 3)).toEqual([1, 3, 5])
  expect(spread([1, 2], 5)).toEqual([1, 2])
})
