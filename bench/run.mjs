/**
 * The benchmark: runs the stages in turns, prints the table of figures with the machine, the
 * revision and the durability mode, writes the same as JSON, and adds a line to the history.
 *
 * A stage that fails does not end the run: the others still tell what they measured, and the exit
 * status says it.
 */

import { parseArgs } from 'node:util'
import { machine } from './machine.mjs'
import { buildLoad } from './node.mjs'
import { Report } from './report.mjs'
import { core } from './stages/core.mjs'
import { derive } from './stages/derive.mjs'
import { durability } from './stages/durability.mjs'
import { growth } from './stages/growth.mjs'
import { jobs } from './stages/jobs.mjs'
import { wholeMachine } from './stages/machine.mjs'
import { parts } from './stages/parts.mjs'
import { peers } from './stages/peers.mjs'
import { queries } from './stages/queries.mjs'
import { search } from './stages/search.mjs'
import { shapes } from './stages/shapes.mjs'
import { soak } from './stages/soak.mjs'
import { visible } from './stages/visible.mjs'

/** Each with what it is part of: `quick` and `check` runs, and a whole run (`full`). */
const STAGES = {
  parts: { run: parts, in: ['full', 'quick'] },
  core: { run: core, in: ['full', 'quick', 'check'] },
  machine: { run: wholeMachine, in: ['full', 'quick', 'check'] },
  queries: { run: queries, in: ['full', 'quick', 'check'] },
  peers: { run: peers, in: ['full'] },
  search: { run: search, in: ['check'] },
  shapes: { run: shapes, in: ['full'] },
  derive: { run: derive, in: ['full', 'check'] },
  durability: { run: durability, in: ['full'] },
  jobs: { run: jobs, in: ['full', 'check'] },
  visible: { run: visible, in: ['full'] },
  growth: { run: growth, in: ['check'] },
  soak: { run: soak, in: ['check'] },
}
const USAGE = `npm run bench -- [options]
  --only A,B      these stages alone: ${Object.keys(STAGES).join(', ')}
  --quick         short runs, in less than 3 minutes; not remembered in the history
  --check         one very short run of each, to see that no record is lost or doubled
  --rounds N      runs of each figure (5)
  --spans N       spans of the store of queries and search (10000000), or up to which growth goes (100000000)
  --minutes N     of the soak (30)
  --data FOLDER   keeps the store of queries and growth there, and goes on from what is in it
growth, soak and search (npm run bench:search) run when they are named.`

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    spans: { type: 'string' },
    minutes: { type: 'string' },
    data: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (options.help) {
  console.log(USAGE)
  process.exit(0)
}
const mode = options.check ? 'check' : options.quick ? 'quick' : 'full'
const wanted =
  options.only?.split(',') ?? Object.keys(STAGES).filter((name) => STAGES[name].in.includes(mode))
const unknown = wanted.find((name) => !(name in STAGES))
if (unknown !== undefined) {
  console.error(`There is no stage ${unknown}.\n${USAGE}`)
  process.exit(2)
}

/** What a whole run, a quick one and a check take of something. */
const length = (full, quick, check) => ({ full, quick, check })[mode]
const number = (text, otherwise) => (text === undefined ? otherwise : Number(text))
const SPANS = {
  growth: [100_000_000, 2_000_000, 200_000],
  queries: [10_000_000, 1_000_000, 200_000],
  search: [10_000_000, 1_000_000, 60_000],
}

// How many spans the questions' store has is part of what their figures mean.
const spansOf = (name) => number(options.spans, length(...(SPANS[name] ?? [0, 0, 0])))
const head = { ...machine(), mode, query_spans: spansOf('queries') }
const report = new Report(head)
for (const [name, value] of Object.entries(head)) console.log(`${name}: ${value}`)

buildLoad()
for (const name of wanted) {
  const began = performance.now()
  try {
    await STAGES[name].run({
      report,
      length,
      rounds: number(options.rounds, length(5, 5, 1)),
      spans: spansOf(name),
      minutes: number(options.minutes, length(30, 0.5, 0.1)),
      data: options.data,
    })
    console.log(`\n${name}: done in ${Math.round((performance.now() - began) / 1000)} s`)
  } catch (error) {
    report.failures.push({ stage: name, message: error.message })
    console.error(`\n${name}: FAILED`, error)
    process.exitCode = 1
  }
  report.write()
}
const comparable = report.figures().length > 0 && mode !== 'check'
if (comparable) console.log(`\n${report.table()}`)
console.log(`\nwritten to ${report.write()}`)
// A run that failed has figures that may be of lost records.
if (mode === 'full' && report.failures.length === 0) report.remember()
for (const { stage, message } of report.failures) console.log(`${stage} failed: ${message}`)
