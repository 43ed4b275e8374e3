/**
 * The clock port. The rest of the code takes a `Clock`, so that a test can give its own.
 */

export interface Clock {
  /** Milliseconds since 1970 UTC. */
  now(): number
  /** Calls `work` every `intervalMs` milliseconds until the returned function is called. */
  every(intervalMs: number, work: () => void): () => void
  /** Resolves after `ms` milliseconds. */
  sleep(ms: number): Promise<void>
}

/** Time that never goes back, for time-outs; it has no date. */
export interface Monotonic {
  /** Milliseconds since some moment. */
  monotonic(): number
}

/** The machine's monotonic time. */
export const systemMonotonic: Monotonic = { monotonic: () => performance.now() }

/** The machine's clock. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  every(intervalMs, work) {
    const timer = setInterval(work, intervalMs)
    timer.unref()
    return () => clearInterval(timer)
  },
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref()),
}
