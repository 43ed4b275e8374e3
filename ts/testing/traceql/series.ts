/**
 * Metrics, as TraceQL's documentation says them. Steps end at the multiples of their length; a span is
 * in the step that it starts in, borders counting to the step before. Durations are shown in seconds.
 */

import type { Metrics, Query } from '../../query/tree.js'
import type { PlainSpan, PlainTrace } from './plain.js'
import { groupKey, searchTrace } from './reference.js'
import { Structure } from './structure.js'
import { compares, type Datum, holds, number, values } from './values.js'

export interface Series {
  /** The values that the series is of, those of `by` first; then a quantile or a bucket. */
  labels: string[]
  /** By the end of the step in milliseconds since 1970; no step where there is nothing. */
  samples: Map<number, number>
}

const SECOND = 1_000_000_000

/** The series of a query over `start` to `end`, nanoseconds; without a step, of all of it at once. */
export function seriesOf(
  query: Query,
  traces: readonly PlainTrace[],
  range: { start: bigint; end: bigint; step: bigint | null },
): Series[] {
  const metrics = query.metrics as Metrics
  const step = range.step ?? range.end - range.start
  const groups = new Map<string, { labels: string[]; steps: Map<number, number[]> }>()
  for (const trace of traces) {
    const structure = new Structure(trace)
    const found = new Set(searchTrace(query, trace).flat())
    for (const span of found) {
      if (span.start <= range.start || span.start > range.end) continue
      const end = range.step === null ? range.end : ((span.start - 1n) / step + 1n) * step
      const at = Number(end / 1_000_000n)
      for (const { labels, value } of observed(metrics, span, structure)) {
        const key = JSON.stringify(labels)
        const group = groups.get(key) ?? { labels, steps: new Map<number, number[]>() }
        groups.set(key, group)
        group.steps.set(at, [...(group.steps.get(at) ?? []), value])
      }
    }
  }
  const seconds = Number(step) / SECOND
  const series = [...groups.values()].flatMap(({ labels, steps }) =>
    metrics.function === 'quantile_over_time'
      ? metrics.quantiles.map((quantile) => ({
          labels: [...labels, String(quantile)],
          samples: mapped(steps, (numbers) => quantileOf(quantile, numbers)),
        }))
      : [{ labels, samples: mapped(steps, (numbers) => aggregate(metrics, numbers, seconds)) }],
  )
  return second(metrics, series).filter(({ samples }) => samples.size > 0)
}

const mapped = (steps: Map<number, number[]>, work: (numbers: number[]) => number) =>
  new Map([...steps].map(([at, numbers]) => [at, work(numbers)]))

/** What one span adds to which series. */
function observed(
  metrics: Metrics,
  span: PlainSpan,
  structure: Structure,
): { labels: string[]; value: number }[] {
  const labels = metrics.by.map((field) => groupKey(values(field, span, structure)))
  const { argument } = metrics
  if (argument === null) return [{ labels, value: 1 }]
  const isTime = argument.kind === 'intrinsic' && /duration|timeSinceStart/i.test(argument.name)
  return values(argument, span, structure).flatMap((found) => {
    if (found.type !== 'number') return []
    const scale = isTime ? SECOND : 1
    if (!['histogram_over_time', 'quantile_over_time'].includes(metrics.function)) {
      return [{ labels, value: found.value / scale }]
    }
    const bucket = bucketOf(found.value)
    if (bucket === null) return []
    return metrics.function === 'histogram_over_time'
      ? [{ labels: [...labels, String(bucket / scale)], value: 1 }]
      : [{ labels, value: bucket / scale }]
  })
}

function aggregate(metrics: Metrics, numbers: number[], seconds: number): number {
  const sum = numbers.reduce((a, b) => a + b)
  switch (metrics.function) {
    case 'rate':
      return numbers.length / seconds
    case 'min_over_time':
      return Math.min(...numbers)
    case 'max_over_time':
      return Math.max(...numbers)
    case 'avg_over_time':
      return sum / numbers.length
    case 'sum_over_time':
      return sum
    default:
      return numbers.length
  }
}

/** The power of two that a value is at most; values below 2 are in no bucket. */
export function bucketOf(value: number): number | null {
  const whole = Math.trunc(value)
  return whole < 2 ? null : 2 ** Math.ceil(Math.log2(whole))
}

/** A quantile of values that are known by their buckets, between two of them by powers. */
export function quantileOf(quantile: number, buckets: readonly number[]): number {
  const counts = new Map<number, number>()
  for (const bucket of buckets) counts.set(bucket, (counts.get(bucket) ?? 0) + 1)
  const ordered = [...counts].sort(([a], [b]) => a - b)
  const wanted = Math.max(1, Math.ceil(quantile * buckets.length))
  let total = 0
  for (const [index, [bucket, count]] of ordered.entries()) {
    if (total + count === wanted) return bucket
    if (total + count > wanted) {
      const high = Math.log2(bucket)
      const before = ordered[index - 1]?.[0]
      const low = before === undefined ? high - 1 : Math.log2(before)
      return 2 ** (low + ((high - low) * (wanted - total)) / count)
    }
    total += count
  }
  return Number.NaN
}

/** `topk`, `bottomk` and comparisons, one after the other, step by step. */
function second({ then }: Metrics, input: Series[]): Series[] {
  return then.reduce((series, stage) => {
    if (stage.kind === 'filter') {
      // A duration is compared in seconds, as it is shown.
      const given = Number((stage.value as { value: unknown }).value)
      const value = stage.value.type === 'duration' ? given / SECOND : given
      return series.map(({ labels, samples }) => ({
        labels,
        samples: new Map(
          [...samples].filter(([, sample]) =>
            compares(stage.operator, number(sample), number(value)),
          ),
        ),
      }))
    }
    const kept = new Set<string>()
    for (const at of new Set(series.flatMap(({ samples }) => [...samples.keys()]))) {
      const here = series.filter(({ samples }) => samples.has(at))
      const order = stage.kind === 'topk' ? -1 : 1
      const value = ({ samples }: Series) => samples.get(at) ?? 0
      here.sort((a, b) => order * (value(a) - value(b)))
      for (const { labels } of here.slice(0, stage.limit)) kept.add(JSON.stringify([labels, at]))
    }
    return series.map(({ labels, samples }) => ({
      labels,
      samples: new Map([...samples].filter(([at]) => kept.has(JSON.stringify([labels, at])))),
    }))
  }, input)
}

/** Of `compare`: how many spans have which value of which attribute, by `selection` and `baseline`. */
export function comparison(query: Query, traces: readonly PlainTrace[]): Map<string, number> {
  const { selection, start, end } = query.metrics as Metrics
  const counts = new Map<string, number>()
  for (const trace of traces) {
    const structure = new Structure(trace)
    for (const span of new Set(searchTrace(query, trace).flat())) {
      const isInTime =
        start === null || end === null || (span.start > BigInt(start) && span.start <= BigInt(end))
      const side = isInTime && holds(selection, span, structure) ? 'selection' : 'baseline'
      const count = (name: string, found: Datum) => {
        const key = JSON.stringify([side, name, groupKey([found])])
        counts.set(key, (counts.get(key) ?? 0) + 1)
      }
      for (const scope of ['span', 'resource'] as const) {
        const names = Object.keys(scope === 'span' ? span.attributes : span.resource)
        for (const name of names) {
          const field = { kind: 'attribute', scope, parent: false, name } as const
          for (const found of values(field, span, structure)) count(`${scope}.${name}`, found)
        }
      }
    }
  }
  return counts
}
