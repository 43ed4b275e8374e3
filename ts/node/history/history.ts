/**
 * The node's last hour: a ring of samples of some figures, from which the page's plots begin. What is older,
 * and of every node, is for whoever scrapes `/metrics`.
 */

import type { Clock } from '../../base/clock.js'
import type { Part } from '../lifecycle.js'
import { FIGURES, type Figure, NAMES, type Reading, readingOf } from './figures.js'

/** How often a sample is taken. */
export const SAMPLE_INTERVAL_MS = 5000
/** Samples that are kept (I5): those of one hour. */
export const MAX_SAMPLES = 720
/** Digits of a figure that are told. */
const DIGITS = 6

/** What is asked of a node's past. Figures stand beside their times, `null` where there is none. */
export interface Past {
  everyMs: number
  /** In milliseconds since 1970, the oldest first. */
  at: number[]
  figures: Record<Figure, (number | null)[]>
}

interface Sample {
  at: number
  values: (number | null)[]
}

export class History implements Part {
  readonly name = 'history'
  readonly needs = ['storage']
  readonly #samples: Sample[] = []
  #last: Reading | undefined
  #stop: (() => void) | undefined

  /** `metrics` gives OpenMetrics text, `residentBytes` the memory of the process. */
  constructor(
    private readonly clock: Clock,
    private readonly metrics: () => string,
    private readonly residentBytes: () => number = () => process.memoryUsage.rss(),
  ) {}

  async start(): Promise<void> {
    this.sample()
    this.#stop = this.clock.every(SAMPLE_INTERVAL_MS, () => this.sample())
  }

  async stop(): Promise<void> {
    this.#stop?.()
  }

  /** Takes a sample; the first one is only what the next is compared with. */
  sample(): void {
    const reading = readingOf(this.metrics(), this.clock.now(), this.residentBytes())
    const before = this.#last
    this.#last = reading
    // A clock that was set back would tell of a time twice.
    if (before === undefined || reading.at <= before.at) return
    const values = NAMES.map((name) => rounded(FIGURES[name](before, reading)))
    this.#samples.push({ at: reading.at, values })
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift()
  }

  /** The samples behind a moment, in milliseconds since 1970. */
  after(moment: number): Past {
    const samples = this.#samples.filter(({ at }) => at > moment)
    const columns = NAMES.map((name, index): [Figure, (number | null)[]] => [
      name,
      samples.map(({ values }) => values[index] ?? null),
    ])
    return {
      everyMs: SAMPLE_INTERVAL_MS,
      at: samples.map(({ at }) => at),
      figures: Object.fromEntries(columns) as Past['figures'],
    }
  }
}

const rounded = (value: number | null): number | null =>
  value === null ? null : Number(value.toPrecision(DIGITS))
