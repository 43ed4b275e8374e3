/**
 * Who recovers which stream. Every node decides the same from the same members; where they differ for
 * a while two begin, and fencing lets one of them end (I9).
 *
 * - A stream whose owner has started anew, and writes another: the owner, for `OWNER_PATIENCE_MS`.
 * - A stream that somebody fenced already: that node, for `FENCER_PATIENCE_MS`.
 * - A stream whose owner is dead, has left or is unknown: one of the nodes that are there, those that
 *   hold copies first; each for `TURN_MS`, so that one that cannot does not keep it from the others.
 * - A stream whose owner is there and has not said what it writes: nobody, for as long as a dead node
 *   keeps its place: it is starting.
 *
 * What failed, or ended incomplete, is tried again with a delay that doubles; and at once when somebody
 * has come or gone: what it lacked may be there.
 */

import type { StreamRecord } from '../../native/cluster.js'
import { byRank } from './followers.js'
import { type Cast, isPresent, type Watched } from './situation.js'

export const OWNER_PATIENCE_MS = 60_000
export const FENCER_PATIENCE_MS = 300_000
export const TURN_MS = 30_000
/** The delay before a second try, and the longest one. */
export const FIRST_DELAY_MS = 500
export const LAST_DELAY_MS = 30_000
/** Recoveries of this node at once. */
export const MAX_RECOVERIES = 4
/** Streams that are looked at; the group has one for each start of each node, until it is in files. */
export const MAX_STREAMS = 16_384

interface Attempt {
  tries: number
  isRunning: boolean
  /** Not before then. */
  next: number
}

export class Recoveries {
  readonly #attempts = new Map<string, Attempt>()
  /** Since when a stream has been in need of its present reason. */
  readonly #since = new Map<string, { reason: string; at: number }>()

  /** Who was there, and wrote what, when it was decided last. */
  #present = ''

  constructor(private readonly replaceAfterMs: number) {}

  /** The streams that this node is to recover now, each counted as begun. */
  decide(cast: Cast, streams: readonly StreamRecord[]): string[] {
    const open = streams.slice(0, MAX_STREAMS).filter(({ state }) => state !== 'sealed')
    this.#forget(open)
    this.#look(cast)
    const due: string[] = []
    let running = [...this.#attempts.values()].filter(({ isRunning }) => isRunning).length
    for (const stream of open) {
      if (this.recoverer(cast, stream) !== cast.self) continue
      const attempt = this.#attempts.get(stream.stream)
      const isDue = attempt === undefined || (!attempt.isRunning && cast.now >= attempt.next)
      if (!isDue || running >= MAX_RECOVERIES) continue
      running++
      this.#attempts.set(stream.stream, { tries: attempt?.tries ?? 0, isRunning: true, next: 0 })
      due.push(stream.stream)
    }
    return due
  }

  /** Who recovers a stream now; null: nobody has to. */
  recoverer(cast: Cast, record: StreamRecord): string | null {
    const { stream, owner, by } = record
    const able = cast.holders.filter((member) => member.stream !== '')
    const isAble = (name: string) => able.some((member) => member.name === name)
    if (record.state === 'fenced' && isAble(by)) {
      const waited = this.#waited(cast, stream, `fenced by ${by}`)
      if (waited < FENCER_PATIENCE_MS) return by
      return this.#turn(record, able, waited - FENCER_PATIENCE_MS)
    }
    const member = cast.byName.get(owner)
    if (member === undefined || !isPresent(member)) {
      return this.#turn(record, able, this.#waited(cast, stream, 'gone'))
    }
    if (member.stream === stream) {
      this.#since.delete(stream)
      return null
    }
    if (member.stream === '') {
      const waited = this.#waited(cast, stream, 'silent')
      if (waited < this.replaceAfterMs) return null
      return this.#turn(record, able, waited - this.replaceAfterMs)
    }
    const waited = this.#waited(cast, stream, 'restarted')
    if (waited < OWNER_PATIENCE_MS) return owner
    return this.#turn(record, able, waited - OWNER_PATIENCE_MS)
  }

  /** A recovery has ended; `isDone`: completely. */
  ended(now: number, stream: string, isDone: boolean): void {
    const tries = (this.#attempts.get(stream)?.tries ?? 0) + 1
    const delay = isDone
      ? LAST_DELAY_MS
      : Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(tries - 1, 16))
    this.#attempts.set(stream, { tries, isRunning: false, next: now + delay })
  }

  #turn(record: StreamRecord, able: readonly Watched[], waited: number): string | null {
    const inOrder = byRank(able, `recover ${record.stream}`)
    const hold = ({ name }: Watched) => record.followers.includes(name)
    const candidates = [...inOrder.filter(hold), ...inOrder.filter((member) => !hold(member))]
    if (candidates.length === 0) return null
    return candidates[Math.floor(waited / TURN_MS) % candidates.length]?.name ?? null
  }

  #waited(cast: Cast, stream: string, reason: string): number {
    const known = this.#since.get(stream)
    if (known?.reason === reason) return cast.now - known.at
    this.#since.set(stream, { reason, at: cast.now })
    return 0
  }

  #look({ now, holders }: Cast): void {
    const present = holders.map(({ name, stream }) => `${name} ${stream}`).sort()
    const named = present.join('\n')
    if (named === this.#present) return
    this.#present = named
    for (const attempt of this.#attempts.values()) {
      if (!attempt.isRunning) Object.assign(attempt, { tries: 0, next: now })
    }
  }

  #forget(open: readonly StreamRecord[]): void {
    const names = new Set(open.map(({ stream }) => stream))
    for (const stream of this.#since.keys()) if (!names.has(stream)) this.#since.delete(stream)
    for (const [stream, { isRunning }] of this.#attempts) {
      if (!names.has(stream) && !isRunning) this.#attempts.delete(stream)
    }
  }
}
