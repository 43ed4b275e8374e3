/**
 * What a span costs in a cluster: processor seconds of all nodes together, from OTLP/gRPC to
 * committed Parquet, by the number of nodes and of copies; the share of each kind of thread; bytes
 * between nodes and to disks. Each request goes to one node and is of spans of many traces, so that
 * every node owns a part of it: the most that distributing can cost.
 *
 * `npm run bench:cluster -- --nodes 1,3,5,9 --copies 1,3 --records 1000 --rounds 3 --spans 1500000 --rate 0 --threads 1`
 *
 * `--records` is spans of one request, and `--threads` a node's `worker_threads`. All nodes share this
 * machine, so processor seconds are measured and no throughput: at rate 0 the clients send as fast as
 * they are answered, and all nodes together have the machine's cores. Nodes have one thread each by
 * default, because many that take turns on few cores would measure the turns. What
 * nodes use without load is measured before, in the same run, and shown beside. Nothing is measured
 * while owners still ask each other about requests from before their shards moved. Prints tables and
 * writes bench/results/cluster.json.
 */

import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { machine as describe } from '../machine.mjs'
import { buildLoad, load, ROOT } from '../node.mjs'
import { median, round } from '../numbers.mjs'
import { ALL } from '../server.mjs'
import { BenchCluster } from './nodes.mjs'

const { values: options } = parseArgs({
  options: {
    nodes: { type: 'string', default: '1,3,5,9' },
    copies: { type: 'string', default: '1,3' },
    rounds: { type: 'string', default: '3' },
    spans: { type: 'string', default: '1500000' },
    rate: { type: 'string', default: '0' },
    records: { type: 'string', default: '1000' },
    threads: { type: 'string', default: '1' },
  },
})
const numbers = (text) => text.split(',').map(Number)
const [rounds, spans, rate, threads] = ['rounds', 'spans', 'rate', 'threads'].map((name) =>
  Number(options[name]),
)
/** How long the cost of nodes without load is measured, and how long what is left of a load takes. */
const IDLE_MS = 10_000
const CALM_MS = 10_000
/** So long do owners ask each other after shards moved (native/cluster/src/moved.rs), and a little more. */
const MOVED_MS = 65_000

/** Sends so many spans to all nodes alike; resolves with what the clients say. */
async function send(cluster, count, records, seed) {
  const { nodes } = cluster
  const requests = Math.max(1, Math.round(count / records / nodes.length))
  const reports = await Promise.all(
    nodes.map((node, index) =>
      load(ALL, [
        ...['--grpc', node.addresses.otlpGrpc, '--records', records, '--requests', requests],
        ...['--seconds', 600, '--seed', seed + index],
        ...(rate > 0 ? ['--rate', Math.round(rate / nodes.length)] : []),
      ]),
    ),
  )
  const acknowledged = reports.reduce((sum, report) => sum + report.records_acknowledged, 0)
  const refused = reports.reduce((sum, report) => sum + report.requests_refused, 0)
  const p50 = median(reports.map((report) => report.p50_ms))
  return { acknowledged, refused, p50 }
}

async function measure({ nodes: count, copies, records }, seed) {
  const acks = copies === 1 ? 1 : 2
  const cluster = await BenchCluster.start(count, { copies, acks, threads })
  const settled = performance.now()
  try {
    const warm = await send(cluster, spans / 10, records, seed)
    await cluster.flushed()
    const left = count > 1 ? settled + MOVED_MS - performance.now() : 0
    await sleep(Math.max(CALM_MS, left - IDLE_MS))
    const idleBefore = cluster.cpuSeconds()
    await sleep(IDLE_MS)
    const idle = (cluster.cpuSeconds() - idleBefore) / (IDLE_MS / 1000)
    const stagesBefore = cluster.cpuByStage()
    const sentBefore = await cluster.sentBytes()
    const writtenBefore = cluster.writtenBytes()
    const cpuBefore = cluster.cpuSeconds()
    const began = performance.now()
    const sent = await send(cluster, spans, records, seed + 100)
    await cluster.flushed()
    const seconds = (performance.now() - began) / 1000
    const cpu = cluster.cpuSeconds() - cpuBefore
    const millions = sent.acknowledged / 1e6
    const stages = [...cluster.cpuByStage()].map(([stage, after]) => [
      stage,
      (after - (stagesBefore.get(stage) ?? 0)) / millions,
    ])
    const between = (await cluster.sentBytes()) - sentBefore
    const written = cluster.writtenBytes() - writtenBefore
    for (const node of cluster.nodes) await node.expect(warm.acknowledged + sent.acknowledged)
    return {
      nodes: count,
      copies,
      records,
      acks,
      cpu: cpu / millions,
      load: (cpu - idle * seconds) / millions,
      idle: idle / count,
      between: between / sent.acknowledged,
      written: written / sent.acknowledged,
      p50: sent.p50,
      refused: sent.refused,
      stages: Object.fromEntries(stages),
    }
  } finally {
    await cluster.remove()
  }
}

execFileSync(process.execPath, ['scripts/build-ts.mjs'], { cwd: ROOT, stdio: 'inherit' })
buildLoad()
const shapes = numbers(options.nodes).flatMap((nodes) =>
  numbers(options.copies)
    .filter((copies) => copies <= nodes)
    .flatMap((copies) => numbers(options.records).map((records) => ({ nodes, copies, records }))),
)
const runs = new Map(shapes.map((shape) => [shape, []]))
// Round by round, so that what is compared is near in time.
for (let turn = 0; turn < rounds; turn++) {
  for (const [shape, results] of runs) {
    results.push(await measure(shape, 1000 * (turn + 1)))
    const { cpu, load: net } = results.at(-1)
    const { nodes, copies, records } = shape
    console.log(`${nodes} nodes, ${copies} copies, ${records} spans: ${round(cpu)} (${round(net)})`)
  }
}

const middle = (results, of) => median(results.map(of))
const rows = [...runs].map(([shape, results]) => ({
  ...shape,
  'CPU-s per million': round(middle(results, (run) => run.cpu)),
  'without idle': round(middle(results, (run) => run.load)),
  'least to most': results.map((run) => round(run.load)).sort((a, b) => a - b),
  'idle CPU, a node': round(
    middle(results, (run) => run.idle),
    3,
  ),
  'bytes between nodes, a span': Math.round(middle(results, (run) => run.between)),
  'bytes to disk, a span': Math.round(middle(results, (run) => run.written)),
  'ack p50, ms': round(middle(results, (run) => run.p50)),
  refused: middle(results, (run) => run.refused),
}))
const stages = [...runs].map(([shape, results]) => {
  const names = Object.keys(results[0].stages)
  const shares = names.map((name) => [name, round(middle(results, (run) => run.stages[name] ?? 0))])
  return { ...shape, ...Object.fromEntries(shares) }
})
const machine = { ...describe(), durability: 'fsync', rate, spans, rounds, threads }
console.log(machine)
console.table(rows)
console.log('CPU-s per million spans, by threads')
console.table(stages)
mkdirSync(`${ROOT}bench/results`, { recursive: true })
const text = JSON.stringify({ machine, rows, stages, runs: [...runs.values()] }, null, 2)
writeFileSync(`${ROOT}bench/results/cluster.json`, `${text}\n`)
