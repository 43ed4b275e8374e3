/**
 * Line charts as SVG: series of points over one axis, linear or logarithmic, readable on light and
 * dark pages. What a benchmark's plots need, and no more.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { digits } from './numbers.mjs'
import { RESULTS } from './report.mjs'

const [WIDTH, HEIGHT] = [720, 360]
const MARGIN = { top: 48, right: 24, bottom: 52, left: 72 }
const COLOURS = ['#2563eb', '#d97706', '#059669', '#db2777', '#7c3aed', '#64748b']
const TICKS = 5

const escaped = (text) =>
  String(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** 1,200,000 as 1.2M. */
function short(value) {
  const size = Math.abs(value)
  for (const [unit, letter] of [
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ]) {
    if (size >= unit) return `${digits(value / unit)}${letter}`
  }
  return String(digits(value))
}

/** The positions on one axis, and its ticks. */
function scale(values, { log = false, zero = false, names }, from, to) {
  const lowest = zero ? 0 : Math.min(...values)
  const highest = Math.max(...values)
  const turn = log ? Math.log10 : (value) => value
  const back = log ? (value) => 10 ** value : (value) => value
  const [low, high] = [turn(lowest), turn(highest)]
  const span = high - low || Math.abs(high) || 1
  const at = (value) => from + ((turn(value) - low) / span) * (to - from)
  const ticks = names
    ? names.map((label, value) => ({ value, label }))
    : Array.from({ length: TICKS }, (_, index) => {
        const value = back(low + (span * index) / (TICKS - 1))
        return { value, label: short(value) }
      })
  return { at, ticks }
}

const text = (x, y, anchor, content, more = '') =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" ${more}>${escaped(content)}</text>`

/**
 * @param {object} chart `title`; `x` and `y` with `label`, and `log`; `x.names` names whole numbers
 *   from 0 on; `series` with `name`, `points` of [x, y], and perhaps `target`, a y to arrive at
 * @returns {string} the SVG
 */
export function chart({ title, x, y, series, target }) {
  const points = series.flatMap((one) => one.points)
  const right = WIDTH - MARGIN.right
  const bottom = HEIGHT - MARGIN.bottom
  const across = scale(
    points.map(([value]) => value),
    x,
    MARGIN.left,
    right,
  )
  const heights = points.map(([, value]) => value)
  const up = scale(
    target === undefined ? heights : [...heights, target],
    { zero: true, ...y },
    bottom,
    MARGIN.top,
  )
  const parts = [text(MARGIN.left, 20, 'start', title, 'font-weight="bold"')]
  for (const { value, label } of up.ticks) {
    const height = up.at(value)
    parts.push(
      `<path d="M${MARGIN.left} ${height.toFixed(1)}H${right}" stroke="#94a3b8" stroke-opacity=".35"/>`,
      text(MARGIN.left - 8, height + 4, 'end', label),
    )
  }
  // As many names as have room.
  const every = Math.ceil(across.ticks.length / 12)
  for (const { value, label } of across.ticks.filter((_, index) => index % every === 0)) {
    parts.push(text(across.at(value), bottom + 18, 'middle', label))
  }
  parts.push(
    text((MARGIN.left + right) / 2, HEIGHT - 12, 'middle', x.label),
    text(
      0,
      0,
      'middle',
      y.label,
      `transform="translate(16 ${(MARGIN.top + bottom) / 2}) rotate(-90)"`,
    ),
  )
  if (target !== undefined) {
    const height = up.at(target).toFixed(1)
    parts.push(
      `<path d="M${MARGIN.left} ${height}H${right}" stroke="#64748b" stroke-dasharray="6 4"/>`,
    )
  }
  let legend = MARGIN.left
  for (const [index, one] of series.entries()) {
    const colour = COLOURS[index % COLOURS.length]
    const places = one.points.map(([px, py]) => [across.at(px).toFixed(1), up.at(py).toFixed(1)])
    parts.push(
      `<polyline points="${places.map((place) => place.join(',')).join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>`,
    )
    // Dots say where it was measured; with very many they hide the line.
    if (places.length <= 40) {
      parts.push(
        ...places.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="3" fill="${colour}"/>`),
      )
    }
    parts.push(
      `<rect x="${legend}" y="30" width="10" height="10" fill="${colour}"/>`,
      text(legend + 14, 39, 'start', one.name),
    )
    legend += 34 + one.name.length * 7
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="system-ui, sans-serif" font-size="12" fill="#64748b">
<style>@media (prefers-color-scheme: dark) { svg { fill: #cbd5e1 } }</style>
${parts.join('\n')}
</svg>
`
}

/** Writes a chart into bench/results under a name; gives the path. */
export function write(name, content) {
  mkdirSync(RESULTS, { recursive: true })
  const file = join(RESULTS, `${name}.svg`)
  writeFileSync(file, chart(content))
  return file
}
