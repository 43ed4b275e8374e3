/**
 * Who does what in a cluster, decided from the members and what the metadata group knows: no I/O,
 * no clock of its own. Every node runs the same and tells its native side the result; safety rests on
 * streams, epochs and quorums, so nodes that see different members for a while lose nothing.
 *
 * - `situation.ts`: what it decides from, and who is fit for what.
 * - `rules.ts`: what operators decided, from the metadata group.
 * - `owners.ts`: the owners of the 1,000 shards, in limited steps.
 * - `files.ts`: where tables' files belong.
 * - `followers.ts`: who holds copies of this node's stream.
 * - `voters.ts`: who votes in the metadata group.
 * - `recoveries.ts`: who recovers which stream, and when again.
 *
 * ```
 *  members (gossip) ─┐
 *                    ├─▶ Controller ─▶ ClusterView ─▶ place()      every node, at each change
 *  metadata (Raft) ──┘              └▶ streams ─────▶ recover()    the one whose turn it is
 * ```
 */

import type { ClusterView } from '../../native/cluster.js'
import { NODE_WIRE } from '../node-state.js'
import { SIGNALS } from '../ring.js'
import { FilePlaces } from './files.js'
import { FollowerChoice } from './followers.js'
import { Owners } from './owners.js'
import { Recoveries } from './recoveries.js'
import { type Placement, readPlacement } from './rules.js'
import {
  type Cast,
  type ControllerSettings,
  cast,
  isPresent,
  type NodeView,
  type Situation,
  takesQueries,
  type Watched,
} from './situation.js'
import { chooseVoters } from './voters.js'

export interface Decision {
  readonly view: ClusterView
  /** Streams that this node is to recover now; tell `recovered` how each went. */
  readonly recover: readonly string[]
  /** Shards that changed their owner in this step, and that still have to. */
  readonly moved: number
  readonly left: number
  /** Shards that this node owns. */
  readonly owned: number
  /** Members of another metadata group: they must not be here. */
  readonly strangers: readonly string[]
  /** Members whose wire versions this node does not speak. */
  readonly incompatible: readonly string[]
  /** The newest wire version that all who are there speak: what they speak to each other. */
  readonly wire: number
  /** Members that are no part of the group any more: they left, or were removed. */
  readonly forgotten: readonly string[]
  readonly placement: Placement
}

interface Seen {
  status: NodeView['status']
  generation: number
  since: number
}

export class Controller {
  readonly #owners: Owners
  readonly #files: FilePlaces
  readonly #followers: FollowerChoice
  readonly #recoveries: Recoveries
  readonly #seen = new Map<string, Seen>()

  constructor(private readonly settings: ControllerSettings) {
    this.#owners = new Owners({
      shards: settings.rebalanceShards,
      intervalMs: settings.rebalanceIntervalMs,
    })
    this.#files = new FilePlaces(settings)
    this.#followers = new FollowerChoice(settings)
    this.#recoveries = new Recoveries(settings.replaceAfterMs)
  }

  decide({ now, self, members, metadata, silent }: Situation): Decision {
    const placement = readPlacement(metadata.config)
    const watched = members.map((member) => this.#watch(now, member))
    this.#forget(members)
    const group = groupOf(self, watched)
    const sorted = sort(watched, self, group, placement)
    const who = cast(now, self, group, sorted.ours)
    const { owners, moved, left } = this.#owners.decide(who, placement.weights, placement.rebalance)
    const isIn = group !== '' && who.byName.get(self)?.group === group
    const voters = isIn ? chooseVoters(who, metadata, this.settings) : [...metadata.voters]
    const view: ClusterView = {
      members: sorted.ours
        // Who left and keeps a seat is one that is expected back.
        .filter(
          ({ name, peer, status }) => peer !== '' && (status !== 'left' || voters.includes(name)),
        )
        .map((member) => ({
          name: member.name,
          address: member.peer,
          alive: isPresent(member),
          queries: takesQueries(member),
        })),
      owners,
      followers: this.#followers.decide(who, silent),
      voters,
      rules: rules(who, placement),
      files: this.#files.decide(who, placement.weights),
    }
    return {
      view,
      // Without a leader no fence can be agreed on.
      recover: isIn && metadata.leader !== '' ? this.#recoveries.decide(who, metadata.streams) : [],
      moved,
      left,
      owned: SIGNALS.reduce(
        (sum, signal) => sum + owners[signal].filter((name) => name === self).length,
        0,
      ),
      strangers: sorted.strangers,
      incompatible: sorted.incompatible,
      wire: Math.min(NODE_WIRE.max, ...sorted.ours.filter(isPresent).map(({ wire }) => wire.max)),
      forgotten: sorted.forgotten,
      placement,
    }
  }

  /** A recovery that `decide` asked for has ended; `isDone`: all of it is readable and sealed. */
  recovered(now: number, stream: string, isDone: boolean): void {
    this.#recoveries.ended(now, stream, isDone)
  }

  /** How long the member has been as it is. A new start is no continuation of the old one. */
  #watch(now: number, member: NodeView): Watched {
    const { name, status, generation } = member
    const seen = this.#seen.get(name)
    const isSame =
      seen !== undefined &&
      seen.generation === generation &&
      // A suspicion that comes and goes does not begin a new life.
      (seen.status === status || (isPresent(seen) && isPresent(member)))
    const since = isSame ? seen.since : now
    this.#seen.set(name, { status, generation, since })
    return { ...member, since }
  }

  #forget(members: readonly NodeView[]): void {
    const names = new Set(members.map(({ name }) => name))
    for (const name of this.#seen.keys()) if (!names.has(name)) this.#seen.delete(name)
  }
}

/** The group that this node belongs to or, before it does, the one that most of the others are in. */
function groupOf(self: string, members: readonly Watched[]): string {
  const own = members.find(({ name }) => name === self)?.group ?? ''
  if (own !== '') return own
  const votes = new Map<string, number>()
  for (const member of members) {
    if (member.group === '' || !isPresent(member)) continue
    votes.set(member.group, (votes.get(member.group) ?? 0) + 1)
  }
  const [most] = [...votes].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
  return most?.[0] ?? ''
}

interface Sorted {
  ours: Watched[]
  strangers: string[]
  incompatible: string[]
  forgotten: string[]
}

function sort(
  members: readonly Watched[],
  self: string,
  group: string,
  { removed }: Placement,
): Sorted {
  const sorted: Sorted = { ours: [], strangers: [], incompatible: [], forgotten: [] }
  for (const member of members) {
    const { name, generation, wire } = member
    if (name === self) sorted.ours.push(member)
    else if (member.status === 'left') {
      sorted.forgotten.push(name)
      sorted.ours.push(member)
    } else if ((removed.get(name) ?? -1) >= generation && !isPresent(member)) {
      sorted.forgotten.push(name)
    } else if (member.group !== '' && group !== '' && member.group !== group) {
      if (isPresent(member)) sorted.strangers.push(name)
    } else if (isPresent(member) && (wire.min > NODE_WIRE.max || wire.max < NODE_WIRE.min)) {
      sorted.incompatible.push(name)
    } else sorted.ours.push(member)
  }
  return sorted
}

/** Rules with the nodes of theirs that can be given something; one without any pins nothing. */
function rules(who: Cast, placement: Placement): ClusterView['rules'] {
  const able = new Set(who.owners.map(({ name }) => name))
  return placement.rules
    .map(({ attribute, value, nodes }) => ({
      attribute,
      value,
      nodes: nodes.filter((name) => able.has(name)),
    }))
    .filter(({ nodes }) => nodes.length > 0)
}
