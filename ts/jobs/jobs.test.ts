import { expect, test } from 'vitest'
import type { Clock } from '../base/clock.js'
import { OtlakeError } from '../base/errors.js'
import { FakeEngine } from '../testing/fake-engine.js'
import { JobsPart } from './jobs.js'
import { isPattern, Schedule } from './schedule.js'

const EVERY_FIVE_MINUTES = '0 */5 * * * *'

/** A clock that goes on when it is told to. */
class ManualClock implements Clock {
  #now = Date.UTC(2026, 0, 1, 12, 2, 30)
  #works = new Map<() => void, number>()

  now(): number {
    return this.#now
  }

  every(_intervalMs: number, work: () => void): () => void {
    this.#works.set(work, 0)
    return () => this.#works.delete(work)
  }

  async sleep(ms: number): Promise<void> {
    await this.pass(ms)
  }

  /** Lets time pass second by second, and what it sets off happen. */
  async pass(ms: number): Promise<void> {
    for (const end = this.#now + ms; this.#now < end; ) {
      this.#now += 1000
      for (const work of this.#works.keys()) work()
      // What a second sets off is a chain of promises without a timer in it.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  get idle(): boolean {
    return this.#works.size === 0
  }
}

class Lines {
  readonly lines: string[] = []
  readonly warn = (_fields: object, message: string) => this.lines.push(`warn ${message}`)
  readonly info = (_fields: object, message: string) => this.lines.push(`info ${message}`)
  readonly debug = (_fields: object, message: string) => this.lines.push(`debug ${message}`)
}

function part(pattern: string | null) {
  const [engine, clock, log] = [new FakeEngine(), new ManualClock(), new Lines()]
  return { engine, clock, log, jobs: new JobsPart(() => engine, pattern, clock, log) }
}

test('where several nodes have the tables, a round is had by whoever is let', async () => {
  const [engine, clock, log] = [new FakeEngine(), new ManualClock(), new Lines()]
  let isLet = false
  const alone = async (round: () => Promise<void>) => {
    if (isLet) await round()
  }
  const jobs = new JobsPart(() => engine, EVERY_FIVE_MINUTES, clock, log, alone)
  await jobs.start()
  await clock.pass(300_000)
  expect(engine.jobs).toEqual([])
  isLet = true
  await clock.pass(300_000)
  expect(engine.jobs).toEqual(['retain', 'compact', 'vacuum'])
  // By hand a job runs wherever it is asked for.
  isLet = false
  await jobs.run('compact')
  expect(engine.jobs).toHaveLength(4)
  await jobs.stop()
})

test('a round of jobs runs at each multiple of five minutes, in UTC, in its order', async () => {
  const { engine, clock, jobs } = part(EVERY_FIVE_MINUTES)
  expect(jobs.states()[0]?.due).toBe(Date.UTC(2026, 0, 1, 12, 5))
  await jobs.start()
  await clock.pass(149_000)
  expect(engine.jobs).toEqual([])
  await clock.pass(1000)
  expect(engine.jobs).toEqual(['retain', 'compact', 'vacuum'])
  await clock.pass(600_000)
  expect(engine.jobs).toHaveLength(9)
  await jobs.stop()
  expect(clock.idle).toBe(true)
})

test('while a run leaves work another round begins at once', async () => {
  const { engine, clock, jobs } = part(EVERY_FIVE_MINUTES)
  let left = 2
  engine.work = async (job) => ({
    job,
    durationMs: 1,
    tables: [],
    more: job === 'compact' && left-- > 0,
  })
  await jobs.start()
  await clock.pass(151_000)
  expect(engine.jobs).toHaveLength(9)
  expect(engine.jobs.slice(3, 6)).toEqual(['retain', 'compact', 'vacuum'])
  await clock.pass(60_000)
  expect(engine.jobs).toHaveLength(9)
  await jobs.stop()
})

test('a round is never begun while one is at work, and what it missed is done once', async () => {
  const { engine, clock, jobs } = part('* * * * * *')
  let finish: () => void = () => undefined
  engine.work = (job) =>
    new Promise((resolve) => {
      finish = () => resolve({ job, durationMs: 1, tables: [], more: false })
    })
  await jobs.start()
  await clock.pass(10_000)
  expect(engine.jobs).toEqual(['retain'])
  expect(jobs.states().find(({ job }) => job === 'retain')?.running).toBe(true)
  engine.work = async (job) => ({ job, durationMs: 1, tables: [], more: false })
  finish()
  await clock.pass(1000)
  expect(engine.jobs.slice(0, 3)).toEqual(['retain', 'compact', 'vacuum'])
  await jobs.stop()
})

test('a job that fails is told, and the next has its turn', async () => {
  const { engine, clock, jobs, log } = part(EVERY_FIVE_MINUTES)
  engine.work = async (job) => {
    if (job === 'compact') throw new OtlakeError('TABLE_IO', 'the disk is full')
    return { job, durationMs: 1, tables: [], more: false }
  }
  await jobs.start()
  await clock.pass(150_000)
  expect(engine.jobs).toEqual(['retain', 'compact', 'vacuum'])
  expect(log.lines).toContain('warn job failed: the disk is full')
  const [retained, compacted] = jobs.states()
  expect(retained?.last?.outcome).toBe('ok')
  expect(compacted?.last).toMatchObject({
    startedAt: Date.UTC(2026, 0, 1, 12, 5),
    outcome: 'TABLE_IO',
    message: 'the disk is full',
  })
  await jobs.stop()
})

test('without a schedule jobs run only when asked for, and an unknown one is refused', async () => {
  const { engine, clock, jobs } = part(null)
  await jobs.start()
  await clock.pass(600_000)
  expect(engine.jobs).toEqual([])
  await jobs.run('vacuum')
  expect(engine.jobs).toEqual(['vacuum'])
  await expect(jobs.run('defragment')).rejects.toMatchObject({ code: 'JOB_UNKNOWN' })
  expect(jobs.states()[0]).toMatchObject({ job: 'retain', schedule: null, due: null, last: null })
  await jobs.stop()
  await expect(jobs.run('vacuum')).rejects.toMatchObject({ code: 'JOB_STOPPED' })
})

test('a stop ends the job at work first, and waits for the round', async () => {
  const { engine, clock, jobs, log } = part(EVERY_FIVE_MINUTES)
  let end: (error: Error) => void = () => undefined
  engine.work = () =>
    new Promise((_resolve, reject) => {
      end = reject
    })
  await jobs.start()
  await clock.pass(150_000)
  const stopped = jobs.stop()
  expect(engine.jobsStopped).toBe(true)
  end(new OtlakeError('JOB_STOPPED', 'the node is stopping'))
  await stopped
  // The other two were refused.
  expect(engine.jobs).toEqual(['retain'])
  expect(log.lines.filter((line) => line.startsWith('warn'))).toEqual([])
})

test('a pattern that croner cannot read is none', () => {
  for (const pattern of [EVERY_FIVE_MINUTES, '* * * * *', '0 0 3 * * MON']) {
    expect(isPattern(pattern), pattern).toBe(true)
  }
  for (const pattern of ['', 'often', '0 */5 * *', '61 * * * * *', '0 0 0 30 2 *']) {
    expect(isPattern(pattern), pattern).toBe(false)
  }
  expect(new Schedule('30 0 3 * * *', new ManualClock()).due).toBe(Date.UTC(2026, 0, 2, 3, 0, 30))
})
