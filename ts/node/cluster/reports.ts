/** What a node tells the others of its load, its disk, its services and damages it has found. */

import { statfs } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import type { Monotonic } from '../../base/clock.js'
import type { LocalState, ServiceStatus } from '../../cluster/local-state.js'
import type { CheckState } from '../health.js'

/** Shares are told in steps of this: each change goes to everyone. */
const SHARE_STEP = 0.05
/** The counter of damages in what the engine measures. */
const CORRUPTIONS = /^otlake_corruption_detected_total(?:\{[^}]*\})? (\d+)/gm

const inSteps = (share: number) =>
  Math.min(1, Math.max(0, Math.round(share / SHARE_STEP) * SHARE_STEP))

export interface Sources {
  /** Microseconds of the processors that this process has used. */
  cpu(): number
  /** Share of the data folder's file system in use, 0 to 1. */
  disk(): Promise<number>
  checks(): readonly CheckState[]
  /** The engine's metrics as text. */
  metrics(): string
}

/** The machine's own, for a data folder. */
export function systemSources(
  dataDir: string,
  checks: () => readonly CheckState[],
  metrics: () => string,
): Sources {
  return {
    cpu: () => {
      const { user, system } = process.cpuUsage()
      return user + system
    },
    disk: async () => {
      const { blocks, bavail } = await statfs(dataDir)
      return blocks === 0 ? 0 : (blocks - bavail) / blocks
    },
    checks,
    metrics,
  }
}

export class Reporter {
  #cpu: number
  #at: number

  constructor(
    private readonly sources: Sources,
    private readonly clock: Monotonic,
    private readonly processors: number = availableParallelism(),
  ) {
    this.#cpu = sources.cpu()
    this.#at = clock.monotonic()
  }

  /** What to tell now; the load is that since the last call. */
  async report(): Promise<Partial<LocalState>> {
    const cpu = this.sources.cpu()
    const at = this.clock.monotonic()
    const elapsedUs = Math.max(1, (at - this.#at) * 1000)
    const load = (cpu - this.#cpu) / elapsedUs / this.processors
    this.#cpu = cpu
    this.#at = at
    const services: Record<string, ServiceStatus> = {}
    for (const { name, healthy } of this.sources.checks()) {
      // The cluster's own check would make each fault of one node one of all.
      if (name !== 'cluster') services[name.replaceAll(' ', '.')] = healthy ? 'ok' : 'failing'
    }
    return {
      load: inSteps(load),
      disk: inSteps(await this.sources.disk()),
      services,
      corruptions: corruptions(this.sources.metrics()),
    }
  }
}

function corruptions(metrics: string): number {
  return [...metrics.matchAll(CORRUPTIONS)].reduce((sum, [, found]) => sum + Number(found), 0)
}
