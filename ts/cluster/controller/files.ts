/**
 * Where tables' files belong, where the nodes keep them on their own disks: a file's name hashes to a
 * slot, and a slot has nodes as a shard has replicas: by the ring, with its weights and zones. A node
 * that is away keeps its slots for `replaceAfterMs`, so that a restart moves nothing.
 */

import { Ring, type RingNode } from '../ring.js'
import {
  type Cast,
  type ControllerSettings,
  HOLDER_ROLE,
  isPresent,
  type Watched,
} from './situation.js'

/** Slots of files: the places of as many shards of spans. */
export const FILE_SLOTS = 128
/** Copies at the least: with one, a lost disk is lost rows. */
const LEAST_COPIES = 2

export class FilePlaces {
  #key = ''
  #slots: string[][] = []

  constructor(
    private readonly settings: Pick<ControllerSettings, 'copies' | 'replaceAfterMs' | 'keepsFiles'>,
  ) {}

  /** By slot, the nodes that should have its files, best first; none where files are elsewhere. */
  decide(cast: Cast, weights: ReadonlyMap<string, number>): string[][] {
    if (!this.settings.keepsFiles) return []
    const nodes = [...cast.byName.values()]
      .filter((member) => this.#holds(cast, member))
      .map(
        ({ name, zone, weight }): RingNode => ({
          name,
          zone,
          weight: weights.get(name) ?? weight,
        }),
      )
      .sort((a, b) => (a.name < b.name ? -1 : 1))
    const key = JSON.stringify(nodes)
    if (key !== this.#key) {
      this.#key = key
      const ring = new Ring(nodes)
      const copies = Math.max(LEAST_COPIES, ...Object.values(this.settings.copies))
      this.#slots = Array.from({ length: FILE_SLOTS }, (_, number) =>
        ring.replicas({ signal: 'spans', number }, copies),
      )
    }
    return this.#slots
  }

  #holds(cast: Cast, member: Watched): boolean {
    const { roles, status, draining, peer, group, since } = member
    if (!roles.includes(HOLDER_ROLE) || status === 'left' || draining || peer === '') return false
    if (group !== cast.group && group !== '') return false
    return isPresent(member) || cast.now - since < this.settings.replaceAfterMs
  }
}
