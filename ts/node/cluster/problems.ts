/** What is not as it should be with a node's place in its cluster, in words that name the fix. */

import { isPresent } from '../../cluster/controller/situation.js'
import { SIGNALS } from '../../cluster/ring.js'
import type { ClusterQuorum, TenantQuorum } from '../../native/cluster.js'
import type { Round } from './reconciler.js'

export interface Place {
  readonly round: Round
  readonly self: string
  readonly quorum: ClusterQuorum
  readonly tenants: readonly TenantQuorum[]
  readonly allowDegraded: boolean
  /** The address of another node of the same name. */
  readonly conflict: string | null
  readonly isRegistered: boolean
  /** Others have taken its stream over. */
  readonly isFenced: boolean
  /** Why there is no metadata group; null: there is one. */
  readonly waiting: string | null
  readonly lastError: string | null
}

export function problems(place: Place): string[] {
  const { round, self, waiting, conflict, lastError } = place
  const { decision, metadata, members } = round
  const found: string[] = []
  if (conflict !== null) {
    found.push(`another node at ${conflict} is called ${self}, too: give one another cluster.node`)
  }
  if (place.isFenced) {
    found.push('others took this node for dead and its stream over: it starts anew with another')
  }
  if (metadata.failure !== '') {
    found.push(`its part of the metadata group has stopped: ${metadata.failure}; restart the node`)
  }
  for (const [name, why] of Object.entries(metadata.refused)) {
    found.push(`${name} cannot be in the metadata group: ${why}`)
  }
  if (waiting !== null) found.push(waiting)
  else if (metadata.leader === '') {
    const voters = metadata.voters.join(', ')
    found.push(`the metadata group has no leader: a majority of its voters (${voters}) has to run`)
  }
  if (waiting === null && !place.isRegistered) {
    found.push(lastError ?? 'the metadata group has not registered this node yet')
  }
  const others = members.filter(({ name, status }) => name !== self && status !== 'left')
  if (others.length > 0 && !others.some(isPresent)) {
    found.push('no other node answers: check the network, and that they run')
  }
  if (decision.strangers.length > 0) {
    const names = decision.strangers.join(', ')
    found.push(`${names} belong to another metadata group: two clusters have one name and keys`)
  }
  if (decision.incompatible.length > 0) {
    const names = decision.incompatible.join(', ')
    found.push(`${names} speak no wire version that this node does: upgrade one release at a time`)
  }
  if (waiting === null && !place.allowDegraded) found.push(...lacking(place))
  return found
}

/** Tenants that are named in one problem, at most. */
const NAMED = 5

/** Signals that cannot be acknowledged: to anybody, or to some tenants. */
function lacking({ round, quorum, tenants, self }: Place): string[] {
  const present = new Set(round.members.filter(isPresent).map(({ name }) => name))
  return SIGNALS.flatMap((signal) => {
    const followers = round.decision.view.followers[signal].filter((name) => present.has(name))
    const copies = 1 + followers.filter((name) => name !== self).length
    const own = tenants.filter((tenant) => tenant.signal === signal)
    const refused = (whose: string, acks: number) =>
      `${whose} are refused: ${acks} copies are needed and ${copies} can be had; start more nodes`
    const found: string[] = []
    const { acks } = quorum[signal]
    if (copies < acks) {
      const others = own.some((tenant) => tenant.acks <= copies)
      found.push(refused(others ? `${signal} of most tenants` : signal, acks))
    }
    const lacks = own.filter(
      (tenant) => tenant.acks > copies && !(copies < acks && tenant.acks <= acks),
    )
    for (const needed of new Set(lacks.map((tenant) => tenant.acks))) {
      const names = lacks.filter((tenant) => tenant.acks === needed).map(({ tenant }) => tenant)
      const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : ''
      const whose = `${signal} of tenant ${names.slice(0, NAMED).join(', ')}${more}`
      found.push(refused(whose, needed))
    }
    return found
  })
}
