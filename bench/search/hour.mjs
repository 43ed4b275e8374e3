/**
 * A node with an hour of a shop's traces in it (bench/load/src/shop.rs), committed and merged, and counted
 * by SQL against what the load client says it sent. With a folder (`--data`) it stays for the next run.
 */

import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { JOBS_WHEN_TOLD, load, Node } from '../node.mjs'
import { ALL } from '../server.mjs'

const RECORDS = 1000
const HOUR_S = 3600
const LOAD_TIMEOUT_S = 3600
/** Ids of traces that are known; a request gives one. */
const IDS = 10_000
/** Merges are limited in what one run of them takes; so many runs are enough for any store. */
const MERGES = 20
const SECOND = 1_000_000_000n
const MINUTE = 60n * SECOND

export class Hour {
  /** Ids that were asked for since the node started. */
  asked = new Set()

  /** At least so many spans; a folder that has them already is taken as it is. */
  static async open({ spans, folder }) {
    const hour = new Hour()
    const state = folder && join(folder, 'bench-search.json')
    if (folder !== undefined) {
      mkdirSync(folder, { recursive: true })
      hour.sent = JSON.parse(readFileSync(state, { encoding: 'utf8', flag: 'a+' }) || 'null')
    }
    hour.dataDir = folder && join(folder, 'node')
    hour.node = await Node.start({ server: ALL, args: JOBS_WHEN_TOLD, dataDir: hour.dataDir })
    try {
      if (!hour.sent) await hour.#fill(spans)
      if (hour.sent.records_acknowledged < spans) {
        throw new Error(`${folder} has fewer than ${spans} spans: name another folder`)
      }
      await hour.#check()
    } catch (error) {
      await hour.close()
      throw error
    }
    if (state) writeFileSync(state, JSON.stringify(hour.sent))
    return hour
  }

  async #fill(spans) {
    const there = await this.node.count()
    if (there > 0) throw new Error(`the store has ${there} spans of something else`)
    const began = performance.now()
    this.sent = await load(ALL, [
      ...['--grpc', this.node.addresses.otlpGrpc, '--shape', 'shop', '--over', HOUR_S],
      ...['--records', RECORDS, '--requests', Math.ceil(spans / RECORDS)],
      ...['--seconds', LOAD_TIMEOUT_S, '--trace-ids', IDS],
    ])
    if (this.sent.records_acknowledged < spans) throw new Error('the load did not end in time')
    await this.node.flushed()
    let files = await this.node.files()
    for (let merge = 0; merge < MERGES; merge++) {
      await this.node.job('compact')
      const merged = await this.node.files()
      if (merged === files) break
      files = merged
    }
    await this.node.job('vacuum')
    const seconds = Math.round((performance.now() - began) / 1000)
    console.log(
      `${this.spans} spans sent, committed and merged into ${files} files in ${seconds} s`,
    )
  }

  /** SQL counts what was sent: all spans, those of each service, its errors, and traces. */
  async #check() {
    await this.node.expect(this.spans)
    const { services, traces } = this.sent.shop
    const counted = await this.node.sql(
      `SELECT service_name AS name, count(*) AS spans, count(*) FILTER (WHERE status_code = 2) AS errors
       FROM spans GROUP BY service_name ORDER BY service_name`,
    )
    const line = ({ name, spans, errors }) => `${name}: ${spans} spans, ${errors} errors`
    const wanted = services.filter(({ spans }) => spans > 0).map(line)
    same('spans by service', counted.map(line), wanted.sort())
    const [{ n }] = await this.node.sql('SELECT count(DISTINCT trace_id) AS n FROM spans')
    same('traces', Number(n), traces)
  }

  get spans() {
    return this.sent.records_acknowledged
  }

  /** Names of the services that have spans, in the order of their layers. */
  get services() {
    return this.sent.shop.services.filter(({ spans }) => spans > 0)
  }

  /** What the client knows of some traces: their ids, and of how many spans each is. */
  get traces() {
    return this.sent.trace_ids.map((id, at) => ({ id, spans: this.sent.shop.trace_spans[at] }))
  }

  /** Those of them that nobody has asked for. */
  get fresh() {
    return this.traces.filter(({ id }) => !this.asked.has(id))
  }

  /** Whole minutes around all spans, in seconds since 1970. */
  get range() {
    const from = BigInt(this.sent.shop.from_unix_nano) / MINUTE
    // A trace that begins last goes on for a while.
    const until = BigInt(this.sent.shop.until_unix_nano) / MINUTE + 5n
    return { start: Number(from * 60n), end: Number(until * 60n) }
  }

  /** The node anew over the same files; `between` runs while there is none. */
  async restart(between) {
    const { dataDir, own } = this.node
    await this.node.stop()
    execFileSync('sync')
    await between()
    this.node = await Node.start({ server: ALL, args: JOBS_WHEN_TOLD, dataDir })
    this.node.own = own
  }

  async close() {
    await this.node.remove()
  }
}

/** Fails unless both are alike. */
export function same(what, found, wanted) {
  const [one, other] = [found, wanted].map((value) => JSON.stringify(value))
  if (one !== other) throw new Error(`${what}: ${one} is not what was sent: ${other}`)
}
