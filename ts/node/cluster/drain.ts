/** When a node that drains has given everything away, as far as its last round shows. */

import { SIGNALS } from '../../cluster/ring.js'
import type { ClusterQuorum } from '../../native/cluster.js'
import type { Round } from './reconciler.js'

/** Whether there is nobody who could take anything. */
export function isLast({ members }: Round, self: string): boolean {
  return !members.some(
    ({ name, status, stream, draining }) =>
      name !== self && status === 'alive' && stream !== '' && !draining,
  )
}

/** Whether others own, follow and vote where this node did, as far as there are any who can. */
export function isGivenAway(round: Round, self: string, quorum: ClusterQuorum): boolean {
  if (isLast(round, self)) return true
  const { decision, metadata, members } = round
  const others = members.filter(
    ({ name, status, draining }) => name !== self && status === 'alive' && !draining,
  )
  // Each of the others needs so many beside itself.
  const canReplace = others.length >= Math.max(...SIGNALS.map((signal) => quorum[signal].copies))
  const follows = metadata.streams.some(
    ({ state, owner, followers }) => state === 'open' && owner !== self && followers.includes(self),
  )
  const votes = metadata.voters.includes(self) && !decision.view.voters.includes(self)
  return decision.owned === 0 && !votes && !(canReplace && follows)
}
