/**
 * What a run has measured: the samples of each figure, the table they make, the details of the
 * stages, and the files it is written to.
 */

import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { FIGURES } from './figures.mjs'
import { digits, median, round } from './numbers.mjs'

export const RESULTS = fileURLToPath(new URL('results', import.meta.url))
export const HISTORY = fileURLToPath(new URL('history.jsonl', import.meta.url))

const inWords = ({ most, least, ratio }) =>
  [
    most === undefined ? null : `≤ ${most}`,
    least === undefined ? null : `≥ ${least}`,
    ratio === undefined ? null : `${ratio}× beside`,
  ]
    .filter((word) => word !== null)
    .join(', ')

export const HEAD = ['figure', 'median', 'min–max', 'runs', 'target', 'reached', 'ratio', 'beside']

/** A row of `Report.figures` in words, in the columns of `HEAD`. */
export const cells = (row) => [
  row.label,
  `${row.median} ${row.unit}`.trim(),
  `${row.min}–${row.max}`,
  String(row.runs),
  inWords(row.target),
  { true: 'yes', false: 'no' }[row.reached] ?? '',
  row.ratio === undefined ? '' : String(row.ratio),
  row.beside === undefined ? '' : `${row.beside} ${row.beside_name}`.trim(),
]

export class Report {
  #samples = new Map()
  stages = {}
  failures = []

  /** @param {object} head the machine, the revision and how the run was asked for */
  constructor(head) {
    this.head = head
    this.started = new Date().toISOString()
  }

  /** One run's value of a figure, with the value it stands beside in the same run, and whose. */
  add(id, value, beside, name = '') {
    if (!FIGURES.some((figure) => figure.id === id)) throw new Error(`there is no figure ${id}`)
    const samples = this.#samples.get(id) ?? { values: [], beside: [], name }
    samples.values.push(value)
    if (beside !== undefined) samples.beside.push(beside)
    this.#samples.set(id, samples)
  }

  /** What a figure's runs have been so far; empty where it was not measured. */
  values(id) {
    return this.#samples.get(id)?.values ?? []
  }

  /** Sets what a figure stands beside, where that is known only later in the run: `name` is whose. */
  beside(id, values, name) {
    const samples = this.#samples.get(id)
    if (samples !== undefined) Object.assign(samples, { beside: values, name })
  }

  /** The rows of the table that this run has measured. */
  figures() {
    return FIGURES.filter(({ id }) => this.#samples.has(id)).map((figure) => {
      const { values, beside, name } = this.#samples.get(figure.id)
      const row = {
        ...figure,
        median: digits(median(values)),
        min: digits(Math.min(...values)),
        max: digits(Math.max(...values)),
        runs: values.length,
      }
      if (beside.length > 0) {
        row.beside = digits(median(beside))
        row.beside_name = name
        const [ours, theirs] = [median(values), median(beside)]
        row.ratio = round(figure.better === 'less' ? theirs / ours : ours / theirs)
      }
      row.reached = reached(figure.target, median(values), row.ratio)
      return row
    })
  }

  /** The details of a stage: printed and kept. */
  show(title, rows) {
    console.log(`\n${title}`)
    if (Array.isArray(rows) && typeof rows[0] === 'object') console.table(rows)
    else if (Array.isArray(rows)) console.log(rows.join('\n'))
    else console.dir(rows, { depth: 5 })
    this.stages[title] = rows
  }

  table() {
    const rows = [HEAD, ...this.figures().map(cells)]
    const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column].length)))
    rows.splice(
      1,
      0,
      widths.map((width) => '-'.repeat(width)),
    )
    const line = (row) => row.map((cell, column) => cell.padEnd(widths[column])).join('  ')
    return rows.map((row) => line(row).trimEnd()).join('\n')
  }

  json() {
    const { head, started, stages, failures } = this
    return { ...head, started, figures: this.figures(), stages, failures }
  }

  /** Writes all there is so far, so that a run that is cut off leaves what it had. */
  write() {
    mkdirSync(RESULTS, { recursive: true })
    const file = join(RESULTS, `${this.started.replaceAll(':', '-')}.json`)
    writeFileSync(file, `${JSON.stringify(this.json(), null, 2)}\n`)
    return file
  }

  /** Adds the figures to the history, one line a run. */
  remember() {
    const { head, started } = this
    const figures = Object.fromEntries(
      this.figures().map(({ id, median, min, max, runs, ratio }) => [
        id,
        { median, min, max, runs, ratio },
      ]),
    )
    if (Object.keys(figures).length === 0) return
    appendFileSync(HISTORY, `${JSON.stringify({ ...head, started, figures })}\n`)
  }
}

/** Whether a target is reached; null where there is none, or nothing to compare with. */
function reached({ most, least, ratio: wanted }, value, ratio) {
  const judged = [
    most === undefined ? null : value <= most,
    least === undefined ? null : value >= least,
    wanted === undefined || ratio === undefined ? null : ratio >= wanted,
  ].filter((judgement) => judgement !== null)
  return judged.length === 0 ? null : judged.every(Boolean)
}
