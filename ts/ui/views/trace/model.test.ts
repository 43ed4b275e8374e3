import { describe, expect, test } from 'vitest'
import { deeperThan, matching, nameOf, visible } from './model'
import { type Line, traceWith } from './testing'

const LINES: Line[] = [
  { id: 'c', parent: 'a', start: 20, end: 30 },
  { id: 'd', parent: 'b', start: 6, end: 8, status: 2, service: 'db' },
  { id: 'a', start: 0, end: 40 },
  { id: 'b', parent: 'a', start: 5, end: 10 },
  { id: 'x', parent: 'gone', start: 1, end: 2 },
]
const names = (lines: Line[]) => {
  const trace = traceWith(lines)
  return Array.from({ length: trace.count }, (_, place) => nameOf(trace, place))
}

describe('traceOf', () => {
  test('puts parents before their children, and those by their beginning', () => {
    const trace = traceWith(LINES)
    expect(names(LINES)).toEqual(['a', 'b', 'd', 'c', 'x'])
    expect([...trace.depth]).toEqual([0, 1, 2, 1, 0])
    expect([...trace.parent]).toEqual([-1, 0, 1, 0, -1])
    expect([...trace.end]).toEqual([4, 3, 3, 4, 5])
    expect([trace.length, trace.roots, trace.errors, trace.orphans]).toEqual([40e6, 2, 1, 1])
  })

  test('does not depend on the order in which spans came', () => {
    expect(names([...LINES].reverse())).toEqual(names(LINES))
  })

  test('shows spans that are each other’s parents, and those with one id, all of them once', () => {
    const ring = [
      { id: 'a', parent: 'b', start: 0, end: 1 },
      { id: 'b', parent: 'a', start: 1, end: 2 },
      { id: 's', parent: 's', start: 2, end: 3 },
    ]
    expect(names(ring)).toEqual(['s', 'a', 'b'])
    const doubled = [
      { id: 'a', start: 0, end: 1, name: 'one' },
      { id: 'a', start: 0, end: 1, name: 'two' },
    ]
    expect(names(doubled)).toEqual(['one', 'two'])
    expect(traceWith(doubled).doubles).toBe(1)
  })

  test('takes a chain of 200,000 spans without growing the stack', () => {
    const chain = Array.from({ length: 200_000 }, (_, index) => ({
      id: String(index),
      ...(index > 0 ? { parent: String(index - 1) } : {}),
      ...{ start: 0, end: 10 },
    }))
    const trace = traceWith(chain)
    expect(trace.count).toBe(200_000)
    expect(trace.end[0]).toBe(200_000)
  })

  test('nothing is a trace of nothing', () => expect(traceWith([]).count).toBe(0))
})

test('closed spans hide what is below them', () => {
  const trace = traceWith(LINES)
  expect([...visible(trace, new Set())]).toEqual([0, 1, 2, 3, 4])
  expect([...visible(trace, new Set([1]))]).toEqual([0, 1, 3, 4])
  expect([...visible(trace, new Set([0, 1]))]).toEqual([0, 4])
  expect([...deeperThan(trace, 1)]).toEqual([1])
})

test('spans are found by name, service, id and failure', () => {
  const trace = traceWith(LINES)
  expect([...matching(trace, 'DB')]).toEqual([2])
  expect([...matching(trace, 'error')]).toEqual([2])
  expect([...matching(trace, 'x')]).toEqual([4])
  expect([...matching(trace, ' ')]).toEqual([])
})
