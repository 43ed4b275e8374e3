/** The table's arithmetic: which way is better, what a target is, and what a run leaves behind. */

import { expect, test } from 'vitest'
import { chart } from './chart.mjs'
import { FIGURES } from './figures.mjs'
import { Report } from './report.mjs'

const row = (report, id) => report.figures().find((figure) => figure.id === id)

test('a figure has the median of its runs and their spread', () => {
  const report = new Report({})
  for (const value of [1.9, 1.5, 1.7]) report.add('cpu_per_million', value)
  expect(row(report, 'cpu_per_million')).toMatchObject({
    median: 1.7,
    min: 1.5,
    max: 1.9,
    runs: 3,
    reached: true,
  })
})

test('a ratio above 1 means better, whichever way is better', () => {
  const report = new Report({})
  report.add('group_by', 50, 100, 'DuckDB')
  report.add('logs_per_cpu_second', 50, 100)
  expect(row(report, 'group_by')).toMatchObject({ ratio: 2, reached: true, beside_name: 'DuckDB' })
  expect(row(report, 'logs_per_cpu_second')).toMatchObject({ ratio: 0.5, reached: false })
})

test('a target beside nothing is neither reached nor missed; its bound still counts', () => {
  const report = new Report({})
  report.add('machine_spans_per_second', 500_000)
  report.add('bytes_per_span', 31)
  expect(row(report, 'machine_spans_per_second').reached).toBe(null)
  expect(row(report, 'bytes_per_span').reached).toBe(true)
  report.beside('bytes_per_span', [25], 'a peer')
  expect(row(report, 'bytes_per_span')).toMatchObject({ ratio: 0.81, reached: false })
})

test('a figure that nobody knows is refused, and no two have one name', () => {
  expect(() => new Report({}).add('speed', 1)).toThrow('there is no figure speed')
  expect(new Set(FIGURES.map(({ id }) => id)).size).toBe(FIGURES.length)
})

test('the table has a line for each figure that was measured', () => {
  const report = new Report({})
  report.add('peak_rss', 700)
  const [head, , line, ...more] = report.table().split('\n')
  expect(head).toMatch(/^figure +median +min–max +runs +target +reached +ratio +beside$/)
  expect(line).toMatch(/^peak RSS at full load +700 MB +700–700 +1 +≤ 600 +no$/)
  expect(more).toEqual([])
})

test('a chart has every point within its frame, names escaped', () => {
  const svg = chart({
    title: 'a < b',
    x: { label: 'spans', log: true },
    y: { label: 'ms' },
    series: [
      {
        name: 'p50',
        points: [
          [1e6, 2],
          [1e7, 4],
          [1e8, 3],
        ],
      },
    ],
    target: 5,
  })
  expect(svg).toContain('a &lt; b')
  const places = [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)]
  expect(places.map(([, x]) => Number(x))).toEqual([72, 384, 696])
  for (const [, , y] of places) expect(Number(y)).toBeGreaterThanOrEqual(48)
})
