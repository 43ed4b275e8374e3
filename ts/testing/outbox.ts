/** A load of numbered requests that outlives the node it is sent to. */

import { send, traceRequest } from './otlp.js'
import type { ServerProcess } from './server.js'

/** Spans of one request. */
export const SPANS = 20

/** What an outbox sends, and how. */
export interface Sending {
  clients: number
  /** Each request whose number is a multiple is sent again although it was answered; 0: none. */
  resendEvery: number
  /** Whether the request was acknowledged. */
  send(target: ServerProcess, number: number): Promise<boolean>
}

const SPANS_ONCE: Sending = {
  clients: 8,
  resendEvery: 0,
  send: (target, number) => send(target, 'traces', traceRequest('load', number, SPANS)),
}

/** Requests to send, and what became of each: its number until it is acknowledged. */
export class Outbox {
  readonly acknowledged: number[] = []
  private unanswered: number[] = []
  private next = 0

  constructor(private readonly sending: Sending = SPANS_ONCE) {}

  /** How many requests there are. */
  get count(): number {
    return this.next
  }

  /** Adds requests until their number is a multiple of this. */
  fill(multiple: number): void {
    while (this.next % multiple !== 0) this.unanswered.push(this.next++)
  }

  /** A resend of what nobody answered comes before anything new, as an exporter's queue has it. */
  take(): number {
    return this.unanswered.shift() ?? this.next++
  }

  /** Sends until the server dies, which is after `killAfter` further acknowledgements. */
  async load(target: ServerProcess, killAfter: number): Promise<void> {
    const enough = this.acknowledged.length + killAfter
    let alive = true
    const clients = Array.from({ length: this.sending.clients }, async () => {
      while (alive) {
        const number = this.take()
        if (await this.sending.send(target, number)) {
          const again = this.sending.resendEvery
          if (again > 0 && number % again === 0) await this.sending.send(target, number)
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
      const sent = await this.sending.send(target, number)
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
