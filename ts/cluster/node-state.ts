/**
 * What a node of an otlake cluster says of itself beside `LocalState`: registers of its own. They
 * decide who owns, follows, votes and recovers (`controller/`), so each is told as soon as it changes.
 */

import type { NodeView } from './controller/situation.js'
import type { Member } from './membership.js'
import { MAX_WEIGHT } from './ring.js'

/**
 * The versions of what nodes say to each other beside gossip: the peers' connections, the frames of
 * replication and the metadata group's log. A node takes part with those that speak one of the
 * same; the newest one that all members speak is used.
 */
export const NODE_WIRE = { min: 1, max: 1 } as const

/** What a node says that is in no group: an answer, where saying nothing is none. */
const NO_GROUP = '-'

/** How a member names the address of its peers' connections among its addresses. */
export const PEER_ADDRESS = 'peer'

export interface NodeState {
  readonly weight: number
  readonly draining: boolean
  /** The metadata group; empty: none yet. */
  readonly group: string
  /** The stream that this start writes; empty: not registered yet. */
  readonly stream: string
  /** Whether it takes requests. */
  readonly ready: boolean
}

/** The registers of what is given; the rest stays as it was. */
export function toNodeRegisters(state: Partial<NodeState>): Map<string, string> {
  const registers = new Map<string, string>()
  if (state.weight !== undefined) registers.set('weight', String(state.weight))
  if (state.draining !== undefined) registers.set('draining', state.draining ? 'yes' : 'no')
  if (state.group !== undefined) registers.set('group', state.group || NO_GROUP)
  if (state.stream !== undefined) registers.set('stream', state.stream)
  if (state.ready !== undefined) registers.set('ready', state.ready ? 'yes' : 'no')
  return registers
}

/** The register of the wire versions, which never changes in one start. */
export function wireRegister(): [string, string] {
  return ['wire', `${NODE_WIRE.min}-${NODE_WIRE.max}`]
}

/** What registers tell; what a member has not said is empty, and its weight 1. */
export function fromNodeRegisters(registers: ReadonlyMap<string, string>): NodeState {
  const weight = Number(registers.get('weight') ?? 1)
  const group = registers.get('group') ?? ''
  return {
    weight: weight > 0 && weight <= MAX_WEIGHT ? weight : 1,
    draining: registers.get('draining') === 'yes',
    group: group === NO_GROUP ? '' : group,
    stream: registers.get('stream') ?? '',
    ready: registers.get('ready') === 'yes',
  }
}

/** Whether a member has said that it is in no metadata group. */
export function saysNoGroup(registers: ReadonlyMap<string, string>): boolean {
  return registers.get('group') === NO_GROUP
}

/** The wire versions that a member says; one that says none has those of the first release. */
export function wireOf(registers: ReadonlyMap<string, string>): { min: number; max: number } {
  const [, min, max] = /^(\d{1,9})-(\d{1,9})$/.exec(registers.get('wire') ?? '') ?? []
  return min === undefined ? { min: 1, max: 1 } : { min: Number(min), max: Number(max) }
}

/** A member, as the controller sees it. */
export function nodeView(member: Member, registers: ReadonlyMap<string, string>): NodeView {
  const { name, status, generation, state } = member
  const { weight, draining, group, stream, ready } = fromNodeRegisters(registers)
  return {
    name,
    status,
    generation,
    peer: state.addresses[PEER_ADDRESS] ?? '',
    roles: state.roles,
    zone: state.zone,
    weight,
    draining,
    ready,
    group,
    stream,
    wire: wireOf(registers),
  }
}
