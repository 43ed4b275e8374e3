/**
 * One course of events from one seed: a cluster, a neighbour of another name on the same network,
 * a minute of faults, healing, and the checkers.
 */

import { createHash } from 'node:crypto'
import { pick, shuffle } from '../../base/random.js'
import type { ClusterSettings } from '../../cluster/settings.js'
import type { SeededRandom } from '../seeded-random.js'
import { disagreement, type Violation, Watcher } from './checkers.js'
import { join, SimCluster, type SimNode, type SimNodeOptions } from './sim-cluster.js'
import { FINE_NETWORK, type Tamper } from './sim-network.js'

export interface StormOptions {
  seed: number
  size: number
  /** A broken protocol, made of what its nodes would send. */
  tamper?: Tamper
  settings?: Partial<ClusterSettings>
  /** Of another cluster's name, told the same addresses. */
  foreign?: number
  /** Only what a healthy cluster sees: loss up to 5%, delays up to 50 ms, pauses up to 1 s. */
  isMild?: boolean
}

export interface StormResult {
  violation: Violation | null
  /** Over everything that was sent and that happened. */
  trace: string
  messages: number
}

const STORM_MS = 60_000
/** How long a healed cluster may take until all agree. */
const HEAL_MS = 180_000
const HEAL_STEP_MS = 2000
/** How long it must stay so. */
const CALM_MS = 10_000
const MAX_SKEW_MS = 60_000
const MAX_DRIFT = 0.02

export function storm(options: StormOptions): StormResult {
  return new Storm(options).run()
}

class Storm {
  readonly #sim: SimCluster
  readonly #random: SeededRandom
  readonly #watcher: Watcher
  readonly #hash = createHash('sha256')
  readonly #left = new Set<string>()
  #messages = 0
  #newcomers = 0

  constructor(private readonly options: StormOptions) {
    const sim = new SimCluster(options.seed)
    this.#sim = sim
    this.#random = sim.random.fork()
    this.#watcher = new Watcher(
      (text) => this.#hash.update(`${sim.time.now} ${text}\n`),
      () => options.isMild !== true,
    )
    sim.settings = options.settings ?? {}
    // Tampering reads what is sent.
    if (options.tamper) sim.network.tamper = options.tamper
    else if (this.#random.chance(0.25)) sim.keys = [this.#random.bytes(32)]
    sim.network.onSend = (from, to, bytes) => {
      this.#messages++
      this.#hash.update(`${sim.time.now} ${from} ${to} `).update(bytes)
    }
  }

  run(): StormResult {
    const { size, foreign = 2 } = this.options
    for (let index = 0; index < size; index++) this.#start(`a${index}`)
    for (let index = 0; index < foreign; index++) this.#start(`b${index}`, { cluster: 'other' })
    this.#sim.time.run(3000)
    for (const end = this.#sim.time.now + STORM_MS; this.#sim.time.now < end; ) {
      if (this.options.isMild) this.#mildWeather()
      else this.#mischief()
      this.#sim.time.run(this.#random.between(200, 5000))
      this.#watcher.checkClusters(this.#sim)
    }
    this.#heal()
    const violation = this.#watcher.found[0] ?? this.#settle()
    return { violation, trace: this.#hash.digest('hex'), messages: this.#messages }
  }

  get #ours(): SimNode[] {
    return [...this.#sim.nodes.values()].filter(({ name }) => name.startsWith('a'))
  }

  get #present(): SimNode[] {
    return this.#ours.filter(({ name, isRunning }) => isRunning && !this.#left.has(name))
  }

  #any(nodes: SimNode[]): SimNode | undefined {
    return nodes[pick(this.#random, nodes.length)]
  }

  /** Starts a node that asks all others, the neighbour's too, whom they know. */
  #start(name: string, options: SimNodeOptions = {}): void {
    const skewMs = this.#random.between(-MAX_SKEW_MS, MAX_SKEW_MS)
    const drift = 1 + this.#random.between(-MAX_DRIFT, MAX_DRIFT)
    const node = this.#sim.start(name, { skewMs, drift, ...options })
    this.#watcher.watch(node)
    this.#left.delete(name)
    const others = this.#sim.running.filter((other) => other !== node)
    join(
      node,
      others.map(({ address }) => address),
    )
  }

  #mischief(): void {
    const { network } = this.#sim
    const node = this.#any(this.#present)
    const kinds = [
      () => {
        network.conditions = {
          loss: this.#random.chance(0.5) ? this.#random.between(0, 0.4) : 0,
          duplication: this.#random.between(0, 0.2),
          minDelayMs: 0.1,
          maxDelayMs: this.#random.between(0.2, 300),
        }
      },
      () => this.#partition(),
      () => network.mend(),
      () => node && this.#pause(node, 8000),
      () => node && this.#crash(node),
      () => this.#restart(),
      () => this.#leave(node),
      () => this.#newcomers++ < 2 && this.#start(`a${this.options.size + this.#newcomers}`),
      () => node && this.#talk(node),
      () => node && this.#talk(node),
    ]
    kinds[pick(this.#random, kinds.length)]?.()
  }

  #mildWeather(): void {
    const node = this.#any(this.#present)
    if (node === undefined) return
    this.#sim.network.conditions = {
      loss: this.#random.between(0, 0.05),
      duplication: 0,
      minDelayMs: 0.1,
      maxDelayMs: this.#random.between(0.2, 50),
    }
    if (this.#random.chance(0.3)) this.#talk(node)
    else this.#pause(node, 1000)
  }

  #partition(): void {
    const { network } = this.#sim
    const nodes = shuffle(this.#random, [...this.#present])
    const half = 1 + pick(this.#random, Math.max(1, nodes.length - 1))
    const isOneWay = this.#random.chance(0.3)
    const share = this.#random.chance(0.3) ? 0.5 : 1
    for (const a of nodes.slice(0, half)) {
      for (const b of nodes.slice(half)) {
        if (!this.#random.chance(share)) continue
        network.cut(a.address, b.address)
        if (!isOneWay) network.cut(b.address, a.address)
      }
    }
  }

  #pause(node: SimNode, upToMs: number): void {
    // Two pauses that meet would be a longer one.
    if (node.isPaused) return
    node.pause()
    this.#sim.time.after(this.#random.between(100, upToMs), () => node.resume())
  }

  #crash(node: SimNode): void {
    if (this.#present.length < 2) return
    node.crash()
    if (this.#random.chance(0.5)) this.#sim.network.darken(node.address)
  }

  #restart(): void {
    const node = this.#any(this.#ours.filter(({ isRunning }) => !isRunning))
    // The same name, on another date; on the same address or another.
    if (node) this.#start(node.name, this.#random.chance(0.5) ? { address: node.address } : {})
  }

  #leave(node: SimNode | undefined): void {
    if (!node || this.#present.length < 3 || node.isPaused) return
    this.#left.add(node.name)
    void node.membership.leave()
    this.#sim.time.after(5000, () => node.crash())
  }

  #talk({ membership }: SimNode): void {
    membership.setLocalState({
      load: this.#random.next(),
      zone: `z${pick(this.#random, 3)}`,
      services: { query: this.#random.chance(0.5) ? 'ok' : 'failing' },
    })
    membership.count('hits', pick(this.#random, 10) - 3, Number.MAX_SAFE_INTEGER)
  }

  #heal(): void {
    const { network, running } = this.#sim
    network.mend()
    network.conditions = { ...FINE_NETWORK }
    for (const node of running) node.resume()
  }

  #settle(): Violation | null {
    const violation = this.#agree()
    if (violation !== null) return violation
    this.#sim.time.run(CALM_MS)
    this.#watcher.checkClusters(this.#sim)
    const undone = disagreement(this.#ours, this.#left)
    if (undone?.checker === 'all know all') return undone
    // What a node has just said of itself may be on its way.
    return this.#watcher.found[0] ?? this.#agree()
  }

  #agree(): Violation | null {
    let last: Violation | null = null
    for (let passed = 0; passed < HEAL_MS; passed += HEAL_STEP_MS) {
      this.#sim.time.run(HEAL_STEP_MS)
      last = disagreement(this.#ours, this.#left)
      if (last === null) break
    }
    return last
  }
}
