/**
 * What sessions wrote and read, held against what they were promised (docs/consistency.md). An item is
 * one request with all its spans; a read names the items that it saw.
 *
 * - `read your writes`: a session sees what it was acknowledged.
 * - `monotonic reads`: it sees again what it has seen.
 * - `a token is enough`: a session that is given another's token sees what that one wrote and saw.
 * - `monotonic writes`: of one stream, whoever sees an item sees what was acknowledged before it.
 * - `strong`: a strong read sees all that was acknowledged to anybody before it was asked.
 * - `once`: no item is there twice, in part, or without having been sent.
 */

export interface Written {
  readonly kind: 'write'
  readonly session: string
  readonly item: number
  /** Times of one clock that never goes back. */
  readonly called: number
  /** Infinity: it was never acknowledged. */
  readonly answered: number
  /** Where the acknowledgement says that it is; null where it was sent more than once. */
  readonly position: { readonly stream: string; readonly sequence: number } | null
}

export interface Read {
  readonly kind: 'read'
  readonly session: string
  readonly node: string
  readonly level: 'strong' | 'session'
  readonly called: number
  readonly answered: number
  /** Rows by item. */
  readonly saw: ReadonlyMap<number, { readonly rows: number; readonly spans: number }>
}

/** `to` goes on with the token of `from`. */
export interface Handover {
  readonly kind: 'handover'
  readonly from: string
  readonly to: string
  readonly called: number
}

export type SessionEvent = Written | Read | Handover

export interface SessionViolation {
  readonly promise: string
  readonly message: string
}

/** Of one promise so many breaches are told. */
const MAX_TOLD = 5

/** What was promised and not kept; `spans` is how many each item has. */
export function checkSessions(
  history: readonly SessionEvent[],
  spans: number,
): readonly SessionViolation[] {
  return new Checker(history, spans).run()
}

class Checker {
  readonly #found: SessionViolation[] = []
  readonly #told = new Map<string, number>()
  readonly #writes: readonly Written[]
  /** By session: what its next read must see, and why. */
  readonly #must = new Map<string, Map<number, string>>()

  constructor(
    private readonly history: readonly SessionEvent[],
    private readonly spans: number,
  ) {
    this.#writes = history.filter((event): event is Written => event.kind === 'write')
  }

  run(): readonly SessionViolation[] {
    // A session does one thing after the other: its order is that of the answers. What a read must
    // see was there before it was called, so a handover counts from then on.
    const moment = (event: SessionEvent) =>
      event.kind === 'handover' ? event.called : event.answered
    const events = this.history
      .filter((event) => moment(event) !== Infinity)
      .sort((a, b) => moment(a) - moment(b))
    for (const event of events) {
      if (event.kind === 'write') this.#owe(event.session, event.item, 'read your writes')
      else if (event.kind === 'handover') this.#handOver(event)
      else this.#read(event)
    }
    return this.#found
  }

  #owe(session: string, item: number, promise: string): void {
    const must = this.#must.get(session) ?? new Map<number, string>()
    this.#must.set(session, must)
    if (!must.has(item)) must.set(item, promise)
  }

  #handOver({ from, to }: Handover): void {
    for (const item of this.#must.get(from)?.keys() ?? []) this.#owe(to, item, 'a token is enough')
  }

  #read(read: Read): void {
    const { session, node, level, saw, called } = read
    const by = `${session} at ${node} (${level}, ${called.toFixed(0)} ms)`
    for (const [item, promise] of this.#must.get(session) ?? []) {
      if (!saw.has(item)) this.#breach(promise, `${by} does not see item ${item}`)
    }
    if (level === 'strong') {
      for (const { item, answered } of this.#writes) {
        if (answered < called && !saw.has(item)) {
          this.#breach('strong', `${by} does not see item ${item}, acknowledged before`)
        }
      }
    }
    this.#once(read, by)
    this.#inOrder(read, by)
    for (const item of saw.keys()) this.#owe(session, item, 'monotonic reads')
  }

  #once({ saw, answered }: Read, by: string): void {
    const sent = new Map(this.#writes.map(({ item, called }) => [item, called]))
    for (const [item, { rows, spans }] of saw) {
      if ((sent.get(item) ?? Infinity) > answered) {
        this.#breach('once', `${by} sees item ${item}, which nobody had sent`)
      }
      if (rows !== this.spans || spans !== this.spans) {
        const counted = `${rows} rows of ${spans} spans of item ${item}, which has ${this.spans}`
        this.#breach('once', `${by} sees ${counted}`)
      }
    }
  }

  #inOrder({ saw }: Read, by: string): void {
    const newest = new Map<string, number>()
    for (const { item, position } of this.#writes) {
      if (position === null || !saw.has(item)) continue
      newest.set(
        position.stream,
        Math.max(position.sequence, newest.get(position.stream) ?? position.sequence),
      )
    }
    for (const { item, position, answered } of this.#writes) {
      if (position === null || answered === Infinity || saw.has(item)) continue
      if (position.sequence < (newest.get(position.stream) ?? 0)) {
        const where = `${position.sequence} of ${position.stream}`
        this.#breach('monotonic writes', `${by} sees what came after item ${item} (${where})`)
      }
    }
  }

  #breach(promise: string, message: string): void {
    const told = this.#told.get(promise) ?? 0
    this.#told.set(promise, told + 1)
    if (told < MAX_TOLD) this.#found.push({ promise, message })
  }
}
