/**
 * Clients that write and read registers of the metadata group, as operators do: each node's weight is
 * one (`otlake shard weight`, `otlake shard list --latest`). What happened is written down for the
 * checker.
 */

import * as grpc from '@grpc/grpc-js'
import { systemClock, systemMonotonic } from '../../base/clock.js'
import { pick } from '../../base/random.js'
import { controlService } from '../../node/control.js'
import { SeededRandom } from '../seeded-random.js'
import { checkRegister, type Operation } from './linearizability.js'
import type { ClusterNode } from './nodes.js'

/** The weight of a node that was given none. */
const FIRST = '1'
/** Weights differ by this, so that no shard moves for them. */
const STEP = 1e-6
const PATIENCE_MS = 2000
const PAUSE_MS = 40
const CLIENTS = 4

/** What a call came to. */
type Outcome<T> = { readonly answer: T } | { readonly refused: 'before' | 'unknown' }

interface Shards {
  owners: { node: string; weight: number }[]
}

export class Registers {
  /** By register. */
  readonly history = new Map<string, Operation[]>()
  readonly #random: SeededRandom
  readonly #controls = new Map<string, grpc.Client>()
  #written = 0
  #isEnding = false
  #failure: unknown = null
  #clients: Promise<void>[] = []

  constructor(
    private readonly nodes: readonly ClusterNode[],
    readonly seed: number,
  ) {
    this.#random = new SeededRandom(seed)
    for (const { name } of nodes) this.history.set(name, [])
  }

  start(): void {
    const Control = controlService()
    for (const { name, control } of this.nodes) {
      const options = {
        'grpc.max_reconnect_backoff_ms': 500,
        'grpc.initial_reconnect_backoff_ms': 50,
      }
      this.#controls.set(name, new Control(control, grpc.credentials.createInsecure(), options))
    }
    this.#clients = Array.from({ length: CLIENTS }, (_, index) =>
      this.#client(`c${index + 1}`).catch((thrown) => {
        this.#failure ??= thrown
      }),
    )
  }

  async end(): Promise<void> {
    this.#isEnding = true
    await Promise.all(this.#clients)
    if (this.#failure !== null) throw this.#failure
    for (const client of this.#controls.values()) client.close()
  }

  get counts(): { reads: number; writes: number; unknown: number } {
    const all = [...this.history.values()].flat()
    return {
      reads: all.filter(({ kind }) => kind === 'read').length,
      writes: all.filter(({ kind }) => kind === 'write').length,
      unknown: all.filter(({ answered }) => answered === Infinity).length,
    }
  }

  /** Registers whose history cannot be, each with what fits nowhere. */
  violations(): string[] {
    return [...this.history].flatMap(([name, history]) => {
      const { isLinearizable, stuck } = checkRegister(history, FIRST)
      return isLinearizable ? [] : [`the weight of ${name}: ${JSON.stringify(stuck)}`]
    })
  }

  async #client(client: string): Promise<void> {
    const random = this.#random.fork()
    while (!this.#isEnding) {
      const node = this.nodes[pick(random, this.nodes.length)] as ClusterNode
      const of = this.nodes[pick(random, this.nodes.length)] as ClusterNode
      if (random.chance(0.5)) await this.#write(client, node, of.name)
      else await this.#read(client, node)
      await systemClock.sleep(PAUSE_MS)
    }
  }

  async #write(client: string, node: ClusterNode, of: string): Promise<void> {
    const weight = 1 + STEP * ++this.#written
    const called = systemMonotonic.monotonic()
    const outcome = await this.#call(node, 'WeighNode', { node: of, weight })
    if ('refused' in outcome && outcome.refused === 'before') return
    const answered = 'answer' in outcome ? systemMonotonic.monotonic() : Infinity
    const kind = 'write'
    this.history.get(of)?.push({ client, kind, value: String(weight), called, answered })
  }

  async #read(client: string, node: ClusterNode): Promise<void> {
    const called = systemMonotonic.monotonic()
    const outcome = await this.#call<Shards>(node, 'ListShards', { latest: true })
    if (!('answer' in outcome)) return
    const answered = systemMonotonic.monotonic()
    const weights = new Map(outcome.answer.owners.map((owner) => [owner.node, owner.weight]))
    for (const [name, history] of this.history) {
      const value = String(weights.get(name) ?? FIRST)
      history.push({ client, kind: 'read', value, called, answered })
    }
  }

  #call<T>(node: ClusterNode, method: string, request: object): Promise<Outcome<T>> {
    const control = this.#controls.get(node.name) as unknown as Record<
      string,
      (
        request: object,
        options: grpc.CallOptions,
        done: (error: grpc.ServiceError | null, answer: T) => void,
      ) => void
    >
    const deadline = systemClock.now() + PATIENCE_MS
    return new Promise((resolve, reject) => {
      control[method]?.call(control, request, { deadline }, (error, answer) => {
        if (error === null) return resolve({ answer })
        if (/there is no member|NODE_STATE/.test(error.details)) {
          return resolve({ refused: 'before' })
        }
        // A node that was fenced ends its part of the group, and begins another.
        if (error.details.startsWith('HANDLE_CLOSED')) return resolve({ refused: 'unknown' })
        const { DEADLINE_EXCEEDED, UNAVAILABLE, CANCELLED, INTERNAL } = grpc.status
        // A connection that broke off is INTERNAL to this client.
        if ([DEADLINE_EXCEEDED, UNAVAILABLE, CANCELLED, INTERNAL].includes(error.code)) {
          return resolve({ refused: 'unknown' })
        }
        reject(new Error(`${node.name} refused ${method} for good: ${error.message}`))
      })
    })
  }
}
