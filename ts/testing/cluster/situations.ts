/** Situations for the controller's tests: members as they are changed, and time that a test moves. */

import { Controller, type Decision } from '../../cluster/controller/controller.js'
import type { ControllerSettings, NodeView } from '../../cluster/controller/situation.js'
import type { Metadata, StreamRecord } from '../../native/cluster.js'

export const SETTINGS: ControllerSettings = {
  copies: { spans: 3, metrics: 2, logs: 2 },
  acks: { spans: 2, metrics: 2, logs: 1 },
  replaceAfterMs: 30_000,
  keepsFiles: false,
  rebalanceShards: 100,
  rebalanceIntervalMs: 1000,
  voters: 5,
}

export const streamOf = (name: string, generation = 1) => `${name}/${generation}`

/** A member that is ready, unless something else is said. */
export function member(name: string, changes: Partial<NodeView> = {}): NodeView {
  const generation = changes.generation ?? 1
  return {
    name,
    status: 'alive',
    generation,
    peer: `${name}:4322`,
    roles: ['gateway', 'processor', 'storage', 'query'],
    zone: '',
    weight: 1,
    draining: false,
    ready: true,
    group: 'g',
    stream: streamOf(name, generation),
    wire: { min: 1, max: 1 },
    ...changes,
  }
}

/** What one node sees of a cluster. */
export class Scene {
  now = 1_000_000
  readonly members = new Map<string, NodeView>()
  metadata: Metadata
  readonly controller: Controller
  /** Followers that do not answer this node. */
  readonly silent = new Set<string>()
  /** Streams whose recovery this node was told to begin, in order. */
  readonly begun: string[] = []

  constructor(
    readonly self: string,
    names: readonly string[],
    settings: Partial<ControllerSettings> = {},
  ) {
    this.controller = new Controller({ ...SETTINGS, ...settings })
    for (const name of names) this.members.set(name, member(name))
    this.metadata = {
      group: 'g',
      leader: self,
      term: 1,
      voters: [],
      learners: [],
      refused: {},
      failure: '',
      streams: names.map((name) => this.stream(streamOf(name), name)),
      config: {},
      services: {},
    }
  }

  stream(stream: string, owner: string, changes: Partial<StreamRecord> = {}): StreamRecord {
    return { stream, owner, epoch: 1, state: 'open', by: '', followers: [], ...changes }
  }

  change(name: string, changes: Partial<NodeView>): void {
    this.members.set(name, { ...(this.members.get(name) ?? member(name)), ...changes })
  }

  set(metadata: Partial<Metadata>): void {
    this.metadata = { ...this.metadata, ...metadata }
  }

  decide(): Decision {
    const { now, self, metadata, silent } = this
    const members = [...this.members.values()]
    const decision = this.controller.decide({ now, self, members, metadata, silent })
    this.begun.push(...decision.recover)
    return decision
  }

  /** Lets time pass in steps of half a second, deciding at each; the last decision. */
  pass(ms: number): Decision {
    const STEP_MS = 500
    for (let passed = 0; passed < ms; passed += STEP_MS) {
      this.now += STEP_MS
      this.decide()
    }
    return this.decide()
  }
}

/** How many shards each owns. */
export function counts({ view }: Decision): Record<string, number> {
  const counted: Record<string, number> = {}
  for (const name of Object.values(view.owners).flat()) counted[name] = (counted[name] ?? 0) + 1
  return counted
}
