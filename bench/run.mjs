/**
 * The benchmark: prints what it measured with the machine, the revision and the durability
 * mode, and writes the same as JSON. `--quick` runs each stage for a short time.
 */

import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { allSettings } from '../dist/node/config.js'
import { buildLoad, ROOT } from './node.mjs'
import { durability } from './stages/durability.mjs'
import { ingest } from './stages/ingest.mjs'
import { jobs } from './stages/jobs.mjs'
import { parts } from './stages/parts.mjs'
import { queries } from './stages/queries.mjs'
import { visible } from './stages/visible.mjs'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (options.help) {
  console.log('npm run bench -- [--quick] [--only parts|ingest|durability|jobs|visible|queries]')
  process.exit(0)
}
const quick = options.quick
const wanted = (stage) => !options.only || options.only === stage

const git = (...args) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim()
const machine = {
  processor: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memory_gib: Math.round(totalmem() / 2 ** 30),
  node: process.version,
  revision: `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain') ? '+' : ''}`,
  // The default, which every stage but `durability` has.
  durability: allSettings().durability.default,
}
const results = { machine }
console.log(
  Object.entries(machine)
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n'),
)

function show(title, value) {
  console.log(`\n${title}`)
  if (Array.isArray(value) && typeof value[0] === 'object') console.table(value)
  else if (Array.isArray(value)) console.log(value.join('\n'))
  else console.dir(value, { depth: 5 })
}

buildLoad()
if (wanted('parts')) {
  results.parts = parts(['decode', 'log', 'shard'])
  show('Native parts, one core', results.parts)
}
if (wanted('ingest')) {
  const seconds = quick ? 4 : 15
  const shapes = [
    { transport: 'grpc', records: 1000 },
    { transport: 'grpc', records: 8192 },
    { transport: 'http', records: 1000 },
    { transport: 'http', records: 8192 },
    { transport: 'grpc', records: 1000, signal: 'logs', table: 'logs' },
    { transport: 'grpc', records: 1000, signal: 'metrics', table: 'metrics_sum' },
  ]
  results.ingest = []
  for (const shape of shapes) results.ingest.push(await ingest({ ...shape, seconds }))
  show('OTLP to durable and committed, server on one core', results.ingest)
}
if (wanted('durability')) {
  results.durability = await durability({ rounds: quick ? 2 : 5, seconds: quick ? 3 : 8 })
  show('Both durability modes in turns, server on one core, medians', results.durability)
}
if (wanted('jobs')) {
  results.jobs = await jobs({ rate: 150_000, rounds: quick ? 2 : 6, seconds: quick ? 3 : 8 })
  show(
    'Acknowledgements at 150,000 spans/s, compaction and server on one core',
    results.jobs.rounds,
  )
}
if (wanted('visible')) {
  results.visible = await visible(quick ? 20 : 100)
  show('From acknowledgement to visible at `strong` (first query always sees it)', results.visible)
}
if (wanted('queries')) {
  results.queries = await queries({
    spans: quick ? 1_000_000 : 5_000_000,
    rounds: quick ? 5 : 20,
    seconds: quick ? 2 : 10,
  })
  show('Queries, both cores, warm', results.queries)
}

const folder = join(ROOT, 'bench/results')
mkdirSync(folder, { recursive: true })
const file = join(folder, `${new Date().toISOString().replaceAll(':', '-')}.json`)
writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`)
console.log(`\nwritten to ${file}`)
