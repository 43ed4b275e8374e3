/**
 * What must hold in every course of events, whatever fails:
 *
 * - `incarnations only grow`: nobody ever hears a lower one of a member than before.
 * - `a left member stays gone`: no start that said goodbye is alive to who has heard it.
 * - `clusters stay apart`: nobody knows a member of a cluster of another name.
 * - `the living stay` (in mild weather): nobody who runs is declared dead.
 * - `all know all` (after healing): who runs is alive to everyone who runs; who does not is not.
 * - `all know the same` (after healing): state and counters are the same everywhere.
 */

import type { Member } from '../../cluster/membership.js'
import type { SimCluster, SimNode } from './sim-cluster.js'

export class Violation extends Error {
  constructor(
    readonly checker: string,
    message: string,
  ) {
    super(`${checker}: ${message}`)
  }
}

/** Watches a node from its start; the first thing that must not be is kept in `found`. */
export class Watcher {
  readonly found: Violation[] = []

  /** `note` hears of every event, for the trace; `mayFail` says whose death may be declared. */
  constructor(
    private readonly note: (text: string) => void,
    private readonly mayFail: (name: string) => boolean,
  ) {}

  watch(node: SimNode): void {
    const highest = new Map<string, number>()
    const gone = new Map<string, number>()
    const see = (what: string, member: Member) => {
      const { name, incarnation, generation } = member
      this.note(`${node.name} ${what} ${name} ${incarnation}`)
      const before = highest.get(name) ?? 0
      if (incarnation < before) {
        this.#violated('incarnations only grow', `${node.name}: ${name} fell to ${incarnation}`)
      }
      highest.set(name, Math.max(before, incarnation))
      if (what === 'failed' && !this.mayFail(name)) {
        this.#violated('the living stay', `${node.name} declared ${name} dead`)
      }
      if (what === 'left') gone.set(name, generation)
      if ((what === 'alive' || what === 'suspect') && gone.get(name) === generation) {
        this.#violated('a left member stays gone', `${node.name}: ${name} is ${what} again`)
      }
    }
    const { membership } = node
    membership.on('alive', (member) => see('alive', member))
    membership.on('suspect', (member) => see('suspect', member))
    membership.on('failed', (member) => see('failed', member))
    membership.on('left', (member) => see('left', member))
    membership.on('updated', (member) => see('updated', member))
  }

  /** Clusters are told apart by the first letter of their members' names. */
  checkClusters(sim: SimCluster): void {
    for (const { name, membership } of sim.running) {
      const stranger = membership.members().find((member) => member.name[0] !== name[0])
      if (stranger) this.#violated('clusters stay apart', `${name} knows ${stranger.name}`)
    }
  }

  #violated(checker: string, message: string): void {
    this.found.push(new Violation(checker, message))
  }
}

/** Why the nodes of a healed cluster do not agree yet; null: they do. */
export function disagreement(nodes: SimNode[], left: ReadonlySet<string>): Violation | null {
  const running = nodes.filter(({ name, isRunning }) => isRunning && !left.has(name))
  const byName = new Map(running.map((node) => [node.name, node]))
  for (const { name: observer, membership } of running) {
    const known = new Map(membership.members().map((member) => [member.name, member]))
    for (const { name, membership: own } of running) {
      const status = known.get(name)?.status
      const isRight = status === 'alive' && known.get(name)?.incarnation === own.self.incarnation
      if (!isRight) return new Violation('all know all', `${observer}: ${name} is ${status}`)
    }
    for (const { name, status } of known.values()) {
      if (byName.has(name) || status === 'dead' || status === 'left') continue
      return new Violation('all know all', `${observer}: ${name}, which is gone, is ${status}`)
    }
  }
  return differentState(running)
}

function differentState(running: SimNode[]): Violation | null {
  const text = (registers: ReadonlyMap<string, string>) => JSON.stringify([...registers].sort())
  const [first] = running
  for (const { name: observer, membership } of running) {
    for (const { name, membership: own } of running) {
      if (text(membership.registers(name)) === text(own.registers(name))) continue
      return new Violation('all know the same', `${observer} has another state of ${name}`)
    }
    if (membership.counter('hits') === first?.membership.counter('hits')) continue
    return new Violation('all know the same', `${observer} has another count`)
  }
  return null
}
