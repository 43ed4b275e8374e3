/**
 * Plots the history: one SVG for each figure, one line for each kind of machine, a point for
 * each run.
 * `npm run bench:plot`.
 */

import { existsSync, readFileSync } from 'node:fs'
import { write } from './chart.mjs'
import { FIGURES } from './figures.mjs'
import { HISTORY } from './report.mjs'

const lines = existsSync(HISTORY) ? readFileSync(HISTORY, 'utf8').split('\n').filter(Boolean) : []
const runs = lines.map((line) => JSON.parse(line)).sort((a, b) => (a.started < b.started ? -1 : 1))

/** Figures of unlike machines, or of unlike stores, are not comparable: each has a line of its own. */
const nameOf = (run, id) =>
  `${run.processor}, ${run.cores} cores${id.startsWith('trace') ? `, ${run.query_spans} spans` : ''}`

for (const { id, label, unit, target } of FIGURES) {
  const having = runs.filter((run) => run.figures[id] !== undefined)
  if (having.length === 0) continue
  const places = having.map((run, index) => ({
    name: nameOf(run, id),
    point: [index, run.figures[id].median],
  }))
  const names = [...new Set(places.map(({ name }) => name))]
  const series = names.map((name) => ({
    name,
    points: places.filter((place) => place.name === name).map(({ point }) => point),
  }))
  const file = write(`history-${id}`, {
    title: label,
    x: { label: 'revision', names: having.map((run) => run.revision) },
    y: { label: unit },
    series,
    target: target.most ?? target.least,
  })
  console.log(file)
}
if (runs.length === 0) console.log('The history is empty: run `npm run bench` first.')
