/**
 * Counters that the whole cluster shares, for rate limits: PN counters (Shapiro et al., 2011). Each
 * start of each member has two numbers that only grow, what it added and what it took; of two
 * copies the larger stands, and the value is the difference of the sums. A counter has an end, such
 * as that of its window, after which every node drops it.
 */

import type { CounterEntry } from './messages.js'
import { MAX_COUNTER_ENTRIES, MAX_COUNTERS } from './settings.js'

interface Counter {
  expires: number
  /** By member and generation. */
  readonly entries: Map<string, CounterEntry>
}

const writerOf = ({ member, generation }: CounterEntry) => `${generation} ${member}`

export class Counters {
  readonly #counters = new Map<string, Counter>()
  #entries = 0

  /** Sum over the cluster, as far as it is known here. */
  value(name: string): number {
    let sum = 0
    for (const { added, taken } of this.#counters.get(name)?.entries.values() ?? []) {
      sum += added - taken
    }
    return sum
  }

  /**
   * Adds `amount` (takes it where it is negative) in a member's own name. Returns the entry to
   * spread, or null when there is no room for another counter (I5).
   */
  add(own: Omit<CounterEntry, 'added' | 'taken'>, amount: number): CounterEntry | null {
    const known = this.#counters
      .get(own.counter)
      ?.entries.get(writerOf({ ...own, added: 0, taken: 0 }))
    const entry: CounterEntry = {
      ...own,
      added: (known?.added ?? 0) + Math.max(0, amount),
      taken: (known?.taken ?? 0) + Math.max(0, -amount),
    }
    return this.apply(entry) ? entry : null
  }

  /** Takes over what somebody counted; whether it brought anything. */
  apply(entry: CounterEntry): boolean {
    const counter = this.#counters.get(entry.counter) ?? { expires: 0, entries: new Map() }
    if (counter.entries.size === 0 && this.#counters.size >= MAX_COUNTERS) return false
    const writer = writerOf(entry)
    const known = counter.entries.get(writer)
    if (known === undefined && this.#entries >= MAX_COUNTER_ENTRIES) return false
    const joined: CounterEntry = {
      ...entry,
      added: Math.max(entry.added, known?.added ?? 0),
      taken: Math.max(entry.taken, known?.taken ?? 0),
      expires: Math.max(entry.expires, known?.expires ?? 0),
    }
    const isNews =
      known === undefined ||
      joined.added > known.added ||
      joined.taken > known.taken ||
      joined.expires > known.expires
    if (!isNews) return false
    if (known === undefined) this.#entries++
    counter.entries.set(writer, joined)
    counter.expires = Math.max(counter.expires, joined.expires)
    this.#counters.set(entry.counter, counter)
    return true
  }

  /** Everything, to be compared with another node. */
  all(): CounterEntry[] {
    return [...this.#counters.values()].flatMap(({ entries }) => [...entries.values()])
  }

  /** Drops what has ended by `now`, in milliseconds since 1970. */
  expire(now: number): void {
    for (const [name, { expires, entries }] of this.#counters) {
      if (expires > now) continue
      this.#entries -= entries.size
      this.#counters.delete(name)
    }
  }
}
