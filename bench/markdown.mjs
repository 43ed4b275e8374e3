/**
 * The figures of a run as a table for docs/performance.md:
 * `node bench/markdown.mjs bench/results/….json`.
 */

import { readFileSync } from 'node:fs'
import { cells, HEAD } from './report.mjs'

const file = process.argv[2]
if (file === undefined) {
  console.error('Name a result: node bench/markdown.mjs bench/results/….json')
  process.exit(2)
}
const { figures, processor, cores, revision, durability } = JSON.parse(readFileSync(file, 'utf8'))
const line = (row) => `| ${row.join(' | ')} |`
console.log(`${processor}, ${cores} cores, revision ${revision}, durability \`${durability}\`:\n`)
console.log([HEAD, HEAD.map(() => '---'), ...figures.map(cells)].map(line).join('\n'))
