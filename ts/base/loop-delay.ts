/**
 * The port to the event loop's delay: how much later than asked a timer fires. A node that is
 * busy by itself is a poor judge of whether others are slow.
 */

import { monitorEventLoopDelay } from 'node:perf_hooks'

export interface LoopDelay {
  /** The longest delay since the last call, in milliseconds. */
  takeMaxMs(): number
  close(): void
}

/** How often the loop is sampled; a shorter delay is not seen. */
const RESOLUTION_MS = 20

/** Node.js's own histogram of the delay. */
export function systemLoopDelay(): LoopDelay {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  histogram.enable()
  return {
    takeMaxMs() {
      // The histogram counts from the sample before, its own period included.
      const max = Math.max(0, histogram.max / 1e6 - RESOLUTION_MS)
      histogram.reset()
      return max
    },
    close: () => histogram.disable(),
  }
}

/** Where nobody measures. */
export const noLoopDelay: LoopDelay = { takeMaxMs: () => 0, close: () => undefined }
