/**
 * A node under test, and the load client.
 */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { credentials } from '@grpc/grpc-js'
import { controlService } from '../dist/node/control.js'
import { cargoEnvironment } from '../scripts/places.mjs'
import { ask } from './http.mjs'
import { CLIENT, output, SERVER, Server, spawnPinned } from './server.mjs'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** The otlake that is measured: an installed package's folder, or this checkout with the build that tests have. */
export const PACKAGE = process.env.OTLAKE_BENCH_PACKAGE
const MAIN = join(PACKAGE ?? ROOT, 'dist/cli/main.js')
/**
 * Jobs run only when told, and then as fast as it goes: their cost is measured apart. What was
 * merged can be deleted at once, so that other engines read the table's files and no others.
 */
export const JOBS_WHEN_TOLD = [
  ...['--set', 'jobs.schedule=off'],
  ...['--set', 'jobs.bytes_per_second=1073741824'],
  ...['--set', 'jobs.vacuum_after_ms=0'],
]

export class Node extends Server {
  /**
   * Starts a node. `server` is its list of processors; without `dataDir` it has a folder of its
   * own, which `remove` deletes.
   */
  static async start({ server = SERVER, args = [], dataDir } = {}) {
    const folder = dataDir ?? mkdtempSync(join(tmpdir(), 'otlake-bench-'))
    const listen = ['otlp-grpc', 'otlp-http', 'http', 'flight', 'cluster'].flatMap((name) => [
      `--${name}`,
      '127.0.0.1:0',
    ])
    const child = spawnPinned(
      server,
      [process.execPath, MAIN, 'serve', '--data-dir', folder, ...listen, ...args],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    const lines = []
    const addresses = await new Promise((resolve, reject) => {
      let ready = false
      const read = (line) => {
        // Later lines are read, so that the node never waits for us, and dropped.
        if (ready) return
        lines.push(line)
        try {
          const event = JSON.parse(line)
          if (event.msg !== 'ready') return
          ready = true
          resolve(event.addresses)
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
    const node = new Node(child)
    Object.assign(node, { addresses, dataDir: folder, own: dataDir === undefined })
    return node
  }

  url(path) {
    return `http://${this.addresses.http}${path}`
  }

  /** The status and text of an answer of the HTTP API. */
  ask(path, body, headers) {
    return ask(this.addresses.http, path, body, headers)
  }

  async metrics() {
    const { text } = await this.ask('/metrics')
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

  files(table = 'spans') {
    return this.metric(`otlake_table_files{table="${table}"}`)
  }

  async sql(query, format = 'json') {
    const body = JSON.stringify({ query, format })
    const { status, text } = await this.ask('/api/v1/sql', body)
    if (status !== 200) throw new Error(text)
    return format === 'json' ? JSON.parse(text).rows : text
  }

  async count(table = 'spans') {
    const [row] = await this.sql(`SELECT count(*) AS n FROM ${table}`)
    return Number(row.n)
  }

  /** Fails unless SQL counts just what was acknowledged. */
  async expect(acknowledged, table = 'spans') {
    const counted = await this.count(table)
    if (counted !== acknowledged) {
      throw new Error(
        `${acknowledged} records of ${table} were acknowledged, SQL counts ${counted}`,
      )
    }
  }

  /** Has all that was acknowledged written to committed files: then no row is live. */
  async flushed() {
    const Control = controlService()
    const client = new Control(this.addresses.cluster, credentials.createInsecure())
    await new Promise((resolve, reject) => {
      client.Flush({}, (error) => (error ? reject(error) : resolve()))
    })
    client.close()
    const metrics = await this.metrics()
    for (const signal of ['traces', 'metrics', 'logs']) {
      const live = metrics.get(`otlake_live_rows{signal="${signal}"}`) ?? 0
      if (live > 0) throw new Error(`${live} rows of ${signal} are live after a flush`)
    }
  }

  /** Runs a regular job at once, from the client's processor; resolves when it is done. */
  async job(name) {
    const command = [process.execPath, MAIN, 'job', 'run', name, '--url', this.addresses.cluster]
    await output(`the job ${name}`, CLIENT, command)
  }

  async remove() {
    await this.stop()
    if (this.own) rmSync(this.dataDir, { recursive: true, force: true })
  }
}

/** Builds the load client once. */
export function buildLoad() {
  execFileSync('cargo', ['build', '--release', '-q', '-p', 'otlake-load'], {
    cwd: ROOT,
    stdio: 'inherit',
    env: cargoEnvironment(),
  })
}

/** Runs the load client on `processors`; resolves with its report. */
export async function load(processors, args) {
  const program = join(cargoEnvironment().CARGO_TARGET_DIR, 'release/otlake-load')
  return JSON.parse(await output('the load client', processors, [program, ...args]))
}
