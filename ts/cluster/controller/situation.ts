/** What the controller decides from: members, what the metadata group knows, and the settings. */

import type { Metadata } from '../../native/cluster.js'
import type { Status } from '../messages.js'
import type { Signal } from '../ring.js'

/** A member, as far as decisions need it. */
export interface NodeView {
  readonly name: string
  readonly status: Status
  /** One start of the node. */
  readonly generation: number
  /** Of the peers' connections; empty: not told yet. */
  readonly peer: string
  readonly roles: readonly string[]
  readonly zone: string
  readonly weight: number
  /** It is about to go: it takes nothing new and gives away what it has. */
  readonly draining: boolean
  /** Whether it takes requests. */
  readonly ready: boolean
  /** The metadata group that it belongs to; empty: none yet. */
  readonly group: string
  /** The stream that this start of it writes; empty: not registered yet. */
  readonly stream: string
  /** The wire versions that it speaks, both included. */
  readonly wire: { readonly min: number; readonly max: number }
}

export interface ControllerSettings {
  readonly copies: Readonly<Record<Signal, number>>
  readonly acks: Readonly<Record<Signal, number>>
  /** How long a dead node keeps its place before another takes it. */
  readonly replaceAfterMs: number
  /** Whether the nodes keep the tables' files on their own disks. */
  readonly keepsFiles: boolean
  /** Shards that may move in each interval. */
  readonly rebalanceShards: number
  readonly rebalanceIntervalMs: number
  /** Voters at most: 1, 3 or 5. */
  readonly voters: number
}

export interface Situation {
  /** Monotonic milliseconds. */
  readonly now: number
  readonly self: string
  /** Everyone who is known, the node itself included. */
  readonly members: readonly NodeView[]
  readonly metadata: Metadata
  /** Followers of this node's stream that do not answer it. */
  readonly silent: ReadonlySet<string>
}

/** A member with how long it has been as it is. */
export interface Watched extends NodeView {
  /** Since when it has this status, in monotonic milliseconds. */
  readonly since: number
}

export const isPresent = ({ status }: { status: Status }) =>
  status === 'alive' || status === 'suspect'

/** Whether a member takes tasks of other nodes' queries. */
export const takesQueries = (member: NodeView) =>
  isPresent(member) && member.ready && !member.draining && member.roles.includes(QUERY_ROLE)

/** Members by name, with what they are fit for in the group `group`. */
export interface Cast {
  readonly now: number
  readonly self: string
  readonly group: string
  readonly byName: ReadonlyMap<string, Watched>
  /** Those who may own shards. */
  readonly owners: readonly Watched[]
  /** Those who may hold copies, vote and recover. */
  readonly holders: readonly Watched[]
}

export const QUERY_ROLE = 'query'
export const OWNER_ROLE = 'processor'
export const HOLDER_ROLE = 'storage'

/** Sorts members by what they are fit for. */
export function cast(now: number, self: string, group: string, members: readonly Watched[]): Cast {
  const fit = members.filter(
    (member) =>
      isPresent(member) && !member.draining && member.peer !== '' && member.group === group,
  )
  return {
    now,
    self,
    group,
    byName: new Map(members.map((member) => [member.name, member])),
    // Who has no stream yet would refuse what it is sent.
    owners: fit.filter(({ roles, stream }) => roles.includes(OWNER_ROLE) && stream !== ''),
    holders: fit.filter(({ roles }) => roles.includes(HOLDER_ROLE)),
  }
}
