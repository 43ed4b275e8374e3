/** Nodes on a simulated network: real memberships on virtual time, which crash, pause and restart. */

import type { Clock, Monotonic } from '../../base/clock.js'
import { KeyRing } from '../../cluster/keyring.js'
import { Membership } from '../../cluster/membership.js'
import type { ClusterSettings } from '../../cluster/settings.js'
import { Wire } from '../../cluster/wire.js'
import { SeededRandom } from '../seeded-random.js'
import { VirtualTime } from '../virtual-time.js'
import { SimNetwork } from './sim-network.js'

/** What virtual time 0 is called, in milliseconds since 1970. */
const EPOCH_MS = 1_800_000_000_000

export interface SimNodeOptions {
  cluster?: string
  /** How far its date is off. */
  skewMs?: number
  /** How fast its time passes; 1 as it should. */
  drift?: number
  settings?: Partial<ClusterSettings>
  address?: string
}

export class SimNode {
  readonly membership: Membership
  readonly address: string
  /** What arrived, and ticks that came due, while the node stood still. */
  #held: (() => void)[] | null = null
  #isRunning = true

  constructor(
    readonly name: string,
    readonly options: SimNodeOptions,
    private readonly sim: SimCluster,
    address: string,
  ) {
    this.address = address
    const random = sim.random.fork()
    const { skewMs = 0, drift = 1 } = options
    const elapsed = () => sim.time.now * drift
    const clock: Clock & Monotonic = {
      now: () => EPOCH_MS + skewMs + elapsed(),
      monotonic: elapsed,
      every: (intervalMs, work) => this.#every(intervalMs / drift, work),
      sleep: () => new Promise(() => undefined),
    }
    this.membership = new Membership({
      name,
      cluster: options.cluster ?? 'sim',
      transport: sim.network.open(address, (work) => this.#deliver(work)),
      keys: sim.keys ? new KeyRing(sim.keys, random) : null,
      settings: { ...sim.settings, ...options.settings },
      clock,
      monotonic: clock,
      random,
    })
  }

  get isRunning(): boolean {
    return this.#isRunning
  }

  get isPaused(): boolean {
    return this.#held !== null
  }

  /** Nothing runs until `resume`, as under SIGSTOP: what comes waits. */
  pause(): void {
    this.#held ??= []
  }

  resume(): void {
    const held = this.#held ?? []
    this.#held = null
    for (const work of held) if (this.#isRunning) work()
  }

  /** Ends at once, without a goodbye. */
  crash(): void {
    this.#isRunning = false
    this.#held = null
    void this.membership.close()
  }

  #deliver(work: () => void): void {
    if (this.#held !== null) this.#held.push(work)
    else if (this.#isRunning) work()
  }

  #every(intervalMs: number, work: () => void): () => void {
    let isOn = true
    let isHeld = false
    const next = () => {
      if (!isOn || !this.#isRunning) return
      if (this.#held === null) work()
      else if (!isHeld) {
        // However long it stands still, a timer fires once afterwards, before the sockets are read.
        isHeld = true
        this.#held.unshift(() => {
          isHeld = false
          if (isOn) work()
        })
      }
      this.sim.time.after(intervalMs, next)
    }
    this.sim.time.after(this.sim.random.next() * intervalMs, next)
    return () => {
      isOn = false
    }
  }
}

export class SimCluster {
  readonly time = new VirtualTime()
  readonly random: SeededRandom
  readonly network: SimNetwork
  /** By name; the last start of each. */
  readonly nodes = new Map<string, SimNode>()
  keys: Uint8Array[] | null = null
  settings: Partial<ClusterSettings> = {}
  #addresses = 0

  constructor(readonly seed: number) {
    this.random = new SeededRandom(seed)
    this.network = new SimNetwork(this.time, this.random.fork())
  }

  get running(): SimNode[] {
    return [...this.nodes.values()].filter(({ isRunning }) => isRunning)
  }

  /** Starts a node, which knows nobody yet. */
  start(name: string, options: SimNodeOptions = {}): SimNode {
    const address = options.address ?? `10.0.0.1:${++this.#addresses}`
    const node = new SimNode(name, options, this, address)
    this.nodes.set(name, node)
    return node
  }

  /** Starts nodes that know each other: `a0`, `a1` and so on. */
  boot(size: number, options: SimNodeOptions = {}, settleMs = 5000): SimNode[] {
    const nodes = Array.from({ length: size }, (_, index) => this.start(`a${index}`, options))
    const seed = (nodes[0] as SimNode).address
    for (const node of nodes.slice(1)) {
      this.time.run(10)
      join(node, [seed])
    }
    this.time.run(settleMs)
    return nodes
  }

  /** The same without their joining one by one, which takes long for a thousand. */
  bootAtOnce(size: number): SimNode[] {
    const nodes = Array.from({ length: size }, (_, index) => this.start(`a${index}`))
    const members = nodes.map(({ membership: { self } }) => {
      const { name, address, generation, incarnation } = self
      return { name, address, generation, incarnation, status: 'alive' as const, ...TOLD }
    })
    const about = { sequence: 0, digest: [], fingerprint: new Uint8Array() }
    const body = { kind: 'sync' as const, step: 'done' as const, ...about }
    const message = { from: 'a', address: '10.0.0.1:0', body, members, states: [], counters: [] }
    const everyone = new Wire('sim', null).encode(message)
    for (const { address } of nodes) this.network.inject(address, everyone)
    return nodes
  }
}

/** What of a member's record is empty while it is alive. */
const TOLD = { accuser: '', ageSeconds: 0 }

/** Joins; that no seed answers is for the checkers to find out. */
export function join(node: SimNode, seeds: readonly string[]): void {
  node.membership.join(seeds).catch(() => undefined)
}
