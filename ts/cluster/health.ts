/**
 * Local health: how far a node doubts itself before it doubts others (Lifeguard, Dadgar et al.,
 * 2018, "local health multiplier"). 0 is well. Each point makes probes and suspicions take as much
 * longer again. A part of it falls with every probe that is answered and rises when helpers stay
 * silent too and when others suspect this node. The rest says how late the node's own event loop
 * was in the last heartbeat; it has a bound of its own, because a node that is busy for long must
 * still find out who is dead.
 */

import { LOOP_DELAY_MS, MAX_LOCAL_HEALTH, MAX_LOOP_HEALTH } from './settings.js'

export class LocalHealth {
  #probes = 0
  #loop = 0
  #worstDelayMs = 0

  get score(): number {
    return Math.min(MAX_LOCAL_HEALTH, this.#probes + this.#loop)
  }

  /** What time-outs are multiplied by. */
  get multiplier(): number {
    return this.score + 1
  }

  probeAnswered(): void {
    this.#add(-1)
  }

  /** A probe failed, and so many helpers said nothing at all. */
  helpersSilent(helpers: number): void {
    this.#add(helpers)
  }

  /** Others suspected this node while it was there. */
  refuted(): void {
    this.#add(1)
  }

  /** How late the event loop was, or for how long the process stood still. Counts at once. */
  loopDelayed(delayMs: number): void {
    this.#worstDelayMs = Math.max(this.#worstDelayMs, delayMs)
    this.#loop = Math.max(this.#loop, points(delayMs))
  }

  /** A heartbeat is over: what was late before it is forgotten. */
  heartbeat(): void {
    this.#loop = points(this.#worstDelayMs)
    this.#worstDelayMs = 0
  }

  #add(change: number): void {
    this.#probes = Math.min(MAX_LOCAL_HEALTH, Math.max(0, this.#probes + change))
  }
}

function points(delayMs: number): number {
  return Math.min(MAX_LOOP_HEALTH, Math.floor(delayMs / LOOP_DELAY_MS))
}
