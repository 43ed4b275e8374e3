/**
 * A node under test: pinned to processors, with what it has used so far.
 */

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))
const MAIN = join(ROOT, 'dist/cli/main.js')
const TARGET = process.env.CARGO_TARGET_DIR ?? join(homedir(), '.cache/otlake/target')
/** Clock ticks a second in /proc/<pid>/stat; 100 on every Linux that Node.js runs on. */
const TICKS = 100
const FLUSHED_TIMEOUT_S = 120

/** @param {string} cpus a list as `taskset -c` takes it */
const pinned = (cpus, command) => ['taskset', ['-c', cpus, ...command]]

export class Node {
  /** Starts a node in a folder of its own. `server` is its list of processors. */
  static async start({ server = '0', args = [] } = {}) {
    const dataDir = mkdtempSync(join(tmpdir(), 'otlake-bench-'))
    const any = '127.0.0.1:0'
    const [program, argv] = pinned(server, [
      process.execPath,
      MAIN,
      'serve',
      '--data-dir',
      dataDir,
      '--otlp-grpc',
      any,
      '--otlp-http',
      any,
      '--http',
      any,
      '--flight',
      any,
      '--cluster',
      any,
      ...args,
    ])
    const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'pipe'] })
    const lines = []
    const addresses = await new Promise((resolve, reject) => {
      const read = (line) => {
        lines.push(line)
        try {
          const event = JSON.parse(line)
          if (event.msg === 'ready') resolve(event.addresses)
        } catch {
          // Not every line is an event.
        }
      }
      createInterface({ input: child.stdout }).on('line', read)
      createInterface({ input: child.stderr }).on('line', read)
      child.once('exit', (code) =>
        reject(new Error(`the node ended (${code})\n${lines.join('\n')}`)),
      )
    })
    const node = new Node()
    Object.assign(node, { child, addresses, dataDir })
    return node
  }

  url(path) {
    return `http://${this.addresses.http}${path}`
  }

  /** User and system seconds of the whole process since it started. */
  cpuSeconds() {
    const stat = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS
  }

  peakMegabytes() {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8')
    return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024)
  }

  async metrics() {
    const text = await (await fetch(this.url('/metrics'))).text()
    const values = new Map()
    for (const line of text.split('\n')) {
      if (line.startsWith('#') || line === '') continue
      const at = line.lastIndexOf(' ')
      values.set(line.slice(0, at), Number(line.slice(at + 1)))
    }
    return values
  }

  async metric(name) {
    return (await this.metrics()).get(name) ?? 0
  }

  async sql(query, format = 'json') {
    const response = await fetch(this.url('/api/v1/sql'), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, format }),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(text)
    return format === 'json' ? JSON.parse(text).rows : text
  }

  async count(table) {
    const [row] = await this.sql(`SELECT count(*) AS n FROM ${table}`)
    return Number(row.n)
  }

  /** Waits until no row is live: what was acknowledged is in committed files. */
  async flushed() {
    for (let waited = 0; waited < FLUSHED_TIMEOUT_S * 10; waited++) {
      const metrics = await this.metrics()
      const live = ['traces', 'metrics', 'logs'].reduce(
        (sum, signal) => sum + (metrics.get(`otlake_live_rows{signal="${signal}"}`) ?? 0),
        0,
      )
      if (live === 0) return
      await sleep(100)
    }
    throw new Error('rows were still live after two minutes')
  }

  /** Runs a regular job at once, from processor 1; resolves when it is done. */
  async job(name) {
    const command = [process.execPath, MAIN, 'job', 'run', name, '--url', this.addresses.cluster]
    const [program, argv] = pinned('1', command)
    const [code] = await once(spawn(program, argv, { stdio: 'ignore' }), 'exit')
    if (code !== 0) throw new Error(`the job ${name} ended with ${code}`)
  }

  async stop() {
    const ended = once(this.child, 'exit')
    this.child.kill('SIGTERM')
    await ended
  }

  async remove() {
    if (this.child.exitCode === null) await this.stop()
    rmSync(this.dataDir, { recursive: true, force: true })
  }
}

/** Builds the load client once. */
export function buildLoad() {
  execFileSync('cargo', ['build', '--release', '-q', '-p', 'otlake-load'], {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, CARGO_TARGET_DIR: TARGET },
  })
}

/** Runs the load client on `cpus`; resolves with its report. */
export async function load(cpus, args) {
  const [program, argv] = pinned(cpus, [join(TARGET, 'release/otlake-load'), ...args.map(String)])
  const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`the load client ended with ${code}`)
  return JSON.parse(output)
}

export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.round((sorted.length - 1) * share)]
}

export const round = (value, digits = 2) => Number(value.toFixed(digits))
