import { expect, test } from 'vitest'
import { compared } from './compare-traces'
import { traceWith } from './testing'

test('the same names below the same names are compared; what is in one alone is told', () => {
  const one = traceWith([
    { id: 'root', start: 0, end: 100 },
    { id: '1', parent: 'root', start: 0, end: 10, name: 'query' },
    { id: '2', parent: 'root', start: 20, end: 25, name: 'render' },
  ])
  const other = traceWith([
    { id: 'root', start: 0, end: 300 },
    { id: '1', parent: 'root', start: 0, end: 100, name: 'query' },
    { id: '2', parent: 'root', start: 100, end: 200, name: 'query', status: 2 },
    { id: '3', parent: '2', start: 110, end: 120, name: 'retry' },
  ])
  const pairs = compared(one, other).map(({ name, depth, spans, total }) => ({
    ...{ name, depth, spans },
    ms: total.map((ns) => ns / 1e6),
  }))
  expect(pairs).toEqual([
    { name: 'root', depth: 0, spans: [1, 1], ms: [100, 300] },
    { name: 'query', depth: 1, spans: [1, 2], ms: [10, 200] },
    { name: 'retry', depth: 2, spans: [0, 1], ms: [0, 10] },
    { name: 'render', depth: 1, spans: [1, 0], ms: [5, 0] },
  ])
})
