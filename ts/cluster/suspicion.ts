/**
 * One member under suspicion: how long before it is declared dead. Each further piece of evidence
 * shortens it on a logarithmic curve from the longest to the shortest time (Lifeguard, "LHA
 * Suspicion"). Evidence is another accuser, or one's own probe that failed once more: where nobody
 * else is there to confirm, as in a cluster of two or three, probing again confirms, and suspicion
 * does not stay long for want of witnesses.
 *
 * A refused connection is more than silence: the machine is there and says that nobody listens. Such
 * a suspicion leaves the accused the time to refute, in case something on the way refuses, and no more.
 */

import {
  type ClusterSettings,
  REFUSED_CONFIRMED_HEARTBEATS,
  REFUSED_HEARTBEATS,
  suspicionBounds,
} from './settings.js'

export class Suspicion {
  readonly #accusers = new Set<string>()
  readonly #bounds: { min: number; max: number }
  #own = 0
  #since: number
  #refusedSince: number | null = null
  #isWitnessed = false

  constructor(
    now: number,
    private readonly settings: ClusterSettings,
    members: number,
    /** Who accused it first. */
    readonly accuser: string,
  ) {
    this.#since = now
    this.#bounds = suspicionBounds(settings, members)
    this.#accusers.add(accuser)
  }

  get evidence(): number {
    return this.#accusers.size + this.#own
  }

  /**
   * Whether this accuser is new, and its word is still wanted. `isWitness`: it says so itself; who
   * only passes on what it was told does not make two out of one.
   */
  confirm(accuser: string, isWitness = true): boolean {
    if (isWitness && accuser !== this.accuser) this.#isWitnessed = true
    if (this.evidence >= this.settings.threshold || this.#accusers.has(accuser)) return false
    this.#accusers.add(accuser)
    return true
  }

  /** A probe of this node's own failed, again. */
  failedAgain(): void {
    if (this.evidence < this.settings.threshold) this.#own++
  }

  /** Its machine refused a connection of this node's. */
  refused(now: number): void {
    this.#refusedSince ??= now
  }

  hasAccuser(name: string): boolean {
    return this.#accusers.has(name)
  }

  /** How long silence lasts with the evidence there is, in milliseconds. */
  durationMs(): number {
    const { min, max } = this.#bounds
    const wanted = this.settings.threshold - 1
    if (wanted <= 0) return min
    const share = Math.log(this.evidence) / Math.log(wanted + 1)
    return Math.max(min, max - (max - min) * share)
  }

  /** Whether the member is to be declared dead; `doubt` is how far this node doubts what it heard. */
  isOver(now: number, doubt: number): boolean {
    if (now - this.#since >= this.durationMs() * doubt) return true
    if (this.#refusedSince === null) return false
    const heartbeats = this.#isWitnessed ? REFUSED_CONFIRMED_HEARTBEATS : REFUSED_HEARTBEATS
    return now - this.#refusedSince >= heartbeats * this.settings.heartbeatMs
  }

  /** Time that the process did not live through is no one's silence. */
  postpone(gapMs: number): void {
    this.#since += gapMs
    if (this.#refusedSince !== null) this.#refusedSince += gapMs
  }
}
