/**
 * What operators decide for the whole cluster, as the metadata group keeps it: JSON values under
 * keys, so that two changes of different things never meet.
 *
 * | key | value |
 * |---|---|
 * | `rule/ATTRIBUTE=VALUE` | `{"nodes": […]}`: what carries it belongs to these nodes |
 * | `weight/NODE` | a number: what stands before the node's own weight |
 * | `removed/NODE` | a generation: this start of the node, and those before it, are no members |
 * | `rebalance` | a number: at each new one shards move without limit, once |
 *
 * `null` is the same as absent: the group sets keys and never takes one away.
 */

import { OtlakeError } from '../../base/errors.js'
import { MAX_WEIGHT, type PlacementRule } from '../ring.js'

export const MAX_RULES = 256
export const REBALANCE_KEY = 'rebalance'
const RULE = 'rule/'
const WEIGHT = 'weight/'
const REMOVED = 'removed/'
const MAX_TEXT_BYTES = 256

export interface Placement {
  readonly rules: readonly PlacementRule[]
  readonly weights: ReadonlyMap<string, number>
  /** The last generation that was removed, by name. */
  readonly removed: ReadonlyMap<string, number>
  readonly rebalance: number
}

export const weightKey = (node: string) => `${WEIGHT}${node}`
export const removedKey = (node: string) => `${REMOVED}${node}`

/** The key of a rule. Throws `CONFIG_INVALID` for what cannot be one. */
export function ruleKey(attribute: string, value: string): string {
  const isFine =
    attribute !== '' &&
    !attribute.includes('=') &&
    Buffer.byteLength(attribute) + Buffer.byteLength(value) <= MAX_TEXT_BYTES
  if (!isFine) {
    const message = `a rule is ATTRIBUTE=VALUE of ${MAX_TEXT_BYTES} bytes, such as service.name=checkout`
    throw new OtlakeError('CONFIG_INVALID', message)
  }
  return `${RULE}${attribute}=${value}`
}

/** Reads the cluster's configuration; what it does not know or understand is passed over. */
export function readPlacement(config: Readonly<Record<string, unknown>>): Placement {
  const rules: PlacementRule[] = []
  const weights = new Map<string, number>()
  const removed = new Map<string, number>()
  for (const key of Object.keys(config).sort()) {
    const value = config[key]
    if (value === null || value === undefined) continue
    if (key.startsWith(RULE)) {
      const rule = key.slice(RULE.length)
      const at = rule.indexOf('=')
      const nodes = (value as { nodes?: unknown }).nodes
      if (at < 1 || !Array.isArray(nodes) || rules.length >= MAX_RULES) continue
      rules.push({
        attribute: rule.slice(0, at),
        value: rule.slice(at + 1),
        nodes: nodes.map(String),
      })
    } else if (key.startsWith(WEIGHT) && isWeight(value)) {
      weights.set(key.slice(WEIGHT.length), value)
    } else if (key.startsWith(REMOVED) && typeof value === 'number') {
      removed.set(key.slice(REMOVED.length), value)
    }
  }
  const rebalance = config[REBALANCE_KEY]
  return { rules, weights, removed, rebalance: typeof rebalance === 'number' ? rebalance : 0 }
}

export function isWeight(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value <= MAX_WEIGHT
}
