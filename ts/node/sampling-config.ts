/** Which traces are written to files: policies of tail sampling (docs/sampling.md). */

import { z } from 'zod'
import type { SamplingCondition, SamplingConfig, SamplingPolicy } from '../native/binding.js'
import { count, invalid, json, type Setting } from './setting-schemas.js'

const STATUSES = { unset: 0, ok: 1, error: 2 } as const
const status = z.enum(['unset', 'ok', 'error'], 'is `error`, `ok` or `unset`, or a list of them')
const number = (what: string) => z.number(`is a number of ${what}`)

/** What a policy can ask; it has one of these, or several in `and`. */
const CONDITIONS = {
  status: z.union([status, z.array(status).min(1)], 'is `error`, `ok` or `unset`, or a list'),
  latency: z.strictObject({
    at_least_ms: number('milliseconds').nonnegative(),
    of: z.enum(['trace', 'span'], 'is `trace` or `span`').default('trace'),
  }),
  attribute: z.strictObject({
    key: z.string().min(1),
    values: z.array(z.union([z.string(), z.number(), z.boolean()])).optional(),
    matches: z.string().optional(),
    of: z.enum(['any', 'span', 'resource'], 'is `any`, `span` or `resource`').default('any'),
  }),
  rate: z.strictObject({
    traces_per_second: number('traces').positive().optional(),
    spans_per_second: number('spans').positive().optional(),
  }),
  probability: number('0 to 1').positive('is above 0').max(1, 'is 1 at most'),
}
const KINDS = Object.keys(CONDITIONS) as (keyof typeof CONDITIONS)[]

const condition = z.strictObject(CONDITIONS).partial()
const policy = z.strictObject({
  name: z.string().min(1).max(64),
  ...condition.shape,
  and: z.array(condition).min(1).optional(),
})

type Condition = z.infer<typeof condition>
type Policy = z.infer<typeof policy>

/** The settings, by their paths. */
export function samplingSettings(limit: (name: string) => number): Record<string, Setting> {
  return {
    'sampling.policies': {
      about: 'What keeps traces (docs/sampling.md); empty: all are kept',
      schema: json(z.array(policy, 'is a list of policies, each with a name and a condition')),
      default: [],
    },
    'sampling.decision_wait_ms': {
      about: 'How long spans wait in memory for the others of their traces',
      schema: z.coerce.number().int().nonnegative().max(3_600_000),
      default: limit('samplingDecisionWaitMs'),
    },
    'sampling.max_decisions': {
      about: 'Decisions that are remembered for late spans',
      schema: count,
      default: limit('samplingMaxDecisions'),
    },
  }
}

const NOTHING: Omit<SamplingCondition, 'kind'> = {
  codes: null,
  of: null,
  atLeastMs: null,
  key: null,
  values: null,
  matches: null,
  perSecond: null,
  probability: null,
}

/** The condition of a mapping that has one. Throws `CONFIG_INVALID` where it has none, or several. */
function conditionOf(raw: Condition, where: string): SamplingCondition {
  const kinds = KINDS.filter((kind) => raw[kind] !== undefined)
  const [kind] = kinds
  if (kind === undefined || kinds.length > 1) {
    const has = kind === undefined ? 'has no condition' : `has ${kinds.join(' and ')}`
    throw invalid(
      where,
      `${has}; give it one of ${KINDS.join(', ')}, or several as a list in \`and\``,
    )
  }
  const { latency, attribute, rate } = raw
  if (raw.status !== undefined) {
    const codes = [raw.status].flat().map((name) => STATUSES[name])
    return { ...NOTHING, kind, codes }
  }
  if (latency !== undefined) {
    return { ...NOTHING, kind, of: latency.of, atLeastMs: latency.at_least_ms }
  }
  if (attribute !== undefined) {
    const { key, of, values = null, matches = null } = attribute
    if (values !== null && matches !== null) {
      throw invalid(`${where}.attribute`, 'has both `values` and `matches`; leave one out')
    }
    return { ...NOTHING, kind, of, key, values: values?.map(String) ?? null, matches }
  }
  if (rate !== undefined) {
    const { traces_per_second: traces, spans_per_second: spans } = rate
    if ((traces === undefined) === (spans === undefined)) {
      throw invalid(`${where}.rate`, 'needs `traces_per_second` or `spans_per_second`, one of them')
    }
    const of = traces === undefined ? 'spans' : 'traces'
    return { ...NOTHING, kind, of, perSecond: traces ?? spans ?? null }
  }
  return { ...NOTHING, kind, probability: raw.probability ?? null }
}

function policyOf({ name, and, ...own }: Policy, at: number): SamplingPolicy {
  const where = `sampling.policies.${at}`
  if (and === undefined) return { name, conditions: [conditionOf(own, where)] }
  const beside = KINDS.filter((kind) => own[kind] !== undefined)
  if (beside.length > 0) {
    throw invalid(where, `has ${beside.join(' and ')} beside \`and\`; put it into the list`)
  }
  return { name, conditions: and.map((each, of) => conditionOf(each, `${where}.and.${of}`)) }
}

/** Which traces are written. Throws `CONFIG_INVALID`. */
export function samplingConfig(get: <T>(path: string) => T): SamplingConfig {
  const policies = get<Policy[]>('sampling.policies').map(policyOf)
  const names = policies.map(({ name }) => name)
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  if (twice !== undefined) {
    throw invalid('sampling.policies', `two are named \`${twice}\`; give each its own name`)
  }
  return {
    policies,
    decisionWaitMs: get('sampling.decision_wait_ms'),
    maxDecisions: get('sampling.max_decisions'),
  }
}
