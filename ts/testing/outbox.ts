/** A load of numbered requests that outlives the node it is sent to. */

import { send, traceRequest } from './otlp.js'
import type { ServerProcess } from './server.js'

/** Spans of one request. */
export const SPANS = 20
const CLIENTS = 8

/** Requests to send, and what became of each: its number until it is acknowledged. */
export class Outbox {
  readonly acknowledged: number[] = []
  private unanswered: number[] = []
  private next = 0

  /** A resend of what nobody answered comes before anything new, as an exporter's queue has it. */
  take(): number {
    return this.unanswered.shift() ?? this.next++
  }

  /** Sends until the server dies, which is after `killAfter` further acknowledgements. */
  async load(target: ServerProcess, killAfter: number): Promise<void> {
    const enough = this.acknowledged.length + killAfter
    let alive = true
    const clients = Array.from({ length: CLIENTS }, async () => {
      while (alive) {
        const number = this.take()
        if (await send(target, 'traces', traceRequest('load', number, SPANS))) {
          this.acknowledged.push(number)
          if (this.acknowledged.length === enough) await target.kill()
        } else {
          this.unanswered.push(number)
          alive = false
        }
      }
    })
    await Promise.all(clients)
  }

  /** Sends what is still unanswered. */
  async settle(target: ServerProcess): Promise<void> {
    for (const number of this.unanswered) {
      const sent = await send(target, 'traces', traceRequest('load', number, SPANS))
      if (!sent) throw new Error(`request ${number} was refused by a node that nobody killed`)
      this.acknowledged.push(number)
    }
    this.unanswered = []
  }
}

/** What a node should hold of an outbox whose requests are all acknowledged, as `stored` gives it. */
export function expected(outbox: Outbox): object[] {
  return outbox.acknowledged
    .sort((a, b) => a - b)
    .map((number) => ({ name: `request ${number}`, spans: SPANS, ids: SPANS }))
}

/** The requests that a node holds, with their spans and the different ones among these. */
export function stored(target: ServerProcess): Promise<object[]> {
  return target.rows(
    `SELECT name, count(*) AS spans, count(DISTINCT span_id) AS ids
     FROM spans WHERE service_name = 'load'
     GROUP BY name ORDER BY CAST(substr(name, 9) AS BIGINT)`,
  )
}
