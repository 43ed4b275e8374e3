/**
 * Histograms of metrics over time: what was counted by the step, whether points are sums since some start or
 * stand for themselves, with explicit bounds or exponential ones (OpenTelemetry's metrics data model).
 */

export interface Point {
  series_id: string | number
  group: string
  /** Nanoseconds since 1970; integers beyond 2^53 are text. */
  at: string | number
  began: string | number
  /** 1: delta, 2: cumulative. */
  temporality: number
  count: number | string
  sum: number | null
  bucket_counts?: (number | string)[] | null
  explicit_bounds?: number[] | null
  scale?: number
  zero_count?: number | string
  positive_offset?: number
  positive_bucket_counts?: (number | string)[] | null
  negative_offset?: number
  negative_bucket_counts?: (number | string)[] | null
}

/** What lies between two bounds. */
export interface Bucket {
  lower: number
  upper: number
  count: number
}

export interface Counted {
  count: number
  sum: number
  /** By their upper bounds. */
  buckets: Map<number, Bucket>
}

const DELTA = 1

/** What was counted by group and step, in seconds since 1970. Points are sorted by series and time. */
export function counted(points: Point[], stepS: number): Map<string, Map<number, Counted>> {
  const groups = new Map<string, Map<number, Counted>>()
  let before: Point | undefined
  for (const point of points) {
    const isNext = before?.series_id === point.series_id
    const grown = increase(point, isNext ? before : undefined)
    before = point
    if (!grown) continue
    const step = Math.floor(Number(point.at) / 1e9 / stepS) * stepS
    const steps = groups.get(point.group) ?? new Map<number, Counted>()
    groups.set(point.group, steps)
    steps.set(step, added(steps.get(step), grown))
  }
  return groups
}

/** What came since the point before; null where that is not known. */
function increase(point: Point, before: Point | undefined): Counted | null {
  const now = read(point)
  if (point.temporality === DELTA) return now
  // The first point that is seen of a sum tells nothing of how it grew in the range.
  if (!before) return null
  const last = read(before)
  // Sums that shrank began anew.
  if (now.count < last.count || point.began !== before.began) return now
  return subtracted(now, last)
}

function read(point: Point): Counted {
  const buckets = point.scale === undefined ? explicit(point) : exponential(point)
  return {
    count: Number(point.count),
    sum: point.sum ?? 0,
    buckets: new Map(buckets.filter(({ count }) => count > 0).map((each) => [each.upper, each])),
  }
}

function explicit({ bucket_counts, explicit_bounds }: Point): Bucket[] {
  const bounds = explicit_bounds ?? []
  return (bucket_counts ?? []).map((count, index) => ({
    lower: bounds[index - 1] ?? (index === 0 ? Math.min(0, bounds[0] ?? 0) : 0),
    upper: bounds[index] ?? Number.POSITIVE_INFINITY,
    count: Number(count),
  }))
}

function exponential(point: Point): Bucket[] {
  const base = 2 ** (2 ** -(point.scale ?? 0))
  const positive = (point.positive_bucket_counts ?? []).map((count, index) => {
    const at = (point.positive_offset ?? 0) + index
    return { lower: base ** at, upper: base ** (at + 1), count: Number(count) }
  })
  const negative = (point.negative_bucket_counts ?? []).map((count, index) => {
    const at = (point.negative_offset ?? 0) + index
    return { lower: -(base ** (at + 1)), upper: -(base ** at), count: Number(count) }
  })
  return [...negative, { lower: 0, upper: 0, count: Number(point.zero_count ?? 0) }, ...positive]
}

function added(sum: Counted | undefined, more: Counted): Counted {
  if (!sum) return { ...more, buckets: new Map(more.buckets) }
  sum.count += more.count
  sum.sum += more.sum
  for (const [upper, bucket] of more.buckets) {
    const known = sum.buckets.get(upper)
    const count = (known?.count ?? 0) + bucket.count
    sum.buckets.set(upper, {
      lower: Math.min(known?.lower ?? bucket.lower, bucket.lower),
      upper,
      count,
    })
  }
  return sum
}

function subtracted(now: Counted, last: Counted): Counted {
  const buckets = new Map<number, Bucket>()
  for (const [upper, bucket] of now.buckets) {
    const count = Math.max(0, bucket.count - (last.buckets.get(upper)?.count ?? 0))
    if (count > 0) buckets.set(upper, { ...bucket, count })
  }
  return { count: now.count - last.count, sum: now.sum - last.sum, buckets }
}

/** A quantile, as it lies in its bucket by its rank; null where nothing was counted. */
export function quantileOf({ buckets }: Counted, quantile: number): number | null {
  const sorted = [...buckets.values()].sort((a, b) => a.upper - b.upper)
  const all = sorted.reduce((sum, { count }) => sum + count, 0)
  if (all === 0) return null
  let rank = quantile * all
  for (const { lower, upper, count } of sorted) {
    if (rank <= count) {
      // Nothing is known of what lies above the highest bound.
      if (upper === Number.POSITIVE_INFINITY) return lower
      return lower + (upper - lower) * (rank / count)
    }
    rank -= count
  }
  return sorted.at(-1)?.lower ?? null
}
