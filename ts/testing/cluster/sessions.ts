/**
 * Clients with sessions: each writes and reads at one node after the other, sends the token that it
 * was given last, now and then goes on with another's, and writes down what happened for the checker.
 */

import { createHash } from 'node:crypto'
import { systemClock, systemMonotonic } from '../../base/clock.js'
import { pick } from '../../base/random.js'
import { SeededRandom } from '../seeded-random.js'
import type { ClusterNode } from './nodes.js'
import {
  checkSessions,
  type SessionEvent,
  type SessionViolation,
  type Written,
} from './session-checker.js'

/** Spans of an item: all of one trace, so that one node owns it and it has one position. */
const SPANS = 3
/** How long a client waits for an answer. */
const PATIENCE_MS = 3000
/** How long it waits after a refusal, and between what it does. */
const PAUSE_MS = 60
/** How long it goes on trying one thing: longer than a start of a node on a busy machine takes. */
const LIVENESS_MS = 180_000
/** Of a hundred steps so many are writes, session reads and strong reads; the rest take a token over. */
const WRITES = 0.5
const SESSION_READS = 0.35
const STRONG_READS = 0.1
const EPOCH = 1_700_000_000_000_000_000n

interface Session {
  readonly name: string
  token: string
}

export class Sessions {
  readonly history: SessionEvent[] = []
  /** The longest that one thing took until a node did it, in milliseconds. */
  longestMs = 0
  readonly #random: SeededRandom
  readonly #sessions: Session[]
  #running: Promise<void>[] = []
  #isEnding = false
  #failure: unknown = null
  #next = 0

  /** `nodes` are asked by chance, whether they run or not. */
  constructor(
    private readonly service: string,
    private readonly nodes: readonly ClusterNode[],
    count: number,
    readonly seed: number,
  ) {
    this.#random = new SeededRandom(seed)
    this.#sessions = Array.from({ length: count }, (_, index) => ({
      name: `s${index + 1}`,
      token: '',
    }))
  }

  start(): void {
    this.#isEnding = false
    // What a session met is told at the end, by whoever waits for that.
    this.#running = this.#sessions.map((session) =>
      this.#run(session).catch((thrown) => {
        this.#failure ??= thrown
      }),
    )
  }

  /** Begins nothing new, and resolves when all that was begun is done. */
  async end(): Promise<void> {
    this.#isEnding = true
    await Promise.all(this.#running)
    if (this.#failure !== null) throw this.#failure
  }

  /** Every session reads at every node that runs: what was promised, at the end, too. */
  async readEverywhere(nodes: readonly ClusterNode[]): Promise<void> {
    for (const session of this.#sessions) {
      for (const node of nodes) await this.#read(session, 'session', [node])
    }
    for (const node of nodes) await this.#read(this.#sessions[0] as Session, 'strong', [node])
  }

  violations(): readonly SessionViolation[] {
    return checkSessions(this.history, SPANS)
  }

  /** How many of each there are in the history. */
  get counts(): { writes: number; reads: number; handovers: number } {
    const of = (kind: SessionEvent['kind']) =>
      this.history.filter((event) => event.kind === kind).length
    return { writes: of('write'), reads: of('read'), handovers: of('handover') }
  }

  async #run(session: Session): Promise<void> {
    const random = this.#random.fork()
    while (!this.#isEnding) {
      const began = systemMonotonic.monotonic()
      const what = random.next()
      const turns = this.#turns(random)
      if (what < WRITES) await this.#write(session, turns)
      else if (what < WRITES + SESSION_READS) await this.#read(session, 'session', turns)
      else if (what < WRITES + SESSION_READS + STRONG_READS) {
        await this.#read(session, 'strong', turns)
      } else this.#takeOver(session, random)
      this.longestMs = Math.max(this.longestMs, systemMonotonic.monotonic() - began)
      await systemClock.sleep(PAUSE_MS)
    }
  }

  /** The nodes, beginning with any. */
  #turns(random: SeededRandom): ClusterNode[] {
    const first = pick(random, this.nodes.length)
    return [...this.nodes.slice(first), ...this.nodes.slice(0, first)]
  }

  #takeOver(session: Session, random: SeededRandom): void {
    const from = this.#sessions[pick(random, this.#sessions.length)] as Session
    if (from === session || from.token === '') return
    // What it knew itself it goes on asking for.
    session.token = [session.token, from.token].filter(Boolean).join(',')
    const called = systemMonotonic.monotonic()
    this.history.push({ kind: 'handover', from: from.name, to: session.name, called })
  }

  async #write(session: Session, turns: readonly ClusterNode[]): Promise<void> {
    const item = this.#next++
    const called = systemMonotonic.monotonic()
    const at = this.history.length
    const event = { kind: 'write', session: session.name, item, called } as const
    this.history.push({ ...event, answered: Infinity, position: null })
    const body = JSON.stringify(request(this.service, item))
    for (let attempt = 0; ; attempt++) {
      const node = turns[attempt % turns.length] as ClusterNode
      const url = `http://${node.addresses.otlpHttp}/v1/traces`
      const answer = await ask(node, url, body, session.token)
      if (answer !== null) {
        const answered = systemMonotonic.monotonic()
        const position = attempt === 0 ? positionIn(answer.token, session.token) : null
        session.token = answer.token
        this.history[at] = { ...event, answered, position }
        return
      }
      await this.#pause(called, `write item ${item}`)
    }
  }

  async #read(
    session: Session,
    level: 'strong' | 'session',
    turns: readonly ClusterNode[],
  ): Promise<void> {
    const query = `SELECT name, count(*) AS rows, count(DISTINCT span_id) AS spans FROM spans
                   WHERE service_name = '${this.service}' GROUP BY name`
    const began = systemMonotonic.monotonic()
    for (let attempt = 0; ; attempt++) {
      const node = turns[attempt % turns.length] as ClusterNode
      const called = systemMonotonic.monotonic()
      const url = `http://${node.addresses.http}/api/v1/sql`
      const body = JSON.stringify({ query, consistency: level })
      const answer = await ask(node, url, body, session.token)
      if (answer !== null) {
        const answered = systemMonotonic.monotonic()
        const { rows } = JSON.parse(answer.text) as {
          rows: { name: string; rows: number; spans: number }[]
        }
        const saw = new Map(
          rows.map((row) => [
            Number(row.name.split(' ')[1]),
            { rows: Number(row.rows), spans: Number(row.spans) },
          ]),
        )
        session.token = answer.token
        const { name } = session
        const event = { kind: 'read', session: name, node: node.name, level } as const
        this.history.push({ ...event, called, answered, saw })
        return
      }
      await this.#pause(began, `read at ${level}`)
    }
  }

  /** Before the next attempt. Throws where no node has done it for too long. */
  async #pause(began: number, what: string): Promise<void> {
    if (systemMonotonic.monotonic() - began > LIVENESS_MS) {
      throw new Error(`no node would ${what}; the last said: ${refusal}`)
    }
    await systemClock.sleep(PAUSE_MS)
  }
}

/** What was last refused, for whoever waits in vain. */
let refusal = ''

/** Asks a node; null where it refuses for the time being, or does not answer. */
async function ask(
  node: ClusterNode,
  url: string,
  body: string,
  token: string,
): Promise<{ text: string; token: string } | null> {
  let response: Response
  let text: string
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'otlake-session': token },
      body,
      signal: AbortSignal.timeout(PATIENCE_MS),
    })
    text = await response.text()
  } catch (thrown) {
    refusal = `${node.name}: ${thrown}`
    return null
  }
  if (response.ok) return { text, token: response.headers.get('otlake-session') ?? '' }
  refusal = `${node.name}: ${response.status} ${text}`
  if (![429, 502, 503, 504].includes(response.status)) {
    throw new Error(`refused for good with the token ${token}: ${refusal}`)
  }
  return null
}

/** The one stream that an acknowledgement's token names beyond what was asked for. */
function positionIn(token: string, before: string): Written['position'] {
  const read = (text: string) => {
    const newest = new Map<string, number>()
    for (const [, stream = '', sequence] of text.matchAll(/([0-9a-f]{32}):(\d+)/g)) {
      newest.set(stream, Math.max(Number(sequence), newest.get(stream) ?? 0))
    }
    return newest
  }
  const known = read(before)
  const more = [...read(token)].filter(([stream, at]) => at > (known.get(stream) ?? 0))
  const [only] = more
  return more.length === 1 && only ? { stream: only[0], sequence: only[1] } : null
}

/** A request of one trace whose ids follow from its number. */
function request(service: string, item: number): object {
  const id = (what: string) =>
    createHash('sha256').update(`${service} ${item} ${what}`).digest('hex')
  const start = EPOCH + BigInt(item)
  const spans = Array.from({ length: SPANS }, (_, index) => ({
    traceId: id('trace').slice(0, 32),
    spanId: id(`span ${index}`).slice(0, 16),
    name: `item ${item}`,
    kind: 2,
    startTimeUnixNano: String(start),
    endTimeUnixNano: String(start + 1000n),
  }))
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: service } }] }
  return { resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }
}
