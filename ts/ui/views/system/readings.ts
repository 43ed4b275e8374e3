/** What `/metrics` said at several moments, and what follows from two of them. */

import { byLabel, type Exposition, quantileBetween, total } from '../../api/exposition'

export interface Reading {
  /** Milliseconds since 1970. */
  at: number
  metrics: Exposition
}

export const SIGNALS = ['traces', 'metrics', 'logs'] as const
/** Readings that are kept: ten minutes of them. */
export const KEPT = 300

/** The readings with one more; after a restart of the node they begin anew, as its counters do. */
export function withReading(readings: Reading[], next: Reading): Reading[] {
  const last = readings.at(-1)
  const started = (reading: Reading) => total(reading.metrics, 'process_start_time_seconds')
  if (last && started(last) !== started(next)) return [next]
  return [...readings, next].slice(-KEPT)
}

/** By how much a counter grew in a second, between each two readings. */
export function rates(
  readings: Reading[],
  name: string,
  labels: Record<string, string> = {},
): (number | null)[] {
  return between(readings, (before, after, seconds) =>
    Math.max(0, (total(after, name, labels) - total(before, name, labels)) / seconds),
  )
}

/** A quantile of what a histogram counted between each two readings. */
export function quantiles(readings: Reading[], name: string, quantile: number): (number | null)[] {
  return between(readings, (before, after) => quantileBetween(before, after, name, quantile))
}

function between<T>(
  readings: Reading[],
  of: (before: Exposition, after: Exposition, seconds: number) => T,
): (T | null)[] {
  return readings.map(({ at, metrics }, index) => {
    const before = readings[index - 1]
    return before && at > before.at ? of(before.metrics, metrics, (at - before.at) / 1000) : null
  })
}

/** A figure at each reading. */
export const values = (readings: Reading[], name: string): number[] =>
  readings.map(({ metrics }) => total(metrics, name))

/** What a counter says by one of its labels, without what is 0; the largest first. */
export function ranking(metrics: Exposition, name: string, label: string): [string, number][] {
  return [...byLabel(metrics, name, label)]
    .filter(([, value]) => value > 0)
    .sort(([, a], [, b]) => b - a)
}
