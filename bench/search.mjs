/**
 * Search over at least ten million spans, by the Tempo API: prints the machine, the revision and the
 * durability mode, a table of every question warm and cold, p50 and p99, with the peers' figures beside,
 * and how many traces by id a second; the same goes as JSON to bench/results/. An answer that is not the
 * one that SQL, the traces or the load client know fails the run. `npm run bench:search`.
 */

import { parseArgs } from 'node:util'
import { machine } from './machine.mjs'
import { buildLoad } from './node.mjs'
import { Report } from './report.mjs'
import { search } from './stages/search.mjs'

const USAGE = `npm run bench:search -- [options]
  --spans N       spans of the store (10000000; with --quick 1000000)
  --warm N        runs of each question, everything in memory (100; 30)
  --cold N        runs of each question after a restart with an empty page cache (10; 3)
  --quick         fewer spans and runs
  --data FOLDER   keeps the store there, or takes the one that is there`

const { values: options } = parseArgs({
  options: {
    spans: { type: 'string' },
    warm: { type: 'string' },
    cold: { type: 'string' },
    quick: { type: 'boolean', default: false },
    data: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (options.help) {
  console.log(USAGE)
  process.exit(0)
}
const number = (text) => (text === undefined ? undefined : Number(text))
const mode = options.quick ? 'quick' : 'full'
const length = (full, quick, check) => ({ full, quick, check })[mode]
const spans = number(options.spans) ?? length(10_000_000, 1_000_000)

const head = { ...machine(), mode, query_spans: spans }
const report = new Report(head)
for (const [name, value] of Object.entries(head)) console.log(`${name}: ${value}`)
buildLoad()
const began = performance.now()
try {
  const runs = { warm: number(options.warm), cold: number(options.cold) }
  await search({ report, length, spans, data: options.data, ...runs })
  console.log(`\n${report.table()}`)
} catch (error) {
  report.failures.push({ stage: 'search', message: error.message })
  console.error('FAILED', error)
  process.exitCode = 1
}
console.log(`\n${Math.round((performance.now() - began) / 1000)} s, written to ${report.write()}`)
