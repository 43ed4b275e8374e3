/** What a cluster's node does now and then: it says how it is, and writes down whom it knows. */

import type { Monotonic } from '../../base/clock.js'
import { OtlakeError } from '../../base/errors.js'
import type { Membership } from '../../cluster/membership.js'
import type { Logger } from '../node.js'
import { keepMembers } from './identity.js'
import { Reporter, type Sources } from './reports.js'

export interface Reporting {
  readonly membership: Membership
  readonly sources: Sources
  readonly monotonic: Monotonic
  readonly log: Logger
}

/** What says how the node is, each time that it is called. It never rejects. */
export function reporting({ membership, sources, monotonic, log }: Reporting): () => Promise<void> {
  const reporter = new Reporter(sources, monotonic)
  return async () => {
    try {
      membership.setLocalState(await reporter.report())
    } catch (thrown) {
      log.debug({}, `nothing to tell: ${OtlakeError.from(thrown).message}`)
    }
  }
}

/**
 * Writes down who is known, for the next start. Where nobody is known any more, whom the last start
 * knew is better than nothing. It never rejects.
 */
export async function keepKnown(
  dataDir: string,
  membership: Membership,
  log: Logger,
): Promise<void> {
  const { name } = membership.self
  const addresses = membership
    .members()
    .filter((member) => member.name !== name && member.status !== 'left')
    .map(({ address }) => address)
  if (addresses.length === 0) return
  await keepMembers(dataDir, addresses).catch((thrown) => {
    log.warn({}, `the known members were not written down: ${OtlakeError.from(thrown).message}`)
  })
}
