/**
 * Tells kinds of faults apart, from what members do and what they say of themselves:
 *
 * - **partition**: within `windowMs` at least half of the members that were present, and two at
 *   least, are declared dead; or one that was declared dead comes back without having started
 *   anew, so it was there all the time. Then what had been called a node failure is one no more.
 * - **node_failure**: a member is declared dead and nothing says partition.
 * - **service_failure**: a member is alive and says that one of its services is failing.
 * - **corruption**: a member says that it has found more damage than before.
 * - **degradation**: a member is alive and says that its disk, its processors or its local health
 *   are past a limit, or it has been suspected `FLAPS` times within `FLAP_WINDOW_MS`.
 *
 * A fault is open until what it says is over; a corruption stays open until the member's next start.
 */

import type { LocalState } from './local-state.js'
import type { MemberEvent } from './member-table.js'
import type { MemberRecord } from './messages.js'
import { MAX_LOCAL_HEALTH, MAX_MEMBERS } from './settings.js'

export type FaultKind =
  | 'node_failure'
  | 'partition'
  | 'service_failure'
  | 'corruption'
  | 'degradation'

export interface Fault {
  readonly kind: FaultKind
  readonly member: string
  /** What it is about: a service, `disk`, `load`, `health`, `flapping`; else empty. */
  readonly subject: string
  /** Monotonic milliseconds. */
  readonly since: number
}

export type FaultCounts = Record<FaultKind, number>

/** The share of disk and of processors from which a member counts as degraded. */
const FULL_SHARE = 0.95
/** The local health from which it does. */
const ILL_HEALTH = MAX_LOCAL_HEALTH / 2
const FLAPS = 3
const FLAP_WINDOW_MS = 60_000
/** Open faults that are kept; more than these say nothing new. */
const MAX_FAULTS = 4 * MAX_MEMBERS

const keyOf = ({ kind, member, subject }: Omit<Fault, 'since'>) => `${kind} ${member} ${subject}`

export class FaultClassifier {
  /** How often each kind has begun. */
  readonly counts: FaultCounts = {
    node_failure: 0,
    partition: 0,
    service_failure: 0,
    corruption: 0,
    degradation: 0,
  }
  readonly #open = new Map<string, Fault>()
  /** Whom the last window declared dead, and when. */
  readonly #deaths = new Map<string, number>()
  readonly #suspicions = new Map<string, number[]>()
  readonly #corruptions = new Map<string, { generation: number; found: number }>()

  /** `windowMs`: within it, deaths belong together. */
  constructor(
    private readonly windowMs: number,
    private readonly onFault: (fault: Fault) => void,
  ) {}

  /** Faults that are not over. */
  get open(): Fault[] {
    return [...this.#open.values()]
  }

  /** What happened to a member; `present` counts those that are alive after it, this one included. */
  happened(now: number, event: MemberEvent, present: number): void {
    switch (event.kind) {
      case 'failed':
        this.#died(now, event.member.name, present)
        return
      case 'suspect':
        this.#suspected(now, event.member.name)
        return
      case 'alive':
        this.#cameBack(now, event.member, event.previous)
        return
      case 'left':
        this.#forget(event.member.name)
        return
    }
  }

  /** What a member that is present says of itself now. */
  says(now: number, member: MemberRecord, state: LocalState): void {
    const { name, generation } = member
    for (const [service, status] of Object.entries(state.services)) {
      this.#set(now, 'service_failure', name, service, status === 'failing')
    }
    this.#set(now, 'degradation', name, 'disk', state.disk >= FULL_SHARE)
    this.#set(now, 'degradation', name, 'load', state.load >= FULL_SHARE)
    this.#set(now, 'degradation', name, 'health', state.health >= ILL_HEALTH)
    const known = this.#corruptions.get(name)
    const before = known?.generation === generation ? known.found : 0
    this.#corruptions.set(name, { generation, found: state.corruptions })
    if (known?.generation === generation && state.corruptions === before) return
    // More damage is another fault of the same kind.
    this.#set(now, 'corruption', name, '', false)
    this.#set(now, 'corruption', name, '', state.corruptions > before)
  }

  /** To be called now and then: flapping ends by time alone. */
  tick(now: number): void {
    for (const [name, times] of this.#suspicions) {
      const recent = times.filter((time) => now - time < FLAP_WINDOW_MS)
      if (recent.length === 0) this.#suspicions.delete(name)
      else this.#suspicions.set(name, recent)
      if (recent.length < FLAPS) this.#set(now, 'degradation', name, 'flapping', false)
    }
    for (const [name, time] of this.#deaths) {
      if (now - time >= this.windowMs) this.#deaths.delete(name)
    }
  }

  #died(now: number, name: string, present: number): void {
    this.#forget(name)
    this.tick(now)
    this.#deaths.set(name, now)
    const before = present + this.#deaths.size
    const isPartition = this.#deaths.size >= 2 && 2 * this.#deaths.size >= before
    if (!isPartition) this.#set(now, 'node_failure', name, '', true)
    else for (const dead of this.#deaths.keys()) this.#recall(now, dead)
  }

  /** What was taken for a failure of the node is a partition. */
  #recall(now: number, name: string): void {
    const key = keyOf({ kind: 'node_failure', member: name, subject: '' })
    if (this.#open.delete(key)) this.counts.node_failure--
    this.#set(now, 'partition', name, '', true)
  }

  #suspected(now: number, name: string): void {
    const times = [...(this.#suspicions.get(name) ?? []), now].slice(-FLAPS)
    this.#suspicions.set(name, times)
    const isFlapping = times.length === FLAPS && now - (times[0] as number) < FLAP_WINDOW_MS
    if (isFlapping) this.#set(now, 'degradation', name, 'flapping', true)
  }

  #cameBack(now: number, member: MemberRecord, previous: MemberRecord | null): void {
    const { name } = member
    const isSameStart = previous?.generation === member.generation
    if (previous?.status === 'dead' && isSameStart) this.#recall(now, name)
    this.#deaths.delete(name)
    this.#set(now, 'partition', name, '', false)
    this.#set(now, 'node_failure', name, '', false)
    if (!isSameStart) this.#forget(name)
  }

  #set(now: number, kind: FaultKind, member: string, subject: string, isOn: boolean): void {
    const key = keyOf({ kind, member, subject })
    if (!isOn) {
      this.#open.delete(key)
      return
    }
    if (this.#open.has(key) || this.#open.size >= MAX_FAULTS) return
    const fault = { kind, member, subject, since: now }
    this.#open.set(key, fault)
    this.counts[kind]++
    this.onFault(fault)
  }

  #forget(name: string): void {
    this.#suspicions.delete(name)
    this.#corruptions.delete(name)
    for (const [key, { member }] of this.#open) if (member === name) this.#open.delete(key)
  }
}
