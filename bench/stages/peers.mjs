/**
 * The peers under the same load client on the same processors: spans at full load on one core and
 * on the whole machine, the processor seconds until they fall idle, memory, and bytes on disk.
 */

import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { load } from '../node.mjs'
import { median, round } from '../numbers.mjs'
import { PEERS, programOf } from '../peers/peers.mjs'
import { ALL, CLIENT, SERVER, Server, spawnPinned } from '../server.mjs'

const READY_TIMEOUT_MS = 30_000

export async function peers({ report, rounds, length }) {
  const measured = []
  const rows = []
  for (const [name, peer] of Object.entries(PEERS)) {
    const program = programOf(name)
    if (program === null) {
      console.log(`${name}: skipped: ${peer.variable} names no program and none was built`)
      continue
    }
    const [core, machine] = [[], []]
    for (let turn = 0; turn < rounds; turn++) {
      const seconds = length(15, 3, 1)
      core.push(await measure(program, peer, { server: SERVER, client: CLIENT, seconds }))
      machine.push(await measure(program, peer, { server: ALL, client: ALL, seconds }))
    }
    measured.push({ name, peer, core, machine })
    for (const [where, samples] of Object.entries({ 'one core': core, machine })) {
      rows.push({ peer: name, where, ...summary(samples) })
    }
  }
  if (rows.length === 0) return
  report.show('Peers, the same client and load', rows)
  beside(report, measured)
}

/** The medians of the samples, with the spread of the rate. */
function summary(samples) {
  const middle = (name, digits) => round(median(samples.map((one) => one[name])), digits)
  const rates = samples.map((one) => one.spans_per_second)
  return {
    spans_per_second: middle('spans_per_second', 0),
    min: round(Math.min(...rates), 0),
    max: round(Math.max(...rates), 0),
    cpu_seconds_per_million: middle('cpu_seconds_per_million'),
    ack_p50_ms: middle('ack_p50_ms'),
    ack_p99_ms: middle('ack_p99_ms'),
    peak_rss_mb: middle('peak_rss_mb', 0),
    disk_bytes_per_span: middle('disk_bytes_per_span', 1),
    refused: middle('refused', 0),
    failed: middle('failed', 0),
  }
}

/** Puts the best of those that store beside our figures. */
function beside(report, measured) {
  const stores = measured.filter(({ peer }) => peer.stores)
  if (stores.length === 0) return
  const best = (id, where, column, better) => {
    const values = ({ [where]: samples }) => samples.map((one) => one[column])
    const [first] = stores.toSorted((a, b) => better * (median(values(b)) - median(values(a))))
    report.beside(id, values(first), first.name)
  }
  best('cpu_per_million', 'core', 'cpu_seconds_per_million', -1)
  best('core_spans_per_second', 'core', 'spans_per_second', 1)
  best('machine_spans_per_second', 'machine', 'spans_per_second', 1)
  best('bytes_per_span', 'core', 'disk_bytes_per_span', -1)
}

async function measure(program, peer, { server, client, seconds }) {
  const folder = mkdtempSync(join(tmpdir(), 'otlake-peer-'))
  const [port, ...others] = await freePorts(3)
  const child = spawnPinned(server, [program, ...peer.start(folder, port, others)], {
    cwd: folder,
    // What a server writes about itself is not read; its failure to start is seen below.
    stdio: 'ignore',
  })
  const running = new Server(child)
  try {
    await ready(port, child)
    const connections = peer.transport === 'grpc' ? 1 : 8
    const to = [`--${peer.transport}`, `127.0.0.1:${port}`, '--path', peer.path ?? '']
    const shape = [...to, '--in-flight', 8, '--connections', connections, '--keep-going']
    const warm = await load(client, [...shape, '--seconds', Math.min(2, seconds), '--seed', 7])
    await running.idle()
    const before = running.cpuSeconds()
    const sent = await load(client, [...shape, '--seconds', seconds])
    if (sent.records_acknowledged === 0) throw new Error(`${program} acknowledged nothing`)
    await running.idle()
    const cpu = running.cpuSeconds() - before
    const peak = running.peakMegabytes()
    // Stopped, it has written what it holds.
    await running.stop()
    const stored = warm.records_acknowledged + sent.records_acknowledged
    return {
      spans_per_second: sent.records_per_second,
      cpu_seconds_per_million: (cpu / sent.records_acknowledged) * 1e6,
      ack_p50_ms: sent.p50_ms,
      ack_p99_ms: sent.p99_ms,
      peak_rss_mb: peak,
      disk_bytes_per_span: peer.stores ? bytesUnder(join(folder, 'data')) / stored : 0,
      refused: sent.requests_refused,
      failed: sent.requests_failed,
    }
  } finally {
    await running.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Ports that nobody listens on. */
async function freePorts(number) {
  const servers = await Promise.all(
    Array.from({ length: number }, () => {
      const server = createServer()
      return new Promise((resolve) => {
        server.listen(0, '127.0.0.1', () => resolve(server))
      })
    }),
  )
  return Promise.all(
    servers.map((server) => {
      const { port } = server.address()
      return new Promise((resolve) => {
        server.close(() => resolve(port))
      })
    }),
  )
}

async function ready(port, child) {
  for (const began = performance.now(); performance.now() - began < READY_TIMEOUT_MS; ) {
    if (child.exitCode !== null) throw new Error(`${child.spawnargs.join(' ')} ended at once`)
    const open = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1')
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (open) return
    await sleep(100)
  }
  throw new Error(`${child.spawnargs.join(' ')} did not listen in time`)
}

/** The blocks that files have on disk: a file made longer than what is written counts what it holds. */
function bytesUnder(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).blocks * 512, 0)
}
