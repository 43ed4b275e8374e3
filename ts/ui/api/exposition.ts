/** Reads what `/metrics` says, in OpenMetrics. */

export interface Sample {
  labels: Record<string, string>
  value: number
}

/** Samples by their names. */
export type Exposition = Map<string, Sample[]>

/** Lines that are no sample are passed over. */
export function parseExposition(text: string): Exposition {
  const samples: Exposition = new Map()
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const [, name = '', , labels = '', value = ''] =
      /^([A-Za-z_:][\w:]*)(\{((?:[^"}]|"(?:\\.|[^"\\])*")*)\})? (\S+)/.exec(line) ?? []
    if (name === '') continue
    const sample = { labels: labelsOf(labels), value: Number(value.replace('Inf', 'Infinity')) }
    const known = samples.get(name)
    if (known) known.push(sample)
    else samples.set(name, [sample])
  }
  return samples
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const [, name = '', value = ''] of text.matchAll(/([A-Za-z_]\w*)="((?:\\.|[^"\\])*)"/g)) {
    labels[name] = value.replaceAll(/\\(.)/g, (_, of: string) => (of === 'n' ? '\n' : of))
  }
  return labels
}

/** The sum over a metric's samples that have all of `labels`; 0 where there is none. */
export function total(
  exposition: Exposition,
  name: string,
  labels: Record<string, string> = {},
): number {
  const wanted = Object.entries(labels)
  return (exposition.get(name) ?? [])
    .filter((sample) => wanted.every(([key, value]) => sample.labels[key] === value))
    .reduce((sum, { value }) => sum + value, 0)
}

/** Sums over a metric's samples, by one of its labels. */
export function byLabel(exposition: Exposition, name: string, label: string): Map<string, number> {
  const sums = new Map<string, number>()
  for (const { labels, value } of exposition.get(name) ?? []) {
    const key = labels[label] ?? ''
    sums.set(key, (sums.get(key) ?? 0) + value)
  }
  return sums
}

/** What a metric says by one of its labels, without what is 0; the largest first. */
export function ranking(metrics: Exposition, name: string, label: string): [string, number][] {
  return [...byLabel(metrics, name, label)]
    .filter(([, value]) => value > 0)
    .sort(([, a], [, b]) => b - a)
}
