/** The cluster as one node sees it: what the API, the control calls and the metrics tell. */

import { fromNodeRegisters, NODE_WIRE, wireOf } from '../../cluster/node-state.js'
import { SIGNALS } from '../../cluster/ring.js'
import type { ReplicationStatus, StreamRecord } from '../../native/cluster.js'
import type { ClusterPart, ClusterState } from './part.js'

export interface ClusterStatus {
  /** The node that tells it. */
  node: string
  cluster: string
  state: ClusterState
  ready: boolean
  /** The wire version that the members speak to each other. */
  wire: number
  /** The metadata group; empty while the node knows of none. */
  group: string
  leader: string
  term: number
  voters: string[]
  members: MemberStatus[]
  /** Streams that are not in files yet. */
  streams: StreamRecord[]
  replication: ReplicationStatus
  shards: { owned: number; left: number }
  /** How often each kind of fault was found, and those that are not over. */
  faults: {
    counts: Record<string, number>
    open: { kind: string; member: string; subject: string }[]
  }
  localHealth: number
  problems: string[]
}

export interface MemberStatus {
  name: string
  status: string
  address: string
  addresses: Record<string, string>
  zone: string
  weight: number
  roles: string[]
  version: string
  wire: string
  load: number
  disk: number
  ready: boolean
  draining: boolean
  group: string
  stream: string
  /** Shards that it owns, as this node sees it. */
  shards: number
  voter: boolean
  failing: string[]
}

/** Throws `NODE_STATE` before the node has joined. */
export function clusterStatus(part: ClusterPart, cluster: string): ClusterStatus {
  const { membership, reconciler, round } = part
  const { faults, localHealth } = membership
  const metadata = round?.metadata
  const owners = SIGNALS.flatMap((signal) => round?.decision.view.owners[signal] ?? [])
  const owned = new Map<string, number>()
  for (const name of owners) owned.set(name, (owned.get(name) ?? 0) + 1)
  const members = membership.members().map((member): MemberStatus => {
    const registers = membership.registers(member.name)
    const { state } = member
    const { weight, ready, draining, group, stream } = fromNodeRegisters(registers)
    const wire = wireOf(registers)
    return {
      name: member.name,
      status: member.status,
      address: member.address,
      addresses: { ...state.addresses },
      zone: state.zone,
      weight: round?.decision.placement.weights.get(member.name) ?? weight,
      roles: [...state.roles],
      version: state.version,
      wire: `${wire.min}-${wire.max}`,
      load: state.load,
      disk: state.disk,
      ready,
      draining,
      group,
      stream,
      shards: owned.get(member.name) ?? 0,
      voter: metadata?.voters.includes(member.name) ?? false,
      failing: Object.entries(state.services)
        .filter(([, status]) => status !== 'ok')
        .map(([service]) => service),
    }
  })
  return {
    node: membership.self.name,
    cluster,
    state: part.state,
    ready: part.isReady,
    wire: round?.decision.wire ?? NODE_WIRE.max,
    group: metadata?.group ?? '',
    leader: metadata?.leader ?? '',
    term: metadata?.term ?? 0,
    voters: metadata?.voters ?? [],
    members: members.sort((a, b) => (a.name < b.name ? -1 : 1)),
    streams: metadata?.streams ?? [],
    replication: reconciler.last?.replication ?? {
      stream: '',
      followers: [],
      degraded: false,
      pending: 0,
      overdue: 0,
      fenced: null,
    },
    shards: { owned: owned.get(membership.self.name) ?? 0, left: round?.decision.left ?? 0 },
    faults: {
      counts: { ...faults.counts },
      open: faults.open.map(({ kind, member, subject }) => ({ kind, member, subject })),
    },
    localHealth,
    problems: part.problems,
  }
}
