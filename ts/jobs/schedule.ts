/** When work is due: a cron pattern, held against the clock each second. */

import { Cron } from 'croner'
import type { Clock } from '../base/clock.js'

/** How often the clock is looked at: the finest that a pattern with seconds can say. */
const LOOK_MS = 1000

/** Whether croner understands it. */
export function isPattern(text: string): boolean {
  try {
    return new Cron(text, { paused: true, timezone: 'UTC' }).nextRun() !== null
  } catch {
    return false
  }
}

/** A pattern such as `30 0 * * * *` (second, minute, hour, day, month, weekday), in UTC. */
export class Schedule {
  readonly #cron: Cron
  #due: number | null

  constructor(
    readonly pattern: string,
    private readonly clock: Clock,
  ) {
    this.#cron = new Cron(pattern, { paused: true, timezone: 'UTC' })
    this.#due = this.#after(clock.now())
  }

  /** When the work is due next, in milliseconds since 1970; null where never again. */
  get due(): number | null {
    return this.#due
  }

  /**
   * Does `work` whenever it is due, never twice at once: what comes due meanwhile is done once,
   * right after. The returned function ends it and resolves when nothing is at work.
   */
  start(work: () => Promise<void>): () => Promise<void> {
    let running: Promise<void> | undefined
    const cancel = this.clock.every(LOOK_MS, () => {
      const now = this.clock.now()
      if (running || this.#due === null || now < this.#due) return
      this.#due = this.#after(now)
      running = work().finally(() => {
        running = undefined
      })
    })
    return async () => {
      cancel()
      await running
    }
  }

  #after(time: number): number | null {
    return this.#cron.nextRun(new Date(time))?.getTime() ?? null
  }
}
