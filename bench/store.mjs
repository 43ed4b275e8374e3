/**
 * A node with a number of spans in it, which grows in steps and is questioned in between. It knows
 * the ids of some of its traces, from its whole life. With a folder (`--data`) it stays for the next
 * run, which goes on from what is there; `levels` is what growth has measured of it.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { JOBS_WHEN_TOLD, load, Node } from './node.mjs'

const RECORDS = 1000
/** Spans between two compactions: what some 40 s at full load bring. */
const STEP = 20_000_000
/** Ids kept of each step, spread over it; a request gives one. */
const IDS = 4000
/** A prime, so that steps of it visit every place of nearly every list. */
const STRIDE = 7919
const LOAD_TIMEOUT_S = 900
/** The load client makes traces of so many spans. */
export const TRACE_SPANS = 10

export class Store {
  /** @param {string} server the node's processors; `client`: the load client's */
  static async open({ server, client, folder }) {
    const store = new Store()
    Object.assign(store, { server, client, spans: 0, ids: [], asked: [], levels: [] })
    if (folder !== undefined) {
      mkdirSync(folder, { recursive: true })
      store.state = join(folder, 'bench-state.json')
      try {
        Object.assign(store, JSON.parse(readFileSync(store.state, 'utf8')))
      } catch (error) {
        if (error.code !== 'ENOENT') throw error
      }
    }
    store.node = await Node.start({
      server,
      args: JOBS_WHEN_TOLD,
      dataDir: folder && join(folder, 'node'),
    })
    // A step that was cut off is there and not in the state; nothing that is in it may be missing.
    const counted = await store.node.count()
    if (counted < store.spans) {
      throw new Error(`the store had ${store.spans} spans, SQL counts ${counted}`)
    }
    store.spans = counted
    return store
  }

  /** Sends spans until there are so many, all committed and compacted; SQL has to count them. */
  async grow(spans) {
    while (this.spans < spans) {
      await this.send(Math.min(spans - this.spans, STEP))
      await this.node.job('compact')
      await this.node.job('vacuum')
      await this.node.expect(this.spans)
      this.#save()
    }
  }

  /** Sends so many spans, rounded up to whole requests, and waits until they are committed. */
  async send(spans) {
    const report = await load(this.client, [
      ...['--grpc', this.node.addresses.otlpGrpc, '--records', RECORDS],
      ...['--requests', Math.ceil(spans / RECORDS), '--seconds', LOAD_TIMEOUT_S],
      // Never the same ids again, not even after a run that was cut off.
      ...['--seed', this.spans + 1, '--trace-ids', IDS],
    ])
    if (report.records_acknowledged < spans) throw new Error('the load did not end in time')
    this.spans += report.records_acknowledged
    this.ids.push(...report.trace_ids)
    await this.node.flushed()
    return report
  }

  /** Ids that no question has had before, from the store's whole life. */
  freshIds(number) {
    if (this.ids.length < number) throw new Error('no ids are left that were not asked for')
    return Array.from({ length: number }, () => {
      // Far apart from the one before, and each once.
      const at = (this.asked.length * STRIDE) % this.ids.length
      const id = this.ids[at]
      this.ids[at] = this.ids[this.ids.length - 1]
      this.ids.pop()
      this.asked.push(id)
      return id
    })
  }

  /** Ids that have been asked for; at most so many. */
  askedIds(number) {
    return this.asked.slice(-number)
  }

  /** A node of its own anew over the same files; `between` runs while there is none. */
  async restart(between = () => {}) {
    const { dataDir, own } = this.node
    await this.node.stop()
    await between()
    this.node = await Node.start({ server: this.server, args: JOBS_WHEN_TOLD, dataDir })
    this.node.own = own
  }

  #save() {
    if (this.state === undefined) return
    const { spans, ids, asked, levels } = this
    writeFileSync(this.state, JSON.stringify({ spans, ids, asked, levels }))
  }

  async close() {
    this.#save()
    await this.node.remove()
  }
}
