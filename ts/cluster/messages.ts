/** What nodes say to each other, as the protocol handles it; `wire.ts` makes bytes of it. */

import { MAX_ADDRESS_BYTES, MAX_KEY_BYTES, MAX_NAME_BYTES, MAX_VALUE_BYTES } from './settings.js'

export type Status = 'alive' | 'suspect' | 'dead' | 'left'

/** What is known of a member. Never changed; news make a new one. */
export interface MemberRecord {
  readonly name: string
  /** `HOST:PORT`, the same port for datagrams and streams. */
  readonly address: string
  /** One start of the node: milliseconds since 1970 when it started. */
  readonly generation: number
  /** Raised by the member alone, to refute; starts at the generation. */
  readonly incarnation: number
  readonly status: Status
}

export interface MemberUpdate extends MemberRecord {
  /** Who suspects it or declared it dead; else empty. */
  readonly accuser: string
  /** In push-pull: for how long it has been dead or gone. */
  readonly ageSeconds: number
}

/** How much of a member's state somebody has. */
export interface StateVersion {
  readonly member: string
  readonly generation: number
  readonly version: number
}

/** One register of a member's state. */
export interface StateEntry extends StateVersion {
  /** Who has all versions up to this one has all up to `version` with this entry. */
  readonly after: number
  readonly key: string
  /** Null: the key was removed. */
  readonly value: string | null
}

/** What one start of one member has added to and taken from a counter. */
export interface CounterEntry {
  readonly counter: string
  readonly member: string
  readonly generation: number
  readonly added: number
  readonly taken: number
  /** Milliseconds since 1970 after which nobody keeps the counter. */
  readonly expires: number
}

export type SyncStep = 'ask' | 'join' | 'answer' | 'push' | 'done'

export type Body =
  | { readonly kind: 'ping'; readonly sequence: number; readonly target: string }
  | { readonly kind: 'ack'; readonly sequence: number }
  | { readonly kind: 'nack'; readonly sequence: number }
  | {
      readonly kind: 'ping_request'
      readonly sequence: number
      readonly target: string
      readonly targetAddress: string
    }
  | {
      readonly kind: 'sync'
      readonly sequence: number
      readonly step: SyncStep
      readonly digest: readonly StateVersion[]
      /** A hash over everything that is compared; empty but to ask. */
      readonly fingerprint: Uint8Array
    }
  | { readonly kind: 'gossip' }

export interface Message {
  readonly from: string
  readonly address: string
  readonly body: Body
  readonly members: readonly MemberUpdate[]
  readonly states: readonly StateEntry[]
  readonly counters: readonly CounterEntry[]
}

/** Rank among records of one incarnation; the higher one stands. */
const RANK: Record<Status, number> = { alive: 0, suspect: 1, dead: 2, left: 3 }

/**
 * Whether `news` stands before `known`: the higher incarnation, then the higher rank. This is the
 * order of a lattice, so that records reach the same end in whatever order they come (SWIM, 4.2).
 */
export function supersedes(
  news: Pick<MemberRecord, 'incarnation' | 'status'>,
  known: Pick<MemberRecord, 'incarnation' | 'status'>,
): boolean {
  if (news.incarnation !== known.incarnation) return news.incarnation > known.incarnation
  return RANK[news.status] > RANK[known.status]
}

const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0
const fits = (text: string, limit: number) => text !== '' && Buffer.byteLength(text) <= limit

/** Whether a name can be a member's. */
export const isName = (name: string) => fits(name, MAX_NAME_BYTES)
/** Whether it is `HOST:PORT` within the limits. */
export const isAddress = (address: string) =>
  fits(address, MAX_ADDRESS_BYTES) && /^(\[[^\]]+\]|[^:]+):\d{1,5}$/.test(address)

/** Whether what came is within the limits; the incarnation leaves room to refute it. */
export function isMemberUpdate(update: MemberUpdate): boolean {
  return (
    isName(update.name) &&
    isAddress(update.address) &&
    isCount(update.generation) &&
    isCount(update.incarnation + 1) &&
    update.generation <= update.incarnation &&
    Buffer.byteLength(update.accuser) <= MAX_NAME_BYTES
  )
}

export function isStateEntry(entry: StateEntry): boolean {
  return (
    isName(entry.member) &&
    fits(entry.key, MAX_KEY_BYTES) &&
    Buffer.byteLength(entry.value ?? '') <= MAX_VALUE_BYTES &&
    isCount(entry.generation + 1) &&
    isCount(entry.version + 1) &&
    entry.after < entry.version
  )
}

export function isCounterEntry(entry: CounterEntry): boolean {
  return (
    isName(entry.member) &&
    fits(entry.counter, MAX_KEY_BYTES) &&
    [entry.generation, entry.added, entry.taken, entry.expires].every(isCount)
  )
}

// Field headers, lengths and numbers at their largest; the texts are counted.
const UPDATE_OVERHEAD = 36
const ENTRY_OVERHEAD = 44
const COUNTER_OVERHEAD = 48
/** Envelope, nonce, tag, the cluster's name, and a body of the largest kind. */
const MESSAGE_OVERHEAD = 96

/** The most bytes that it takes on the wire. */
export function updateBytes(update: MemberUpdate): number {
  const { name, address, accuser } = update
  return (
    UPDATE_OVERHEAD +
    Buffer.byteLength(name) +
    Buffer.byteLength(address) +
    Buffer.byteLength(accuser)
  )
}

export function entryBytes({ member, key, value }: StateEntry): number {
  const texts = Buffer.byteLength(member) + Buffer.byteLength(key) + Buffer.byteLength(value ?? '')
  return ENTRY_OVERHEAD + texts
}

export function counterBytes({ counter, member }: CounterEntry): number {
  return COUNTER_OVERHEAD + Buffer.byteLength(counter) + Buffer.byteLength(member)
}

/** The most bytes of a datagram before anything is piggy-backed. */
export function messageBytes(from: string, address: string, body: Body, cluster: string): number {
  const texts = [from, address, cluster]
  if (body.kind === 'ping' || body.kind === 'ping_request') texts.push(body.target)
  if (body.kind === 'ping_request') texts.push(body.targetAddress)
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text), MESSAGE_OVERHEAD)
}
