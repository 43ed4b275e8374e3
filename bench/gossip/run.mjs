/**
 * The figures of gossip: clusters on a simulated network, on real sockets, and clusters of Go's
 * hashicorp/memberlist on real sockets, with the same loss. Prints a table and writes it as JSON to
 * bench/results/gossip.json. `--quick` takes a tenth of the clusters; `--only simulated|real`.
 */

import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { summary } from './summary.mjs'

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' } },
})
const root = fileURLToPath(new URL('../..', import.meta.url))
const here = fileURLToPath(new URL('.', import.meta.url))
const wanted = (part) => options.only === undefined || options.only === part
const inherit = { cwd: root, stdio: 'inherit' }

const seconds = options.quick ? 10 : 20
const CONDITIONS = [3, 10].flatMap((nodes) =>
  [0, 0.01, 0.05, 0.2].map((loss) => ({
    nodes,
    loss,
    seconds,
    clusters: Math.ceil((nodes === 3 ? 10 : 3) * (options.quick ? 0.1 : 1)),
  })),
)

const machine = { processor: cpus()[0]?.model, cores: cpus().length, node: process.version }
const rows = []
const show = (row) => {
  rows.push(row)
  console.log(`${row.what}: ${row.nodes} nodes, ${row.condition}`)
  mkdirSync(`${root}bench/results`, { recursive: true })
  const text = JSON.stringify({ machine, rows }, null, 2)
  writeFileSync(`${root}bench/results/gossip.json`, `${text}\n`)
}

const compiler = 'node_modules/typescript/bin/tsc'
execFileSync(process.execPath, [compiler, '-p', 'bench/gossip/tsconfig.json'], inherit)
if (wanted('real')) {
  execFileSync(process.execPath, ['scripts/build-ts.mjs'], inherit)
  const { real } = await import('./real.mjs')
  await real(CONDITIONS, show)
  for (const [index, runs] of (await memberlist()).entries()) {
    show(summary('memberlist, real', CONDITIONS[index], runs))
  }
}
if (wanted('simulated')) {
  const { simulated } = await import('./simulated.mjs')
  simulated(options.quick ? 0.1 : 1, show)
}

/** The same conditions with memberlist; without Go there are none. */
async function memberlist() {
  const program = `${root}bench/results/memberlist`
  try {
    execFileSync('go', ['build', '-o', program, '.'], { ...inherit, cwd: `${here}memberlist` })
  } catch (error) {
    console.log(`memberlist is left out: ${error.message}`)
    return []
  }
  const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(JSON.stringify(CONDITIONS))
  const chunks = []
  for await (const chunk of child.stdout) chunks.push(chunk)
  const never = Number.POSITIVE_INFINITY
  return JSON.parse(Buffer.concat(chunks)).map((runs) =>
    runs.map((run) => ({
      ...run,
      detectMs: run.detectMs ?? never,
      allKnowMs: run.allKnowMs ?? never,
    })),
  )
}

console.table(rows)
