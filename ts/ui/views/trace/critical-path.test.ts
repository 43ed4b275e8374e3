import { expect, test } from 'vitest'
import { criticalPath } from './critical-path'
import { at, nameOf } from './model'
import { type Line, traceWith } from './testing'

/** Segments in milliseconds, by the span's name. */
function path(lines: Line[]): Record<string, [number, number][]> {
  const trace = traceWith(lines)
  const { first, from, to } = criticalPath(trace)
  const read: Record<string, [number, number][]> = {}
  for (let place = 0; place < trace.count; place++) {
    for (let index = at(first, place); index < at(first, place + 1); index++) {
      const name = nameOf(trace, place)
      read[name] ??= []
      read[name].push([at(from, index) / 1e6, at(to, index) / 1e6])
    }
  }
  return read
}

test('it goes through the children that were waited for, and between them through the span itself', () => {
  const lines = [
    { id: 'root', start: 0, end: 100 },
    { id: 'first', parent: 'root', start: 10, end: 40 },
    { id: 'second', parent: 'root', start: 50, end: 90 },
  ]
  expect(path(lines)).toEqual({
    root: [
      [0, 10],
      [40, 50],
      [90, 100],
    ],
    first: [[10, 40]],
    second: [[50, 90]],
  })
})

test('of children at the same time the one that ends last is on it', () => {
  const lines = [
    { id: 'root', start: 0, end: 100 },
    { id: 'short', parent: 'root', start: 10, end: 60 },
    { id: 'long', parent: 'root', start: 10, end: 95 },
  ]
  expect(path(lines)).toEqual({
    root: [
      [0, 10],
      [95, 100],
    ],
    long: [[10, 95]],
  })
})

test('a child that outlives its parent is cut at its end', () => {
  const lines = [
    { id: 'root', start: 0, end: 50 },
    { id: 'async', parent: 'root', start: 20, end: 500 },
  ]
  expect(path(lines)).toEqual({ root: [[0, 20]], async: [[20, 50]] })
})

test('its segments cover the root without a gap and without an overlap, in any trace', () => {
  let seed = 7
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
    return seed % below
  }
  for (let round = 0; round < 200; round++) {
    const lines: Line[] = [{ id: '0', start: 0, end: 1000 }]
    for (let index = 1; index < 40; index++) {
      const parent = random(index)
      const start = random(1000)
      lines.push({ id: String(index), parent: String(parent), start, end: start + random(400) })
    }
    const segments = Object.values(path(lines))
      .flat()
      .filter(([from, to]) => to > from)
      .sort(([a], [b]) => a - b)
    let reached = 0
    for (const [from, to] of segments) {
      expect(from, `seed 7, round ${round}`).toBe(reached)
      reached = to
    }
    expect(reached).toBe(1000)
  }
})
