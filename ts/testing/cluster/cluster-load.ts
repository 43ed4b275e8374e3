/** Clients of a cluster: each request goes to one node after the other until one acknowledges it. */

import { createHash } from 'node:crypto'
import { systemClock, systemMonotonic } from '../../base/clock.js'
import type { ClusterNode } from './nodes.js'

/** Spans of one request, each of a trace of its own, so that many nodes own a part of it. */
export const SPANS = 20
const CLIENTS = 6
/** How long a client waits for an answer. */
const PATIENCE_MS = 3000
/** How long it waits after a refusal. */
const PAUSE_MS = 50
const EPOCH = 1_700_000_000_000_000_000n

export class ClusterLoad {
  readonly acknowledged = new Set<number>()
  /** Answers that asked to come again, and requests without an answer in time. */
  refused = 0
  /** The newest session token that an acknowledgement carried. */
  session = ''
  /** The longest time without any acknowledgement, in milliseconds. */
  longestGapMs = 0
  #next = 0
  #isEnding = false
  #lastAck = systemMonotonic.monotonic()
  #clients: Promise<void>[] = []
  #failure: unknown = null

  /** `nodes` are asked in turns, whether they run or not, as a list of endpoints is. */
  constructor(
    readonly service: string,
    private readonly nodes: readonly ClusterNode[],
  ) {}

  start(): void {
    this.#isEnding = false
    this.#lastAck = systemMonotonic.monotonic()
    // What a client met is told by whoever waits for it.
    this.#clients = Array.from({ length: CLIENTS }, (_, index) =>
      this.#client(index).catch((thrown) => {
        this.#failure ??= thrown
      }),
    )
  }

  /** Resolves when so many more requests are acknowledged. */
  async more(count: number, timeoutMs = 60_000): Promise<void> {
    const enough = this.acknowledged.size + count
    const until = systemMonotonic.monotonic() + timeoutMs
    while (this.acknowledged.size < enough) {
      if (this.#failure !== null) throw this.#failure
      if (systemMonotonic.monotonic() > until) {
        throw new Error(`${this.acknowledged.size} of ${enough} requests were acknowledged`)
      }
      await systemClock.sleep(20)
    }
  }

  /** Takes nothing new, and resolves when every request that was sent is acknowledged. */
  async end(): Promise<void> {
    this.#isEnding = true
    await Promise.all(this.#clients)
    if (this.#failure !== null) throw this.#failure
  }

  get spans(): number {
    return this.acknowledged.size * SPANS
  }

  async #client(index: number): Promise<void> {
    let at = index
    while (!this.#isEnding) {
      const number = this.#next++
      const body = JSON.stringify(request(this.service, number))
      while (!(await this.#send(this.nodes[at % this.nodes.length] as ClusterNode, number, body))) {
        at++
        await systemClock.sleep(PAUSE_MS)
      }
      at++
    }
  }

  async #send(node: ClusterNode, number: number, body: string): Promise<boolean> {
    try {
      const response = await fetch(`http://${node.addresses.otlpHttp}/v1/traces`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
        signal: AbortSignal.timeout(PATIENCE_MS),
      })
      const text = await response.text()
      if (response.status >= 400 && ![429, 502, 503, 504].includes(response.status)) {
        throw new Error(`${node.name} refused for good: ${response.status} ${text}`)
      }
      if (!response.ok) {
        this.refused++
        return false
      }
      if (text.includes('partialSuccess') && !text.includes('"partialSuccess":{}')) {
        throw new Error(`${node.name} refused a part: ${text}`)
      }
      const now = systemMonotonic.monotonic()
      this.longestGapMs = Math.max(this.longestGapMs, now - this.#lastAck)
      this.#lastAck = now
      this.session = response.headers.get('otlake-session') ?? this.session
      this.acknowledged.add(number)
      return true
    } catch (error) {
      if (error instanceof Error && error.message.includes('refused')) {
        if (error.message.includes('for good') || error.message.includes('a part')) throw error
      }
      this.refused++
      return false
    }
  }
}

/** A request whose spans' ids follow from its number. */
export function request(service: string, number: number): object {
  return {
    resourceSpans: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: service } }] },
        scopeSpans: [
          {
            spans: Array.from({ length: SPANS }, (_, index) => {
              const id = createHash('sha256').update(`${service} ${number} ${index}`).digest('hex')
              const start = EPOCH + BigInt(number * SPANS + index)
              return {
                traceId: id.slice(0, 32),
                spanId: id.slice(32, 48),
                name: `request ${number}`,
                kind: 2,
                startTimeUnixNano: String(start),
                endTimeUnixNano: String(start + 1000n),
              }
            }),
          },
        ],
      },
    ],
  }
}

export interface Counted {
  rows: number
  spans: number
}

/** What a node counts of a service; asks again as long as it says that something is missing. */
export async function count(
  node: ClusterNode,
  service: string,
  headers: Record<string, string> = {},
  timeoutMs = 60_000,
): Promise<Counted> {
  const until = systemMonotonic.monotonic() + timeoutMs
  for (;;) {
    const response = await fetch(node.process.url('/api/v1/sql'), {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({
        query: `SELECT count(*) AS rows, count(DISTINCT span_id) AS spans FROM spans
                WHERE service_name = '${service}'`,
      }),
    })
    const text = await response.text()
    if (response.ok) {
      const [row] = (JSON.parse(text) as { rows: [{ rows: number; spans: number }] }).rows
      return { rows: Number(row.rows), spans: Number(row.spans) }
    }
    if (response.status !== 503 || systemMonotonic.monotonic() > until) {
      throw new Error(`${node.name}: ${response.status} ${text}`)
    }
    await systemClock.sleep(100)
  }
}
