/** Numbers for people: shares of samples, and no more digits than they mean. */

export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.round((sorted.length - 1) * share)]
}

export const median = (values) => percentile(values, 0.5)

export const round = (value, digits = 2) => Number(value.toFixed(digits))

/** Three digits that mean something. */
export function digits(value) {
  const size = Math.abs(value)
  return round(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3)
}
