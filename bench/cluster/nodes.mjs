/** Nodes of one cluster, each a process on an address of its own, with one folder of tables. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask } from '../http.mjs'
import { JOBS_WHEN_TOLD, Node } from '../node.mjs'
import { ALL, processorSeconds } from '../server.mjs'

const PORTS = { 'otlp-grpc': 4317, 'otlp-http': 4318, http: 4319, flight: 4320, cluster: 4321 }
const PEER_PORT = 4322
const PATIENCE_MS = 120_000

/** What a thread of its own does for each flush, and ends. */
const FLUSHES = 'flush and commit'

/** Threads by what they do; what JavaScript's process has beside them is `javascript`. */
const STAGES = {
  otlake: 'receive, split, decode, send',
  'otlake-log': 'log',
  'otlake-replica': 'copies of others',
  'otlake-flush': FLUSHES,
  'otlake-query': 'queries',
  'otlake-meta': 'metadata group',
  'otlake-meta-log': 'metadata group',
  'otlake-paxos': 'metadata group',
}

let clusters = 0

export class BenchCluster {
  /**
   * Starts `count` nodes that know each other and have their shares of the shards. `copies` and
   * `acks` are those of spans, `threads` is of each node.
   */
  static async start(count, { copies, acks, threads }) {
    const cluster = new BenchCluster()
    cluster.folder = mkdtempSync(join(tmpdir(), 'otlake-bench-'))
    cluster.nodes = []
    const net = `127.${100 + (process.pid % 100)}.${++clusters}`
    const host = (index) => `${net}.${index + 1}`
    const seeds = Array.from({ length: count }, (_, index) => `${host(index)}:${PORTS.cluster}`)
    const settings = {
      worker_threads: threads,
      'cluster.copies.spans': copies,
      'cluster.acks.spans': acks,
      'cluster.rebalance.shards': 1000,
    }
    const set = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`])
    const start = async (index) => {
      const listen = Object.entries(PORTS).flatMap(([name, port]) => [
        `--${name}`,
        `${host(index)}:${port}`,
      ])
      const node = await Node.start({
        server: ALL,
        dataDir: join(cluster.folder, `n${index + 1}`),
        args: [
          ...listen,
          ...['--peer', `${host(index)}:${PEER_PORT}`],
          ...['--join', seeds.join(','), '--tables', join(cluster.folder, 'tables')],
          ...['--set', `cluster.node=n${index + 1}`],
          ...set,
          ...JOBS_WHEN_TOLD,
        ],
      })
      cluster.nodes.push(node)
    }
    try {
      await Promise.all(seeds.map((_, index) => start(index)))
      await cluster.#settled()
    } catch (error) {
      await cluster.remove()
      throw error
    }
    return cluster
  }

  /** Until every node is ready and no shard has to move any more. */
  async #settled() {
    const until = performance.now() + PATIENCE_MS
    for (const node of this.nodes) {
      for (;;) {
        const { status, text } = await ask(node.addresses.http, '/api/v1/cluster')
        const seen = status === 200 ? JSON.parse(text) : null
        const isWell = (member) => member.status === 'alive' && member.ready && member.shards > 0
        const members = seen?.members.filter(isWell).length
        if (seen?.ready && members === this.nodes.length && seen.shards.left === 0) break
        if (performance.now() > until) throw new Error(`the cluster does not settle: ${text}`)
        await sleep(100)
      }
    }
  }

  /** Processor seconds of all nodes so far. */
  cpuSeconds() {
    return this.nodes.reduce((sum, node) => sum + node.cpuSeconds(), 0)
  }

  /** The same by what the threads do; what those used that have ended is that of flushes. */
  cpuByStage() {
    const stages = new Map()
    const add = (stage, seconds) => stages.set(stage, (stages.get(stage) ?? 0) + seconds)
    for (const node of this.nodes) {
      const folder = `/proc/${node.child.pid}/task`
      let ended = node.cpuSeconds()
      for (const thread of readdirSync(folder)) {
        const name = readFileSync(`${folder}/${thread}/comm`, 'utf8').trim()
        const seconds = processorSeconds(`${folder}/${thread}`)
        const stage = STAGES[name] ?? (name.startsWith('otlake') ? name : 'javascript')
        add(stage, seconds)
        ended -= seconds
      }
      add(FLUSHES, ended)
    }
    return stages
  }

  /** Bytes that all nodes have had written to disks. */
  writtenBytes() {
    return this.nodes.reduce((sum, { child }) => {
      const io = readFileSync(`/proc/${child.pid}/io`, 'utf8')
      return sum + Number(/^write_bytes: (\d+)/m.exec(io)[1])
    }, 0)
  }

  /** Bytes that nodes have sent each other. */
  async sentBytes() {
    let sum = 0
    for (const node of this.nodes) {
      for (const [name, value] of await node.metrics()) {
        if (name.startsWith('otlake_peer_sent_bytes_total')) sum += value
      }
    }
    return sum
  }

  async flushed() {
    await Promise.all(this.nodes.map((node) => node.flushed()))
  }

  async remove() {
    await Promise.all(this.nodes.map((node) => node.stop()))
    rmSync(this.folder, { recursive: true, force: true })
  }
}
