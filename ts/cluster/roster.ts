/** Whom a node knows, and the order in which it probes them. */

import { pick, type Random, shuffle } from '../base/random.js'
import type { MemberRecord } from './messages.js'
import { MAX_MEMBERS } from './settings.js'

export interface Known {
  record: MemberRecord
  /** Since when it has its status, on the node's monotonic time. */
  since: number
}

export class Roster {
  readonly #known = new Map<string, Known>()
  /** Names in the order of probing, a random permutation (SWIM, 4.3). */
  #order: string[] = []
  #next = 0
  #present = 0

  constructor(private readonly random: Random) {}

  /** Members that are alive or suspect; not the node itself. */
  get present(): number {
    return this.#present
  }

  get size(): number {
    return this.#known.size
  }

  get(name: string): Known | undefined {
    return this.#known.get(name)
  }

  all(): IterableIterator<Known> {
    return this.#known.values()
  }

  /** Takes a record over; false when there is no room for another member (I5). */
  put(record: MemberRecord, since: number): boolean {
    const known = this.#known.get(record.name)
    if (known === undefined) {
      if (this.#known.size >= MAX_MEMBERS) return false
      this.#known.set(record.name, { record, since })
      this.#present += isPresent(record) ? 1 : 0
      // Anywhere in the order, so that newcomers are not all probed at its end.
      const place = pick(this.random, this.#order.length + 1)
      this.#order.splice(place, 0, record.name)
      if (place < this.#next) this.#next++
      return true
    }
    this.#present += (isPresent(record) ? 1 : 0) - (isPresent(known.record) ? 1 : 0)
    if (known.record.status !== record.status) known.since = since
    known.record = record
    return true
  }

  forget(name: string): void {
    const known = this.#known.get(name)
    if (known === undefined) return
    if (isPresent(known.record)) this.#present--
    this.#known.delete(name)
  }

  /** Whom to probe next; each present member once before any comes twice. */
  nextToProbe(): MemberRecord | null {
    for (let tries = this.#order.length + 1; tries > 0; tries--) {
      if (this.#next >= this.#order.length) {
        this.#order = shuffle(this.random, [...this.#known.keys()])
        this.#next = 0
      }
      const name = this.#order[this.#next++]
      const record = name === undefined ? undefined : this.#known.get(name)?.record
      if (record !== undefined && isPresent(record)) return record
    }
    return null
  }

  /** Up to `count` members that `want` takes, at random. */
  sample(count: number, want: (known: Known) => boolean): MemberRecord[] {
    const found = new Set<MemberRecord>()
    const names = this.#order.length
    // A few throws of the dice find them among many; among few, all are looked at.
    for (let tries = 4 * count; tries > 0 && found.size < count; tries--) {
      const known = this.#known.get(this.#order[pick(this.random, names)] ?? '')
      if (known !== undefined && want(known)) found.add(known.record)
    }
    if (found.size < count && names <= 8 * count) {
      const wanted = [...this.#known.values()].filter(want).map(({ record }) => record)
      return shuffle(this.random, wanted).slice(0, count)
    }
    return [...found]
  }
}

export function isPresent({ status }: MemberRecord): boolean {
  return status === 'alive' || status === 'suspect'
}
