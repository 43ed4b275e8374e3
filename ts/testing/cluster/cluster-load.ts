/** Clients of a cluster: each request goes to one node after the other until one acknowledges it. */

import { systemClock, systemMonotonic } from '../../base/clock.js'
import type { ClusterNode } from './nodes.js'
import { KINDS, RECORDS, request, SIGNALS, type Signal } from './signals.js'

const CLIENTS = 6
/** Of metrics and of logs, beside those of spans. */
const CLIENTS_BESIDE = 2
/** How long a client waits for an answer. */
const PATIENCE_MS = 3000
/** How long it waits after a refusal. */
const PAUSE_MS = 50
/** How long an answer is asked for that lacks something. */
const ANSWER_MS = 60_000

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
    readonly signal: Signal = 'traces',
  ) {}

  /** One of each signal under one service; spans first. */
  static ofEverySignal(
    service: string,
    nodes: readonly ClusterNode[],
  ): [ClusterLoad, ...ClusterLoad[]] {
    const loads = SIGNALS.map((signal) => new ClusterLoad(service, nodes, signal))
    return loads as [ClusterLoad, ...ClusterLoad[]]
  }

  start(): void {
    this.#isEnding = false
    this.#lastAck = systemMonotonic.monotonic()
    // What a client met is told by whoever waits for it.
    const clients = this.signal === 'traces' ? CLIENTS : CLIENTS_BESIDE
    this.#clients = Array.from({ length: clients }, (_, index) =>
      this.#client(index).catch((thrown) => {
        this.#failure ??= thrown
      }),
    )
  }

  /** Resolves when so many more requests are acknowledged. */
  async more(count: number, timeoutMs = 120_000): Promise<void> {
    const enough = this.acknowledged.size + count
    const until = systemMonotonic.monotonic() + timeoutMs
    while (this.acknowledged.size < enough) {
      if (this.#failure !== null) throw this.#failure
      if (systemMonotonic.monotonic() > until) {
        const told = `${this.acknowledged.size} of ${enough} requests of ${this.signal}`
        throw new Error(`${told} were acknowledged`)
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

  /** Records of the acknowledged requests. */
  get records(): number {
    return this.acknowledged.size * RECORDS
  }

  async #client(index: number): Promise<void> {
    let at = index
    while (!this.#isEnding) {
      const number = this.#next++
      const body = request(this.signal, this.service, number)
      while (!(await this.#send(this.nodes[at % this.nodes.length] as ClusterNode, number, body))) {
        at++
        await systemClock.sleep(PAUSE_MS)
      }
      at++
    }
  }

  async #send(node: ClusterNode, number: number, body: string): Promise<boolean> {
    try {
      const response = await fetch(`http://${node.addresses.otlpHttp}/v1/${this.signal}`, {
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

export interface Counted {
  rows: number
  /** Different ones among the rows. */
  records: number
}

/** What a node counts of a service, at `strong` unless a header says otherwise. */
export async function count(
  node: ClusterNode,
  service: string,
  headers: Record<string, string> = {},
  signal: Signal = 'traces',
): Promise<Counted> {
  const { table, identity } = KINDS[signal]
  const query = `SELECT count(*) AS rows, count(DISTINCT ${identity}) AS records FROM ${table}
                 WHERE service_name = '${service}'`
  const [row] = await ask<Counted>(node, query, headers)
  return { rows: Number(row?.rows), records: Number(row?.records) }
}

/**
 * The rows that a node answers with, at `strong` unless a header says otherwise; asks again as long as it
 * says that something is missing.
 */
export async function ask<Row>(
  node: ClusterNode,
  query: string,
  headers: Record<string, string> = {},
): Promise<Row[]> {
  const until = systemMonotonic.monotonic() + ANSWER_MS
  for (;;) {
    const response = await fetch(node.process.url('/api/v1/sql'), {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'otlake-consistency': 'strong',
        ...headers,
      },
      body: JSON.stringify({ query }),
    })
    const text = await response.text()
    if (response.ok) return (JSON.parse(text) as { rows: Row[] }).rows
    if (response.status !== 503 || systemMonotonic.monotonic() > until) {
      throw new Error(`${node.name}: ${response.status} ${text}`)
    }
    await systemClock.sleep(100)
  }
}
