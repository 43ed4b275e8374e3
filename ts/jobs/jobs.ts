/**
 * The regular jobs of a node (docs/jobs.md): when they run, and how they went. The work itself is
 * the native module's.
 *
 * - `schedule.ts`: when work is due, by a cron pattern and the clock port.
 */

import type { Clock } from '../base/clock.js'
import { OtlakeError } from '../base/errors.js'
import type { Engine, JobReport, TableWork } from '../native/binding.js'
import type { Part } from '../node/lifecycle.js'
import { Schedule } from './schedule.js'

/** In the order of a round: what has expired is not merged first, and what was merged is vacuumed. */
export const JOBS = ['retain', 'compact', 'vacuum'] as const
export type Job = (typeof JOBS)[number]

export interface LastRun {
  /** Milliseconds since 1970. */
  startedAt: number
  durationMs: number
  /** `ok`, or the code of the error it ended with. */
  outcome: string
  message: string
}

export interface JobState {
  job: Job
  /** The pattern; null where jobs run only when asked for. */
  schedule: string | null
  /** Milliseconds since 1970; null where it is not due again. */
  due: number | null
  running: boolean
  last: LastRun | null
}

/** Where the jobs write what they did. */
export interface JobLog {
  warn(fields: object, message: string): void
  info(fields: object, message: string): void
  debug(fields: object, message: string): void
}

export class JobsPart implements Part {
  readonly name = 'jobs'
  /** It stops before the control calls do, so that a call that waits for a job is answered. */
  readonly needs = ['storage', 'control', 'cluster']
  readonly #schedule: Schedule | null
  readonly #last = new Map<Job, LastRun>()
  readonly #running = new Map<Job, number>()
  #end: () => Promise<void> = async () => undefined
  /** Whether a run of this round left work that another can go on with. */
  #more = false

  constructor(
    private readonly engine: () => Engine,
    pattern: string | null,
    private readonly clock: Clock,
    private readonly log: JobLog,
    /** Where several nodes have the same tables: does the round on one of them alone. */
    private readonly alone: (round: () => Promise<void>) => Promise<void> = (round) => round(),
  ) {
    this.#schedule = pattern === null ? null : new Schedule(pattern, clock)
  }

  async start(): Promise<void> {
    if (this.#schedule) this.#end = this.#schedule.start(() => this.#rounds())
  }

  async stop(): Promise<void> {
    this.engine().stopJobs()
    await this.#end()
  }

  /** Runs a job at once, after those that run already. Rejects with what it failed with. */
  async run(name: string): Promise<JobReport> {
    const job = JOBS.find((known) => known === name)
    if (!job) throw new OtlakeError('JOB_UNKNOWN', `there is no job \`${name}\``)
    const startedAt = this.clock.now()
    this.#running.set(job, (this.#running.get(job) ?? 0) + 1)
    const ended = (outcome: string, message: string) => {
      const durationMs = this.clock.now() - startedAt
      this.#last.set(job, { startedAt, durationMs, outcome, message })
    }
    try {
      const report = await this.engine().runJob(job)
      ended('ok', '')
      const tables = report.tables.filter(didSomething)
      const figures = { job, durationMs: Math.round(report.durationMs), tables }
      if (tables.length > 0) this.log.info(figures, 'job done')
      else this.log.debug(figures, 'job done, with nothing to do')
      return report
    } catch (thrown) {
      const error = OtlakeError.from(thrown)
      ended(error.code, error.message)
      if (error.code === 'JOB_STOPPED') this.log.info({ job }, 'job ended: the node is stopping')
      else this.log.warn({ job, code: error.code }, `job failed: ${error.message}`)
      throw error
    } finally {
      this.#running.set(job, (this.#running.get(job) ?? 1) - 1)
    }
  }

  /** Every job, when it is due and how its last run went. */
  states(): JobState[] {
    return JOBS.map((job) => ({
      job,
      schedule: this.#schedule?.pattern ?? null,
      due: this.#schedule?.due ?? null,
      running: (this.#running.get(job) ?? 0) > 0,
      last: this.#last.get(job) ?? null,
    }))
  }

  /** A round, and others at once as long as one leaves work: what comes may be more than one run merges. */
  async #rounds(): Promise<void> {
    do {
      this.#more = false
      await this.alone(() => this.#round())
    } while (this.#more)
  }

  /** Every job, one after the other; one that fails does not keep the next from its turn. */
  async #round(): Promise<void> {
    for (const job of JOBS) {
      // It is logged and kept as the last run.
      const report = await this.run(job).catch(() => undefined)
      this.#more ||= report?.more === true
    }
  }
}

/** Whether a run changed anything of a table. */
export function didSomething(work: TableWork): boolean {
  return work.filesIn > 0 || work.logFiles > 0
}
