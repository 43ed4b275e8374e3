/**
 * A network in memory that fails as a seed says: datagrams are lost, delayed, doubled and
 * overtake each other, and ways between two addresses are cut, one direction at a time. Streams are
 * TCP's: what is lost is sent again and comes later; over a cut way nothing answers in time.
 */

import { STREAM_TIMEOUT_MS } from '../../cluster/settings.js'
import type { ExchangeFailure, Transport, TransportHandlers } from '../../cluster/transport.js'
import type { SeededRandom } from '../seeded-random.js'
import type { VirtualTime } from '../virtual-time.js'

export interface NetworkConditions {
  /** Share of datagrams that get lost. */
  loss: number
  /** Share that come twice. */
  duplication: number
  minDelayMs: number
  maxDelayMs: number
}

export const FINE_NETWORK: NetworkConditions = {
  loss: 0,
  duplication: 0,
  minDelayMs: 0.2,
  maxDelayMs: 1,
}

/** TCP's first time-out before it sends again; each further one is twice as long. */
const RESEND_MS = 200

/** Changes what is under way, or drops it: what a broken protocol would have sent. */
export type Tamper = (bytes: Uint8Array, from: string, to: string) => Uint8Array | null

interface Host {
  handlers: TransportHandlers | null
  /** Runs what arrives: at once, or when the node goes on. */
  readonly deliver: (work: () => void) => void
}

export class SimNetwork {
  conditions: NetworkConditions = { ...FINE_NETWORK }
  tamper: Tamper = (bytes) => bytes
  /** Called for every datagram and every message of a stream that is sent. */
  onSend: (from: string, to: string, bytes: Uint8Array, isStream: boolean) => void = () => undefined
  readonly #hosts = new Map<string, Host>()
  /** Addresses of machines that are down: nothing answers, not even a refusal. */
  readonly #dark = new Set<string>()
  readonly #cut = new Set<string>()
  readonly #refused = new Set<string>()

  constructor(
    private readonly time: VirtualTime,
    private readonly random: SeededRandom,
  ) {}

  open(address: string, deliver: (work: () => void) => void = (work) => work()): Transport {
    const host: Host = { handlers: null, deliver }
    this.#hosts.set(address, host)
    this.#dark.delete(address)
    const isOpen = () => this.#hosts.get(address) === host
    return {
      address,
      listen: (handlers) => {
        host.handlers = handlers
      },
      send: (to, bytes) => {
        if (isOpen()) this.#datagram(address, to, bytes)
      },
      exchange: (to, bytes, done) => {
        if (!isOpen()) return
        this.#exchange(address, to, bytes, (answer) =>
          host.deliver(() => {
            if (isOpen()) done(answer)
          }),
        )
      },
      close: async () => {
        if (isOpen()) this.#hosts.delete(address)
      },
    }
  }

  /** The machine is down, not just the process. */
  darken(address: string): void {
    this.#dark.add(address)
  }

  /** Cuts the way from one to the other; the way back stays. */
  cut(from: string, to: string): void {
    this.#cut.add(`${from} ${to}`)
  }

  /** Something between the two refuses streams from the one to the other. */
  refuse(from: string, to: string): void {
    this.#refused.add(`${from} ${to}`)
  }

  mend(): void {
    this.#cut.clear()
    this.#refused.clear()
  }

  /** Hands a node a datagram at once, as if somebody had sent it. */
  inject(to: string, bytes: Uint8Array): void {
    this.#hosts.get(to)?.handlers?.onPacket(bytes)
  }

  #isCut(from: string, to: string): boolean {
    return this.#cut.size > 0 && this.#cut.has(`${from} ${to}`)
  }

  #delay(): number {
    return this.random.between(this.conditions.minDelayMs, this.conditions.maxDelayMs)
  }

  #datagram(from: string, to: string, bytes: Uint8Array): void {
    this.onSend(from, to, bytes, false)
    const sent = this.tamper(bytes, from, to)
    if (sent === null) return
    const copies = this.random.chance(this.conditions.duplication) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      if (this.#isCut(from, to) || this.random.chance(this.conditions.loss)) continue
      this.time.after(this.#delay(), () => {
        const host = this.#hosts.get(to)
        host?.deliver(() => host.handlers?.onPacket(sent))
      })
    }
  }

  #exchange(
    from: string,
    to: string,
    bytes: Uint8Array,
    done: (answer: Uint8Array | ExchangeFailure) => void,
  ): void {
    this.onSend(from, to, bytes, true)
    const sent = this.tamper(bytes, from, to)
    const there = this.#streamDelay()
    const back = this.#streamDelay()
    const isMute = sent === null || there + back > STREAM_TIMEOUT_MS
    let isOver = false
    const finish = (answer: Uint8Array | ExchangeFailure) => {
      if (isOver) return
      isOver = true
      done(answer)
    }
    if (this.#refused.has(`${from} ${to}`)) {
      this.time.after(back, () => finish('refused'))
      return
    }
    this.time.after(STREAM_TIMEOUT_MS, () => finish('timeout'))
    if (isMute || this.#isCut(from, to) || this.#isCut(to, from) || this.#dark.has(to)) return
    this.time.after(there, () => {
      const host = this.#hosts.get(to)
      if (host === undefined) {
        if (!this.#dark.has(to)) this.time.after(back, () => finish('refused'))
        return
      }
      host.deliver(() => {
        const answer = host.handlers?.onRequest(sent) ?? null
        if (answer !== null) this.onSend(to, from, answer, true)
        const returned = answer && this.tamper(answer, to, from)
        if (answer !== null && returned === null) return
        this.time.after(back, () => finish(returned ?? 'closed'))
      })
    })
  }

  #streamDelay(): number {
    let delay = this.#delay()
    for (let again = RESEND_MS; this.random.chance(this.conditions.loss); again *= 2) {
      delay += again
      if (delay > STREAM_TIMEOUT_MS) break
    }
    return delay
  }
}
