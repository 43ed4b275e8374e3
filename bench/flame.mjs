/**
 * A flame graph of the full path: a node on one core at full load, spans over gRPC, sampled by
 * `perf` and drawn by inferno. `npm run bench:flame -- [--seconds N] [--signal S] [--out FILE.svg]`.
 * perf comes with the system (Debian: linux-perf); inferno is installed by cargo into
 * ~/.cache/otlake/inferno, once.
 */

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { parseArgs } from 'node:util'
import { machine } from './machine.mjs'
import { buildLoad, JOBS_WHEN_TOLD, load, Node } from './node.mjs'
import { round } from './numbers.mjs'
import { RESULTS } from './report.mjs'
import { CLIENT } from './server.mjs'

const INFERNO = '0.12.8'
const INFERNO_HOME = join(homedir(), '.cache/otlake/inferno')
/** Samples a second: few enough for their stacks to be copied without slowing the node. */
const RATE = 199
/** Bytes of stack that a sample copies; the module is built without frame pointers. */
const STACK_BYTES = 16_384
/** Where a sample's time goes: the first part that any of its frames names. */
const PARTS = [
  ['compaction', /otlake_shard::(merge|compact)/],
  ['compression (zstd)', /ZSTD_|zstd|HUF_|FSE_/],
  ['Parquet encoding', /parquet::/],
  ['sorting rows', /otlake_shard::.*sort|lexsort|arrow_row/],
  ['decoding', /otlake_decode/],
  ['log', /otlake_log/],
  ['Delta commit', /deltalake|buoyant/],
  ['writing files', /otlake_shard|otlake_flush/],
  ['receiving', /otlake_receive|hyper|h2::/],
  ['JavaScript', /v8::|node::|uv_/],
]

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '15' },
    signal: { type: 'string', default: 'traces' },
    out: { type: 'string' },
  },
})

function inferno(name) {
  const program = join(INFERNO_HOME, 'bin', name)
  if (!existsSync(program)) {
    const from = ['inferno', '--version', INFERNO, '--locked', '--root', INFERNO_HOME]
    execFileSync('cargo', ['install', ...from], { stdio: 'inherit' })
  }
  return program
}

/** Runs a command with a file, or another's output, as its input and a file as its output. */
async function piped(commands, file) {
  const children = commands.map(([program, ...args]) =>
    spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] }),
  )
  const ended = children.map((child) => once(child, 'close'))
  children[0].stdin.end()
  const streams = children
    .slice(1)
    .map((child, index) => pipeline(children[index].stdout, child.stdin))
  await Promise.all([...streams, pipeline(children.at(-1).stdout, createWriteStream(file))])
  for (const [index, [code]] of (await Promise.all(ended)).entries()) {
    if (code !== 0) throw new Error(`${commands[index][0]} ended with ${code}`)
  }
}

/** Shares of the samples by part, of stacks folded as `frame;frame;frame count`. */
function shares(folded) {
  const counts = new Map()
  let all = 0
  for (const line of folded.trimEnd().split('\n')) {
    const at = line.lastIndexOf(' ')
    const [stack, count] = [line.slice(0, at), Number(line.slice(at + 1))]
    const part = PARTS.find(([, names]) => names.test(stack))?.[0] ?? 'other'
    counts.set(part, (counts.get(part) ?? 0) + count)
    all += count
  }
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([part, count]) => ({ part, percent: round((count / all) * 100, 1) }))
}

try {
  execFileSync('perf', ['--version'], { stdio: 'ignore' })
} catch {
  console.error(
    'perf is not on the PATH: apt-get install linux-perf (Debian), then run this again.',
  )
  process.exit(1)
}
const [collapse, draw] = ['inferno-collapse-perf', 'inferno-flamegraph'].map(inferno)
buildLoad()
const { revision, processor } = machine()
const seconds = Number(options.seconds)
const out = options.out ?? join(RESULTS, `flame-${options.signal}-${revision}.svg`)
const folder = mkdtempSync(join(tmpdir(), 'otlake-flame-'))
const node = await Node.start({ args: JOBS_WHEN_TOLD })
try {
  const to = ['--grpc', node.addresses.otlpGrpc, '--signal', options.signal]
  const table = { traces: 'spans', logs: 'logs', metrics: 'metrics_sum' }[options.signal]
  const warm = await load(CLIENT, [...to, '--seconds', 2, '--seed', 7])
  const data = join(folder, 'perf.data')
  const stacks = ['--call-graph', `dwarf,${STACK_BYTES}`]
  const perf = spawn(
    'perf',
    ['record', '-q', '-F', RATE, ...stacks, '-p', node.child.pid, '-o', data].map(String),
    { stdio: 'inherit' },
  )
  const recorded = once(perf, 'exit')
  const sent = await load(CLIENT, [...to, '--seconds', seconds])
  await node.flushed()
  await node.job('compact')
  perf.kill('SIGINT')
  await recorded
  await node.expect(warm.records_acknowledged + sent.records_acknowledged, table)
  const folded = join(folder, 'folded')
  // Inlined frames would ask addr2line for every address, which takes an hour.
  await piped([['perf', 'script', '--no-inline', '-i', data], [collapse]], folded)
  mkdirSync(dirname(out), { recursive: true })
  const title = `otlake ${revision}: ${options.signal} at full load, one core of ${processor}`
  await piped([[draw, '--title', title, '--minwidth', '0.1', folded]], out)
  console.table(shares(readFileSync(folded, 'utf8')))
  console.log(`${Math.round(sent.records_per_second)} records/s while sampled; drawn to ${out}`)
} finally {
  await node.remove()
  rmSync(folder, { recursive: true, force: true })
}
