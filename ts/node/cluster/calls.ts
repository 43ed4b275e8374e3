/** What a cluster's node answers to the control calls of `otlake cluster` and `otlake shard`. */

import { relative } from 'node:path'
import type { Clock } from '../../base/clock.js'
import { OtlakeError } from '../../base/errors.js'
import {
  isWeight,
  MAX_RULES,
  REBALANCE_KEY,
  removedKey,
  ruleKey,
  weightKey,
} from '../../cluster/controller/rules.js'
import { isPresent } from '../../cluster/controller/situation.js'
import { MAX_WEIGHT, SIGNALS } from '../../cluster/ring.js'
import type { Calls } from '../control.js'
import type { ClusterPart } from './part.js'
import { clusterStatus } from './status.js'

/** Streams that one call recovers. */
const MAX_TARGETS = 1024
/** Files that one call asks about: names and answer fit into a message. */
export const MAX_KEYS = 4096

export interface CallsOptions {
  readonly part: () => ClusterPart
  readonly cluster: string
  readonly dataDir: string
  readonly clock: Clock
  /** Ends the node, once it has drained. */
  readonly leave: () => void
}

export function clusterCalls({ part, cluster, dataDir, clock, leave }: CallsOptions): Calls {
  return {
    ClusterStatus: async () => statusMessage(part(), cluster),
    ClusterDrain: async () => {
      await part().drain()
      return {}
    },
    ClusterLeave: async () => {
      await part().drain()
      leave()
      return {}
    },
    ClusterRemove: async ({ node }: { node: string }) => {
      await remove(part(), node)
      return {}
    },
    ClusterRecover: async ({ target }: { target: string }) => recover(part(), target),
    ListShards: async ({ latest }: { latest: boolean }) => {
      if (latest) await catchUp(part())
      return listShards(part())
    },
    PinShards: async ({ rule }: { rule: Rule | null }) => {
      await pin(part(), rule)
      return {}
    },
    UnpinShards: async ({ attribute, value }: { attribute: string; value: string }) => {
      await unpin(part(), attribute, value)
      return {}
    },
    WeighNode: async ({ node, weight }: { node: string; weight: number }) => {
      await weigh(part(), node, weight)
      return {}
    },
    RebalanceShards: async () => {
      await part().native.configure(REBALANCE_KEY, JSON.stringify(clock.now()))
      return {}
    },
    HoldLogs: async ({ table }: { table: string }) => {
      const logs = await part().native.holdLogs(table || null)
      return { node: part().membership.self.name, logs }
    },
    LendFile: async ({ key }: { key: string }) => {
      const lent = await part().native.lend(key)
      return lent === null
        ? { path: '', sums: '' }
        : { path: relative(dataDir, lent.path), sums: lent.sums }
    },
    FindCopies: async ({ keys }: { keys?: string[] }) => findCopies(part(), keys ?? []),
  }
}

async function findCopies(part: ClusterPart, keys: string[]): Promise<object> {
  if (keys.length > MAX_KEYS) throw invalid(`one call asks about ${MAX_KEYS} files at most`)
  return part.native.findCopies(keys)
}

interface Rule {
  attribute: string
  value: string
  nodes: string[]
}

function invalid(message: string): OtlakeError {
  return new OtlakeError('CONFIG_INVALID', message)
}

/** A member by its name. Throws `CONFIG_INVALID` with the names there are. */
function known(part: ClusterPart, name: string) {
  const member = part.membership.member(name)
  if (member !== null) return member
  const names = part.membership.members().map((each) => each.name)
  throw invalid(`there is no member \`${name}\`: ${names.sort().join(', ')} are`)
}

async function remove(part: ClusterPart, name: string): Promise<void> {
  const member = known(part, name)
  if (isPresent(member)) {
    throw invalid(`${name} is ${member.status}: stop it, or have it leave, before it is removed`)
  }
  await part.native.configure(removedKey(name), JSON.stringify(member.generation))
}

/** Streams whose writer is gone, of a node or all, or the one that is named. */
function targets(part: ClusterPart, target: string): string[] {
  const round = part.round
  if (round === null) throw new OtlakeError('NODE_STATE', 'the node has not joined yet')
  const writes = new Map(
    round.members.filter(isPresent).map(({ name, stream }) => [name, stream] as const),
  )
  const open = round.metadata.streams.filter(({ state }) => state !== 'sealed')
  const named = open.filter(({ stream }) => stream === target)
  if (named.length > 0) {
    const [{ owner, stream }] = named as [(typeof named)[number]]
    if (writes.get(owner) === stream) {
      throw invalid(
        `${owner} is there and writes ${stream}: stop it before its stream is recovered`,
      )
    }
    return [stream]
  }
  if (target !== '' && !open.some(({ owner }) => owner === target)) {
    throw invalid(`\`${target}\` is no stream that is open, and no node with one`)
  }
  return open
    .filter(({ owner, stream }) => writes.get(owner) !== stream)
    .filter(({ owner }) => target === '' || owner === target)
    .map(({ stream }) => stream)
    .slice(0, MAX_TARGETS)
}

async function recover(part: ClusterPart, target: string): Promise<object> {
  const recoveries = []
  for (const stream of targets(part, target)) {
    try {
      const { complete, records, missingFrom } = await part.reconciler.recover(stream)
      recoveries.push({ stream, complete, records, missing_from: missingFrom, error: '' })
    } catch (thrown) {
      const { code, message } = OtlakeError.from(thrown)
      const error = `${code}: ${message}`
      recoveries.push({ stream, complete: false, records: 0, missing_from: [], error })
    }
  }
  return { recoveries }
}

async function pin(part: ClusterPart, rule: Rule | null): Promise<void> {
  if (rule === null || rule.nodes.length === 0) {
    throw invalid('name the nodes of the rule with --nodes')
  }
  const key = ruleKey(rule.attribute, rule.value)
  for (const node of rule.nodes) known(part, node)
  const rules = part.round?.decision.placement.rules ?? []
  const isNew = !rules.some(
    ({ attribute, value }) => attribute === rule.attribute && value === rule.value,
  )
  if (isNew && rules.length >= MAX_RULES) {
    throw invalid(`there are ${MAX_RULES} rules already: unpin one`)
  }
  await part.native.configure(key, JSON.stringify({ nodes: [...new Set(rule.nodes)] }))
}

async function unpin(part: ClusterPart, attribute: string, value: string): Promise<void> {
  const rules = part.round?.decision.placement.rules ?? []
  if (!rules.some((rule) => rule.attribute === attribute && rule.value === value)) {
    throw invalid(`there is no rule \`${attribute}=${value}\`: \`otlake shard list\` shows them`)
  }
  await part.native.configure(ruleKey(attribute, value), 'null')
}

async function weigh(part: ClusterPart, node: string, weight: number): Promise<void> {
  known(part, node)
  if (weight !== 0 && !isWeight(weight)) {
    throw invalid(`a weight is above 0 and up to ${MAX_WEIGHT}; 0 gives the node its own again`)
  }
  await part.native.configure(weightKey(node), weight === 0 ? 'null' : JSON.stringify(weight))
}

/** Has the node's last round know every change of weights and rules that was answered before. */
async function catchUp(part: ClusterPart): Promise<void> {
  await part.native.catchUp()
  const before = part.round
  part.reconciler.round()
  if (part.round === before) {
    throw new OtlakeError('NODE_STATE', 'the node cannot tell the cluster now: its log says why')
  }
}

function listShards(part: ClusterPart): object {
  const round = part.round
  if (round === null) throw new OtlakeError('NODE_STATE', 'the node has not joined yet')
  const { view, placement, left } = round.decision
  const owners = SIGNALS.flatMap((signal) => view.owners[signal])
  // A weight that was given is told, whether the node owns anything now or not.
  const names = [...new Set([...owners, ...placement.weights.keys()])].sort()
  const own = new Map(round.members.map(({ name, weight }) => [name, weight]))
  const of = (name: string, signal: (typeof SIGNALS)[number]) =>
    view.owners[signal].flatMap((owner, number) => (owner === name ? [number] : []))
  return {
    owners: names.map((node) => ({
      node,
      weight: placement.weights.get(node) ?? own.get(node) ?? 1,
      spans: of(node, 'spans'),
      metrics: of(node, 'metrics'),
      logs: of(node, 'logs'),
    })),
    rules: placement.rules.map(({ attribute, value, nodes }) => ({ attribute, value, nodes })),
    left,
  }
}

function statusMessage(part: ClusterPart, cluster: string): object {
  const status = clusterStatus(part, cluster)
  return {
    ...status,
    shards_left: status.shards.left,
    degraded: status.replication.degraded,
    followers: status.replication.followers.map((follower) => ({
      name: follower.name,
      signal: follower.signal,
      lag_records: follower.lagRecords,
      lag_bytes: follower.lagBytes,
      connected: follower.connected,
    })),
  }
}
