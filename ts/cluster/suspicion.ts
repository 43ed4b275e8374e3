/**
 * One member under suspicion: how long before it is declared dead. Each further piece of evidence
 * shortens it on a logarithmic curve from the longest to the shortest time (Lifeguard, "LHA
 * Suspicion"). Evidence is another accuser, or one's own probe that failed once more: where nobody
 * else is there to confirm, as in a cluster of two or three, probing again confirms, and suspicion
 * does not stay long for want of witnesses.
 */

export class Suspicion {
  readonly #accusers = new Set<string>()
  #own = 0

  constructor(
    /** When it began. */
    public since: number,
    private readonly bounds: { min: number; max: number },
    /** Evidence that makes it shortest, the first included. */
    private readonly threshold: number,
    /** Who accused it first. */
    readonly accuser: string,
  ) {
    this.#accusers.add(accuser)
  }

  get evidence(): number {
    return this.#accusers.size + this.#own
  }

  /** Whether this accuser is new, and its word is still wanted. */
  confirm(accuser: string): boolean {
    if (this.evidence >= this.threshold || this.#accusers.has(accuser)) return false
    this.#accusers.add(accuser)
    return true
  }

  /** A probe of this node's own failed, again. */
  failedAgain(): void {
    if (this.evidence < this.threshold) this.#own++
  }

  hasAccuser(name: string): boolean {
    return this.#accusers.has(name)
  }

  /** How long it lasts with the evidence there is, in milliseconds. */
  durationMs(): number {
    const { min, max } = this.bounds
    const wanted = this.threshold - 1
    if (wanted <= 0) return min
    const share = Math.log(this.evidence) / Math.log(wanted + 1)
    return Math.max(min, max - (max - min) * share)
  }
}
