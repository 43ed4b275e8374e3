/**
 * News to be piggy-backed: each is sent a bounded number of times, what was sent least first, and
 * a newer one of the same subject takes the place of the older (SWIM, 4.1).
 */

import { MAX_QUEUED } from './settings.js'

interface Item<T> {
  readonly news: T
  readonly bytes: number
}

export class BroadcastQueue<T> {
  /** Tier `n` holds what was sent `n` times; the oldest of a tier comes first. */
  readonly #tiers: Map<string, Item<T>>[] = []
  #size = 0

  constructor(
    private readonly subject: (news: T) => string,
    private readonly bytes: (news: T) => number,
  ) {}

  get size(): number {
    return this.#size
  }

  /** How often it was sent so far; null when it waits no more. */
  sent(subject: string): number | null {
    const tier = this.#tiers.findIndex((items) => items.has(subject))
    return tier < 0 ? null : tier
  }

  add(news: T): void {
    const subject = this.subject(news)
    this.remove(subject)
    if (this.#size >= MAX_QUEUED) this.#dropMostSent()
    this.#put(0, subject, { news, bytes: this.bytes(news) })
  }

  remove(subject: string): void {
    for (const tier of this.#tiers) {
      if (!tier.delete(subject)) continue
      this.#size--
      return
    }
  }

  /** News of up to `budget` bytes; what has been sent `limit` times then is dropped. */
  take(budget: number, limit: number): T[] {
    const taken: { tier: number; subject: string; item: Item<T> }[] = []
    let room = budget
    for (const [tier, items] of this.#tiers.entries()) {
      for (const [subject, item] of items) {
        // All of about the same size: what does not fit now leads the next packet.
        if (item.bytes > room) break
        room -= item.bytes
        taken.push({ tier, subject, item })
      }
    }
    for (const { tier, subject, item } of taken) {
      this.#tiers[tier]?.delete(subject)
      this.#size--
      if (tier + 1 < limit) this.#put(tier + 1, subject, item)
    }
    return taken.map(({ item }) => item.news)
  }

  #put(tier: number, subject: string, item: Item<T>): void {
    while (this.#tiers.length <= tier) this.#tiers.push(new Map())
    this.#tiers[tier]?.set(subject, item)
    this.#size++
  }

  #dropMostSent(): void {
    const fullest = this.#tiers.findLast((tier) => tier.size > 0)
    const [subject] = fullest?.keys() ?? []
    if (subject === undefined) return
    fullest?.delete(subject)
    this.#size--
  }
}
