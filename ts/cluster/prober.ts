/**
 * Probes: a ping; without an answer in time, pings by others and over a stream; without any answer
 * by the end of the period, failure. And the other side of it: pings on behalf of others, with a
 * nack to say that the helper is well though the target is silent (Lifeguard, "LHA Probe").
 */

import type { LocalHealth } from './health.js'
import type { Body, MemberRecord } from './messages.js'
import type { ClusterSettings } from './settings.js'
import { MAX_RELAYS, NACK_SHARE } from './settings.js'

/** What a prober needs of the node around it. */
export interface ProberPort {
  /** Sends a datagram. */
  send(target: { name: string; address: string }, body: Body): void
  /** Starts an exchange over a stream; `streamAnswered` or `streamFailed` follow. */
  stream(address: string, body: Body): void
  /** Up to `count` members, alive and not `except`, that can be asked for help. */
  helpers(count: number, except: string): MemberRecord[]
  /** Nobody reached it by the end of the period. */
  failed(target: MemberRecord): void
}

interface Round {
  readonly target: MemberRecord
  indirectAt: number
  endAt: number
  asked: boolean
  /** Helpers that have said neither that it answers nor that it is silent. */
  readonly silentHelpers: Set<string>
}

interface Relay {
  readonly asker: { name: string; address: string }
  readonly sequence: number
  nackAt: number
  endAt: number
  nacked: boolean
}

export class Prober {
  readonly #rounds = new Map<number, Round>()
  readonly #relays = new Map<number, Relay>()
  #sequence = 0

  constructor(
    private readonly settings: ClusterSettings,
    private readonly health: LocalHealth,
    private readonly port: ProberPort,
  ) {}

  /** A number that names a message of this node. */
  nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0
    return this.#sequence
  }

  isProbing(name: string): boolean {
    for (const { target } of this.#rounds.values()) if (target.name === name) return true
    return false
  }

  start(now: number, target: MemberRecord): void {
    const { multiplier } = this.health
    const sequence = this.nextSequence()
    this.#rounds.set(sequence, {
      target,
      indirectAt: now + this.settings.probeTimeoutMs * multiplier,
      endAt: now + this.settings.heartbeatMs * multiplier,
      asked: false,
      silentHelpers: new Set(),
    })
    this.port.send(target, { kind: 'ping', sequence, target: target.name })
  }

  tick(now: number): void {
    for (const [sequence, round] of this.#rounds) {
      if (now >= round.endAt) {
        this.#rounds.delete(sequence)
        this.health.helpersSilent(round.silentHelpers.size)
        this.port.failed(round.target)
      } else if (now >= round.indirectAt && !round.asked) {
        this.#askOthers(sequence, round)
      }
    }
    for (const [sequence, relay] of this.#relays) {
      if (now >= relay.endAt) this.#relays.delete(sequence)
      else if (now >= relay.nackAt && !relay.nacked) {
        relay.nacked = true
        this.port.send(relay.asker, { kind: 'nack', sequence: relay.sequence })
      }
    }
  }

  /** Probes, on behalf of another, what it asks for. */
  relay(
    now: number,
    asker: { name: string; address: string },
    request: Extract<Body, { kind: 'ping_request' }>,
  ): void {
    if (this.#relays.size >= MAX_RELAYS) return
    const sequence = this.nextSequence()
    this.#relays.set(sequence, {
      asker,
      sequence: request.sequence,
      nackAt: now + this.settings.probeTimeoutMs * NACK_SHARE,
      endAt: now + this.settings.heartbeatMs,
      nacked: false,
    })
    const target = { name: request.target, address: request.targetAddress }
    this.port.send(target, { kind: 'ping', sequence, target: target.name })
  }

  acked(sequence: number): void {
    if (this.#rounds.delete(sequence)) this.health.probeAnswered()
    const relay = this.#relays.get(sequence)
    if (relay === undefined) return
    this.#relays.delete(sequence)
    this.port.send(relay.asker, { kind: 'ack', sequence: relay.sequence })
  }

  nacked(sequence: number, helper: string): void {
    this.#rounds.get(sequence)?.silentHelpers.delete(helper)
  }

  /** Time that the process did not live through is no one's silence. */
  postpone(gapMs: number): void {
    for (const round of this.#rounds.values()) {
      round.indirectAt += gapMs
      round.endAt += gapMs
    }
    for (const relay of this.#relays.values()) {
      relay.nackAt += gapMs
      relay.endAt += gapMs
    }
  }

  #askOthers(sequence: number, round: Round): void {
    round.asked = true
    const { name: target, address: targetAddress } = round.target
    for (const helper of this.port.helpers(this.settings.indirectProbes, target)) {
      round.silentHelpers.add(helper.name)
      this.port.send(helper, { kind: 'ping_request', sequence, target, targetAddress })
    }
    if (this.settings.streamProbe) {
      this.port.stream(targetAddress, { kind: 'ping', sequence, target })
    }
  }
}
