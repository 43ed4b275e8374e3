/**
 * The figures of a run as a table for docs/performance.md, and those tables of its stages whose titles
 * begin as told: `node bench/markdown.mjs bench/results/….json Search`.
 */

import { readFileSync } from 'node:fs'
import { cells, HEAD } from './report.mjs'

const [file, stage] = process.argv.slice(2)
if (file === undefined) {
  console.error('Name a result: node bench/markdown.mjs bench/results/….json')
  process.exit(2)
}
const { stages, figures, processor, cores, revision, durability } = JSON.parse(
  readFileSync(file, 'utf8'),
)
const line = (row) => `| ${row.join(' | ')} |`
console.log(`${processor}, ${cores} cores, revision ${revision}, durability \`${durability}\`:\n`)
console.log([HEAD, HEAD.map(() => '---'), ...figures.map(cells)].map(line).join('\n'))
const tables = Object.entries(stages).filter(([title]) => stage && title.startsWith(stage))
for (const [title, rows] of tables) {
  const columns = Object.keys(rows[0])
  const cellsOf = (row) => columns.map((column) => row[column])
  console.log(`\n${title}:\n`)
  console.log([columns, columns.map(() => '---'), ...rows.map(cellsOf)].map(line).join('\n'))
}
