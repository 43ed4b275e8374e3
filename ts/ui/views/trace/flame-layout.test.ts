import { expect, test } from 'vitest'
import { framesOf, operationsOf, selfTime } from './flame-layout'
import { traceWith } from './testing'

const trace = traceWith([
  { id: 'root', start: 0, end: 100 },
  { id: '1', parent: 'root', start: 10, end: 30, name: 'query', service: 'db' },
  { id: '2', parent: 'root', start: 20, end: 50, name: 'query', service: 'db', status: 2 },
  { id: '3', parent: 'root', start: 60, end: 70, name: 'render' },
])

test('spans of one name below the same are one frame', () => {
  const frames = framesOf(trace)
  const shown = frames.map(({ name, depth, spans, total, self }) => ({
    name,
    depth,
    spans,
    total,
    self,
  }))
  expect(shown.slice(1)).toEqual([
    { name: 'root', depth: 1, spans: 1, total: 100e6, self: 50e6 },
    { name: 'query', depth: 2, spans: 2, total: 50e6, self: 50e6 },
    { name: 'render', depth: 2, spans: 1, total: 10e6, self: 10e6 },
  ])
  expect(frames[2]?.errors).toBe(1)
})

test('a frame’s children lie within it, side by side', () => {
  const frames = framesOf(trace)
  for (const { children, left, width } of frames) {
    let at = left
    for (const child of children) {
      expect(frames[child]?.left).toBe(at)
      at += frames[child]?.width ?? 0
    }
    expect(at).toBeLessThanOrEqual(left + width)
  }
})

test('time that two children cover at once counts once', () => {
  expect(selfTime(trace, 0)).toBe(50e6)
})

test('operations are ranked by the time that is their own', () => {
  const names = operationsOf(framesOf(trace)).map(({ name, self }) => [name, self / 1e6])
  expect(names).toEqual([
    ['root', 50],
    ['query', 50],
    ['render', 10],
  ])
})
