/**
 * Chooses among nodes that can do the same, as gateways do among processors: round robin, by weight,
 * the one with the fewest calls, or by a key. What each strategy is given are the nodes that are well;
 * how well a node is follows from four things:
 *
 * | | from | it is |
 * |---|---|---|
 * | availability | membership | out, when it is not present, not ready, or draining |
 * | errors | calls that failed for the node's own reasons | ejected, for a time that doubles; degraded, from a share on |
 * | latency | calls, as a moving average | degraded, when it is several times that of the others |
 * | resources | what it says of its processors and disk | degraded, when nearly full |
 *
 * Degraded nodes are taken when none is well, ejected ones when no other is available: a guess is
 * better than a refusal. One that is out is never taken. An ejected node gets one call when its time is
 * over, and is back when that succeeds.
 *
 * No I/O and no clock of its own: every call tells the time, in monotonic milliseconds.
 */

import { createHash } from 'node:crypto'
import { OtlakeError } from '../base/errors.js'
import { MAX_WEIGHT } from './ring.js'

export type Strategy = 'round_robin' | 'weighted' | 'least_connections' | 'consistent_hash'

export interface Target {
  readonly name: string
  /** How much it takes in comparison with others; above 0, up to 16; 1 by default. */
  readonly weight?: number
  /** Whether it can be called at all; true by default. */
  readonly isAvailable?: boolean
  /** Shares of processors and of disk in use, 0 to 1; 0 by default. */
  readonly load?: number
  readonly disk?: number
}

export type TargetHealth = 'well' | 'degraded' | 'ejected' | 'out'

export interface TargetState {
  readonly name: string
  readonly health: TargetHealth
  /** Calls that have begun and not ended. */
  readonly calls: number
  /** Moving average of what calls took, in milliseconds; 0 before the first. */
  readonly latencyMs: number
  /** Moving share of calls that failed, 0 to 1. */
  readonly errorRate: number
}

/** A call that has begun. End it once. */
export interface Call {
  readonly name: string
  /** `isOk`: it did not fail for reasons of the node; what the caller did wrong is no failure. */
  end(now: number, isOk: boolean): void
}

export const MAX_TARGETS = 1024
/** Each call moves the averages by this share of the difference. */
const AVERAGE_SHARE = 0.2
/** How fast what is known of a node that is not called fades, as a time constant. */
const FADE_MS = 30_000
/** Failures in a row that eject a node. */
export const EJECT_FAILURES = 5
/** How long the first time, and at most. */
export const EJECT_MS = 1000
export const EJECT_MAX_MS = 60_000
/** The share of failed calls from which a node is degraded. */
export const DEGRADED_ERRORS = 0.2
/** How many times the median latency makes it so, from a latency on that is worth it. */
export const DEGRADED_LATENCY = 3
export const DEGRADED_LATENCY_MS = 20
/** The share of processors or disk in use that makes it so. */
export const DEGRADED_RESOURCES = 0.95
/** By a key, a node takes at most this many times the average of the calls that run. */
export const MAX_OVERLOAD = 1.25

interface Entry {
  target: Required<Target>
  calls: number
  latencyMs: number
  errorRate: number
  /** When the averages were last moved. */
  touched: number
  failures: number
  ejections: number
  ejectedUntil: number
  /** An ejected node's one call is under way. */
  isTried: boolean
  /** Smooth weighted round robin's running number. */
  credit: number
}

export class Balancer {
  #entries: Entry[] = []
  #turn = 0

  constructor(readonly strategy: Strategy = 'round_robin') {}

  /** Says who there is; what is known of those that stay is kept. Throws `CONFIG_INVALID`. */
  update(targets: readonly Target[]): void {
    const names = new Set(targets.map(({ name }) => name))
    const isFine = targets.every(({ weight = 1 }) => weight > 0 && weight <= MAX_WEIGHT)
    if (!isFine || names.size < targets.length || targets.length > MAX_TARGETS) {
      const limits = `${MAX_TARGETS} at most, weights above 0 and up to ${MAX_WEIGHT}`
      throw new OtlakeError('CONFIG_INVALID', `targets have different names, ${limits}`)
    }
    const known = new Map(this.#entries.map((entry) => [entry.target.name, entry]))
    this.#entries = targets.map((given) => {
      const target = { weight: 1, isAvailable: true, load: 0, disk: 0, ...given }
      const entry = known.get(target.name)
      if (entry === undefined) return fresh(target)
      entry.target = target
      return entry
    })
  }

  /**
   * Begins a call at the node that is to have it; null: none is available. `key` is for
   * `consistent_hash`; `except` names those that have been tried already.
   */
  begin(now: number, key = '', except: ReadonlySet<string> = new Set()): Call | null {
    const candidates = this.#candidates(now, except)
    const chosen = candidates.length === 0 ? undefined : this.#choose(candidates, key)
    return chosen === undefined ? null : this.#call(now, chosen)
  }

  /** All of them, in the order given. */
  states(now: number): TargetState[] {
    const median = this.#medianLatency(now)
    return this.#entries.map((entry) => ({
      name: entry.target.name,
      health: healthOf(entry, now, median),
      calls: entry.calls,
      latencyMs: entry.latencyMs * fade(entry, now),
      errorRate: entry.errorRate * fade(entry, now),
    }))
  }

  /** The best there are: well, else degraded, else ejected. */
  #candidates(now: number, except: ReadonlySet<string>): Entry[] {
    const median = this.#medianLatency(now)
    const ranks: Record<TargetHealth, Entry[]> = { well: [], degraded: [], ejected: [], out: [] }
    for (const entry of this.#entries) {
      if (!except.has(entry.target.name)) ranks[healthOf(entry, now, median)].push(entry)
    }
    const due = ranks.ejected.find((entry) => now >= entry.ejectedUntil && !entry.isTried)
    // Its one call finds out whether it is back.
    if (due !== undefined) return [due]
    return [ranks.well, ranks.degraded, ranks.ejected].find((rank) => rank.length > 0) ?? []
  }

  #choose(candidates: readonly Entry[], key: string): Entry | undefined {
    switch (this.strategy) {
      case 'round_robin':
        return candidates[this.#turn++ % candidates.length]
      case 'weighted':
        return nextByWeight(candidates)
      case 'least_connections':
        return this.#leastCalls(candidates)
      case 'consistent_hash':
        return byKey(candidates, key)
    }
  }

  /** In proportion to the weight; equals take turns. */
  #leastCalls(candidates: readonly Entry[]): Entry | undefined {
    const turn = this.#turn++
    let best: Entry | undefined
    let least = Number.POSITIVE_INFINITY
    for (let step = 0; step < candidates.length; step++) {
      const entry = candidates[(turn + step) % candidates.length] as Entry
      const share = entry.calls / entry.target.weight
      if (share >= least) continue
      least = share
      best = entry
    }
    return best
  }

  #call(now: number, entry: Entry): Call {
    entry.calls++
    const isTrial = entry.ejectedUntil > 0
    if (isTrial) entry.isTried = true
    let isOver = false
    return {
      name: entry.target.name,
      end: (ended, isOk) => {
        if (isOver) return
        isOver = true
        entry.calls--
        if (isTrial) entry.isTried = false
        settle(entry, ended, ended - now, isOk)
      },
    }
  }

  #medianLatency(now: number): number {
    const latencies = this.#entries
      .map((entry) => entry.latencyMs * fade(entry, now))
      .filter((latency) => latency > 0)
      .sort((a, b) => a - b)
    // Of two the smaller: the slower one must not be its own measure.
    return latencies[(latencies.length - 1) >> 1] ?? 0
  }
}

function fresh(target: Required<Target>): Entry {
  return {
    target,
    calls: 0,
    latencyMs: 0,
    errorRate: 0,
    touched: Number.NEGATIVE_INFINITY,
    failures: 0,
    ejections: 0,
    ejectedUntil: 0,
    isTried: false,
    credit: 0,
  }
}

/** How much of what is known still counts. */
function fade(entry: Entry, now: number): number {
  if (entry.touched === Number.NEGATIVE_INFINITY) return 1
  return Math.exp(-Math.max(0, now - entry.touched) / FADE_MS)
}

function settle(entry: Entry, now: number, tookMs: number, isOk: boolean): void {
  const kept = fade(entry, now)
  const error = entry.errorRate * kept
  entry.errorRate = error + AVERAGE_SHARE * ((isOk ? 0 : 1) - error)
  if (isOk) {
    const latency = entry.latencyMs * kept
    // The first one is all that is known.
    entry.latencyMs = latency === 0 ? tookMs : latency + AVERAGE_SHARE * (tookMs - latency)
  }
  entry.touched = now
  if (isOk) {
    entry.failures = 0
    // It is back only by its own trial: what began before it was ejected proves nothing.
    if (entry.ejectedUntil > 0 && now >= entry.ejectedUntil) {
      entry.ejectedUntil = 0
      entry.ejections = 0
      entry.errorRate = 0
    }
    return
  }
  entry.failures++
  const isTrial = entry.ejectedUntil > 0 && now >= entry.ejectedUntil
  if (entry.failures >= EJECT_FAILURES || isTrial) {
    const time = Math.min(EJECT_MAX_MS, EJECT_MS * 2 ** Math.min(entry.ejections, 16))
    entry.ejections++
    entry.ejectedUntil = now + time
    entry.failures = 0
  }
}

function healthOf(entry: Entry, now: number, medianMs: number): TargetHealth {
  const { isAvailable, load, disk } = entry.target
  if (!isAvailable) return 'out'
  if (entry.ejectedUntil > 0) return 'ejected'
  const latency = entry.latencyMs * fade(entry, now)
  const isSlow = latency >= DEGRADED_LATENCY_MS && latency > DEGRADED_LATENCY * medianMs
  const isFailing = entry.errorRate * fade(entry, now) >= DEGRADED_ERRORS
  const isFull = load >= DEGRADED_RESOURCES || disk >= DEGRADED_RESOURCES
  return isSlow || isFailing || isFull ? 'degraded' : 'well'
}

/** Smooth weighted round robin: each gains its weight, the richest pays for all. */
function nextByWeight(candidates: readonly Entry[]): Entry | undefined {
  let best: Entry | undefined
  let sum = 0
  for (const entry of candidates) {
    entry.credit += entry.target.weight
    sum += entry.target.weight
    if (best === undefined || entry.credit > best.credit) best = entry
  }
  if (best !== undefined) best.credit -= sum
  return best
}

/**
 * Rendezvous hashing by weight: a key stays where it is when others come and go. A node that has too
 * many calls already gives the next one its turn (consistent hashing with bounded loads, Mirrokni
 * et al., 2018).
 */
function byKey(candidates: readonly Entry[], key: string): Entry | undefined {
  const weights = candidates.reduce((sum, { target }) => sum + target.weight, 0)
  const calls = candidates.reduce((sum, entry) => sum + entry.calls, 1)
  const inOrder = candidates
    .map((entry) => ({ entry, score: -entry.target.weight / Math.log(unit(key, entry)) }))
    .sort((a, b) => b.score - a.score)
  const hasRoom = ({ calls: own, target }: Entry) =>
    own + 1 <= Math.max(1, Math.ceil((MAX_OVERLOAD * calls * target.weight) / weights))
  return (inOrder.find(({ entry }) => hasRoom(entry)) ?? inOrder[0])?.entry
}

/** A number between 0 and 1, both left out, that follows from the key and the name. */
function unit(key: string, { target }: Entry): number {
  const hash = createHash('sha256').update(`${key}\0${target.name}`).digest().readUIntBE(0, 6)
  return (hash + 1) / (2 ** 48 + 2)
}
