/**
 * What differs: of each attribute, how often its values are there inside a selection and outside, and which
 * attributes tell the two apart best.
 */

import { type MetricSeries, plain } from '../../api/tempo'

export interface ValueShare {
  value: string
  /** Shares of the selected spans, and of the others, 0 to 1. */
  inside: number
  outside: number
}

export interface Difference {
  attribute: string
  /** 0: the same in both; 1: no value is shared. */
  score: number
  values: ValueShare[]
}

export interface Compared {
  inside: number
  outside: number
  differences: Difference[]
}

interface Counts {
  inside: Map<string, number>
  outside: Map<string, number>
}

/** Values that are told of an attribute. */
const SHOWN_VALUES = 5
/** What stands for spans that lack an attribute. */
export const UNSET = '(not there)'
/** Every span has it, so its total is the number of spans. */
const ALWAYS_THERE = 'kind'

/** Ranks what `compare` gave. Spans without an attribute count as a value of their own. */
export function ranked(series: MetricSeries[]): Compared {
  const attributes = new Map<string, Counts>()
  const totals = { inside: 0, outside: 0 }
  for (const { labels, value = 0 } of series) {
    const type = plain(labels.find(({ key }) => key === '__meta_type')?.value)
    const label = labels.find(({ key }) => key !== '__meta_type')
    if (!label) continue
    const side = type.startsWith('selection') ? 'inside' : 'outside'
    if (type.endsWith('_total')) {
      if (label.key === ALWAYS_THERE) totals[side] += value
      continue
    }
    const counts = attributes.get(label.key) ?? { inside: new Map(), outside: new Map() }
    attributes.set(label.key, counts)
    const text = plain(label.value)
    counts[side].set(text, (counts[side].get(text) ?? 0) + value)
  }
  const totalOf = (key: string, meta: string) =>
    series
      .filter(
        ({ labels }) =>
          labels.some((label) => label.key === key) &&
          labels.some((label) => label.key === '__meta_type' && plain(label.value) === meta),
      )
      .reduce((sum, { value = 0 }) => sum + value, 0)
  const differences = [...attributes].map(([attribute, counts]) => {
    // Spans that have the attribute; the others lack it. Values beyond those told count as neither.
    const have = {
      inside: totalOf(attribute, 'selection_total'),
      outside: totalOf(attribute, 'baseline_total'),
    }
    return difference(attribute, counts, have, totals)
  })
  differences.sort((a, b) => b.score - a.score || a.attribute.localeCompare(b.attribute))
  return { ...totals, differences }
}

type Sides = Record<'inside' | 'outside', number>

function difference(attribute: string, counts: Counts, have: Sides, totals: Sides): Difference {
  const share = (count: number, of: number) => (of === 0 ? 0 : count / of)
  const names = new Set([...counts.inside.keys(), ...counts.outside.keys()])
  const values = [...names].map((value) => ({
    value,
    inside: share(counts.inside.get(value) ?? 0, totals.inside),
    outside: share(counts.outside.get(value) ?? 0, totals.outside),
  }))
  values.push({
    value: UNSET,
    inside: share(totals.inside - have.inside, totals.inside),
    outside: share(totals.outside - have.outside, totals.outside),
  })
  // Total variation distance: the largest difference that any set of values has.
  const score = values.reduce((sum, each) => sum + Math.abs(each.inside - each.outside), 0) / 2
  const told = values.filter(({ inside, outside }) => inside > 0 || outside > 0)
  told.sort((a, b) => Math.abs(b.inside - b.outside) - Math.abs(a.inside - a.outside))
  return { attribute, score: Math.min(1, score), values: told.slice(0, SHOWN_VALUES) }
}

/** Attributes that a selection names tell nothing: they are what was selected by. */
export function without(differences: Difference[], selection: string): Difference[] {
  return differences.filter(({ attribute }) => {
    const name = attribute.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
    return !new RegExp(`(^|[\\s{(&|!])${name}\\s*(=|!|<|>)`).test(selection)
  })
}
