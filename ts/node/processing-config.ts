/**
 * Rules that rows go through on their way in (docs/processing.md): their form. The native module plans
 * their expressions when it opens, and refuses what is wrong with them by the rule's name.
 */

import { z } from 'zod'
import type { ProcessingRule, Signal } from '../native/binding.js'
import { invalid, json, type Setting } from './setting-schemas.js'

const METRICS = [
  'metrics_gauge',
  'metrics_sum',
  'metrics_histogram',
  'metrics_exponential_histogram',
  'metrics_summary',
] as const
const TABLES = ['spans', 'logs', ...METRICS] as const
const OF_SIGNAL: Record<Signal, readonly string[]> = {
  traces: ['spans'],
  logs: ['logs'],
  metrics: METRICS,
}
const ACTIONS = ['drop', 'route', 'redact', 'rename', 'set'] as const
/** What a redacted value becomes without another word. */
const REDACTED = '[redacted]'
/** A shorter key of an HMAC could be found by trying. */
const LEAST_KEY = 16

/** YAML has numbers and booleans of its own; they are SQL, too. */
const sql = z.union([z.string().min(1), z.number(), z.boolean()]).transform(String)
const rule = z.strictObject({
  name: z.string().regex(/^[\w .:/-]{1,64}$/, 'is 1 to 64 letters, digits, spaces or _ . : / -'),
  signal: z.enum(['traces', 'metrics', 'logs']).optional(),
  tables: z.array(z.enum(TABLES)).min(1).optional(),
  when: sql.optional(),
  drop: z.literal(true, 'is `true`').optional(),
  route: z.strictObject({ tenant: z.string().min(1) }).optional(),
  redact: z.array(z.string().min(1)).min(1).optional(),
  text: z.string().optional(),
  hash: z.enum(['sha256', 'hmac-sha256']).optional(),
  remove: z.literal(true, 'is `true`').optional(),
  rename: z.record(z.string(), z.string().min(1)).optional(),
  set: z.record(z.string(), sql).optional(),
})
type Rule = z.infer<typeof rule>

/** The settings, by their paths. */
export const PROCESSING_SETTINGS: Record<string, Setting> = {
  'processing.rules': {
    about:
      'What rows go through on their way in, in order: dropped, routed to another tenant, redacted, renamed or set where SQL says so (docs/processing.md)',
    schema: json(z.array(rule)),
    default: [],
  },
  'processing.hash_key': {
    about: 'The key of `hash: hmac-sha256` in those rules, 16 characters or more',
    schema: z.string(),
    default: '',
  },
}

const PATH = 'processing.rules'

/** The rules, in order. Throws `CONFIG_INVALID`. */
export function processingRules(get: <T>(path: string) => T): ProcessingRule[] {
  const key = get<string>('processing.hash_key')
  if (key !== '' && key.length < LEAST_KEY) {
    throw invalid('processing.hash_key', `has ${key.length} characters; give ${LEAST_KEY} or more`)
  }
  return get<Rule[]>(PATH).map((rule) => {
    const refuse = (what: string) => invalid(PATH, `rule \`${rule.name}\`: ${what}`)
    const [action, ...others] = ACTIONS.filter((action) => rule[action] !== undefined)
    if (action === undefined || others.length > 0) {
      throw refuse(`say one of \`${ACTIONS.join('`, `')}\`; make another rule for another`)
    }
    if ((rule.signal === undefined) === (rule.tables === undefined)) {
      throw refuse('say either `signal` or `tables`')
    }
    if (action === 'drop' && rule.when === undefined) {
      throw refuse('say which rows to drop: `when: true` drops all of them')
    }
    if (action === 'route' && rule.when === undefined) {
      throw refuse('say which rows go to the tenant: `when: true` is all of them')
    }
    const told = (['text', 'hash', 'remove'] as const).filter((by) => rule[by] !== undefined)
    if (told.length > (action === 'redact' ? 1 : 0)) {
      throw refuse(
        `\`${told.join('`, `')}\`: a \`redact\` has one of \`text\`, \`hash\`, \`remove\``,
      )
    }
    if (rule.hash === 'hmac-sha256' && key === '') {
      throw refuse('`hash: hmac-sha256` needs a key: set `processing.hash_key`')
    }
    const tables = rule.tables ?? OF_SIGNAL[rule.signal as Signal]
    return {
      name: rule.name,
      tables: [...new Set(tables)],
      when: rule.when ?? null,
      action,
      tenant: rule.route?.tenant ?? null,
      changes: changes(rule, action),
      redaction: action === 'redact' ? redaction(rule, key) : null,
    }
  })
}

function changes(rule: Rule, action: ProcessingRule['action']): ProcessingRule['changes'] {
  if (action === 'drop' || action === 'route') return []
  if (action === 'redact') return (rule.redact ?? []).map((target) => ({ target, to: null }))
  return Object.entries(rule[action] ?? {}).map(([target, to]) => ({ target, to }))
}

function redaction(rule: Rule, key: string): ProcessingRule['redaction'] {
  if (rule.remove) return { kind: 'remove', value: null }
  if (rule.hash === 'hmac-sha256') return { kind: rule.hash, value: key }
  if (rule.hash === 'sha256') return { kind: rule.hash, value: null }
  return { kind: 'text', value: rule.text ?? REDACTED }
}
