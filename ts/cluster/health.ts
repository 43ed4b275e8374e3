/**
 * Local health: how far a node doubts itself before it doubts others (Lifeguard, Dadgar et al.,
 * 2018, "local health multiplier"). 0 is well. Each point makes probes and suspicions take as much
 * longer again. It falls with every probe that is answered and rises when helpers stay silent too,
 * when others suspect this node, and when its own event loop is late.
 */

import { LOOP_DELAY_MS, MAX_LOCAL_HEALTH } from './settings.js'

export class LocalHealth {
  #score = 0

  constructor(private readonly heartbeatMs: number) {}

  get score(): number {
    return this.#score
  }

  /** What time-outs are multiplied by. */
  get multiplier(): number {
    return this.#score + 1
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

  /** The longest delay of the event loop within a heartbeat, or how long the process stood still. */
  loopDelayed(delayMs: number): void {
    if (delayMs < LOOP_DELAY_MS) return
    this.#add(Math.ceil(delayMs / this.heartbeatMs))
  }

  #add(points: number): void {
    this.#score = Math.min(MAX_LOCAL_HEALTH, Math.max(0, this.#score + points))
  }
}
