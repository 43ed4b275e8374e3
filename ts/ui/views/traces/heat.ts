/** A heat map of durations over time: cells from the node's buckets, boxes, and how dark a cell is. */

import type { MetricSeries } from '../../api/tempo'
import { plain } from '../../api/tempo'
import type { Range } from '../../state/time'

export interface Heat {
  stepS: number
  /** When the first column begins, in seconds since 1970. */
  firstS: number
  columns: number
  /** The lowest row holds durations from 2^exponent to 2^(exponent + 1) nanoseconds. */
  exponent: number
  rows: number
  /** Spans by row, then column. */
  counts: Uint32Array
  most: number
  total: number
}

/** A part of the map: milliseconds since 1970, and nanoseconds of duration. */
export interface Box {
  from: number
  to: number
  least: number
  most: number
}

/** Rows that a map has at least, so that a single bucket does not fill it. */
const LEAST_ROWS = 8

/** The map of what `histogram_over_time` gave; a sample stands at the end of its step. */
export function heatOf(series: MetricSeries[], range: Range, stepS: number): Heat {
  const firstS = Math.floor(range.from / 1000 / stepS) * stepS
  const columns = Math.max(1, Math.ceil((range.to / 1000 - firstS) / stepS))
  const buckets = series.flatMap(({ labels, samples = [] }) => {
    const bound = Number(plain(labels.find(({ key }) => key === '__bucket')?.value))
    if (!(bound > 0)) return []
    // A bucket is named by its upper bound in seconds, a power of two in nanoseconds.
    return [{ exponent: Math.round(Math.log2(bound * 1e9)) - 1, samples }]
  })
  const exponents = buckets
    .filter(({ samples }) => samples.some(({ value }) => (value ?? 0) > 0))
    .map(({ exponent }) => exponent)
  const [low, high] = exponents.length ? [Math.min(...exponents), Math.max(...exponents)] : [20, 20]
  const rows = Math.max(LEAST_ROWS, high - low + 1)
  const exponent = Math.max(0, low - Math.floor((rows - (high - low + 1)) / 2))
  const counts = new Uint32Array(rows * columns)
  let total = 0
  for (const { exponent: at, samples } of buckets) {
    for (const { timestampMs, value = 0 } of samples) {
      const column = Math.round(Number(timestampMs) / 1000 / stepS - firstS / stepS) - 1
      const row = at - exponent
      if (column < 0 || column >= columns || row < 0 || row >= rows) continue
      counts[row * columns + column] = (counts[row * columns + column] ?? 0) + value
      total += value
    }
  }
  const most = counts.reduce((a, b) => Math.max(a, b), 0)
  return { stepS, firstS, columns, exponent, rows, counts, most, total }
}

/** The box of the cells between two corners, both included. */
export function boxOf(heat: Heat, a: Cell, b: Cell): Box {
  const [left, right] = [Math.min(a.column, b.column), Math.max(a.column, b.column)]
  const [low, high] = [Math.min(a.row, b.row), Math.max(a.row, b.row)]
  return {
    from: (heat.firstS + left * heat.stepS) * 1000,
    to: (heat.firstS + (right + 1) * heat.stepS) * 1000,
    least: 2 ** (heat.exponent + low),
    most: 2 ** (heat.exponent + high + 1),
  }
}

export interface Cell {
  column: number
  row: number
}

/** Spans of the cells between two corners. */
export function countIn(heat: Heat, a: Cell, b: Cell): number {
  let count = 0
  for (let row = Math.min(a.row, b.row); row <= Math.max(a.row, b.row); row++) {
    for (
      let column = Math.min(a.column, b.column);
      column <= Math.max(a.column, b.column);
      column++
    )
      count += heat.counts[row * heat.columns + column] ?? 0
  }
  return count
}

/** A box as the address has it; null where there is none. */
export function parseBox(text: string): Box | null {
  const [from, to, least, most] = text.split('~').map(Number)
  const all = [from, to, least, most]
  if (text === '' || all.some((value) => value === undefined || !Number.isFinite(value)))
    return null
  const box = { from: from ?? 0, to: to ?? 0, least: least ?? 0, most: most ?? 0 }
  return box.from < box.to && box.least < box.most ? box : null
}

export const formatBox = ({ from, to, least, most }: Box): string =>
  [from, to, least, most].join('~')

/** How dark a count is, 0 to 1: by its logarithm, because counts differ by powers of ten. */
export const darkness = (count: number, most: number): number =>
  count <= 0 || most <= 0 ? 0 : 0.15 + 0.85 * (most === 1 ? 1 : Math.log(count) / Math.log(most))
