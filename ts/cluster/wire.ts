/** Messages as bytes: protobuf within an envelope that names the wire's version. */

import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import {
  type CounterEntry as CounterEntryPb,
  EnvelopeSchema,
  MemberStatus,
  type MemberUpdate as MemberUpdatePb,
  type Message as MessagePb,
  MessageSchema,
  type StateEntry as StateEntryPb,
  Sync_Step,
} from './generated/v1/gossip_pb.js'
import type { KeyRing } from './keyring.js'
import {
  type Body,
  type CounterEntry,
  isAddress,
  isCounterEntry,
  isMemberUpdate,
  isName,
  isStateEntry,
  type MemberUpdate,
  type Message,
  type StateEntry,
  type Status,
  type SyncStep,
} from './messages.js'
import { WIRE_VERSION, WIRE_VERSION_MIN } from './settings.js'

/** Why bytes were not taken. */
export type Refusal = 'malformed' | 'version' | 'cluster' | 'key'

const STATUS_TO_WIRE: Record<Status, MemberStatus> = {
  alive: MemberStatus.ALIVE,
  suspect: MemberStatus.SUSPECT,
  dead: MemberStatus.DEAD,
  left: MemberStatus.LEFT,
}
const STATUS_FROM_WIRE = new Map(
  Object.entries(STATUS_TO_WIRE).map(([status, wire]) => [wire, status as Status]),
)
const STEP_TO_WIRE: Record<SyncStep, Sync_Step> = {
  ask: Sync_Step.ASK,
  join: Sync_Step.JOIN,
  answer: Sync_Step.ANSWER,
  push: Sync_Step.PUSH,
  done: Sync_Step.DONE,
}
const STEP_FROM_WIRE = new Map(
  Object.entries(STEP_TO_WIRE).map(([step, wire]) => [wire, step as SyncStep]),
)

/** A message or an envelope that cannot be understood. */
class Unreadable extends Error {
  constructor(readonly refusal: Refusal) {
    super(refusal)
  }
}

/** The bytes of one node's cluster: its name, and its keys if it has any. */
export class Wire {
  constructor(
    readonly cluster: string,
    private readonly keys: KeyRing | null,
  ) {}

  encode(message: Message): Uint8Array {
    const pb = toWire(message)
    if (this.keys === null) {
      const clear = { cluster: this.cluster, message: pb }
      const envelope = { version: WIRE_VERSION, body: { case: 'clear' as const, value: clear } }
      return toBinary(EnvelopeSchema, create(EnvelopeSchema, envelope))
    }
    const plain = toBinary(MessageSchema, create(MessageSchema, pb))
    const value = this.keys.seal(plain, this.#associated(WIRE_VERSION))
    const envelope = { version: WIRE_VERSION, body: { case: 'sealed' as const, value } }
    return toBinary(EnvelopeSchema, create(EnvelopeSchema, envelope))
  }

  /** The message, or why there is none. Nothing that bytes can hold makes it throw. */
  decode(bytes: Uint8Array): Message | Refusal {
    try {
      return fromWire(this.#open(bytes))
    } catch (error) {
      return error instanceof Unreadable ? error.refusal : 'malformed'
    }
  }

  #open(bytes: Uint8Array): MessagePb {
    const { version, body } = fromBinary(EnvelopeSchema, bytes)
    if (version < WIRE_VERSION_MIN || version > WIRE_VERSION) throw new Unreadable('version')
    if (this.keys === null) {
      if (body.case === 'sealed') throw new Unreadable('key')
      if (body.case !== 'clear' || body.value.message === undefined) {
        throw new Unreadable('malformed')
      }
      if (body.value.cluster !== this.cluster) throw new Unreadable('cluster')
      return body.value.message
    }
    // With keys, what comes in the clear is refused: anyone can have sent it.
    if (body.case === 'clear') throw new Unreadable('key')
    if (body.case !== 'sealed') throw new Unreadable('malformed')
    const plain = this.keys.open(body.value, this.#associated(version))
    if (plain === null) throw new Unreadable('key')
    return fromBinary(MessageSchema, plain)
  }

  #associated(version: number): Uint8Array {
    return Buffer.from(`otlake gossip ${version} ${this.cluster}`)
  }
}

function toWire(message: Message): MessageInitShape<typeof MessageSchema> {
  return {
    from: message.from,
    address: message.address,
    body: bodyToWire(message.body),
    members: message.members.map((update) => ({
      ...update,
      generation: BigInt(update.generation),
      incarnation: BigInt(update.incarnation),
      status: STATUS_TO_WIRE[update.status],
    })),
    states: message.states.map(({ value, ...entry }) => ({
      ...entry,
      generation: BigInt(entry.generation),
      version: BigInt(entry.version),
      after: BigInt(entry.after),
      ...(value === null ? {} : { value }),
    })),
    counters: message.counters.map((entry) => ({
      ...entry,
      generation: BigInt(entry.generation),
      added: BigInt(entry.added),
      taken: BigInt(entry.taken),
      expires: BigInt(entry.expires),
    })),
  }
}

function bodyToWire(body: Body): MessageInitShape<typeof MessageSchema>['body'] {
  const { kind, ...fields } = body
  switch (body.kind) {
    case 'gossip':
      return { case: undefined }
    case 'ping_request':
      return { case: 'pingRequest', value: body }
    case 'sync': {
      const digest = body.digest.map((known) => ({
        member: known.member,
        generation: BigInt(known.generation),
        version: BigInt(known.version),
      }))
      return {
        case: 'sync',
        value: {
          sequence: body.sequence,
          step: STEP_TO_WIRE[body.step],
          digest,
          fingerprint: body.fingerprint,
        },
      }
    }
    default:
      return { case: kind as 'ping' | 'ack' | 'nack', value: fields as never }
  }
}

function fromWire(pb: MessagePb): Message {
  if (!isName(pb.from) || !isAddress(pb.address)) throw new Unreadable('malformed')
  return {
    from: pb.from,
    address: pb.address,
    body: bodyFromWire(pb.body),
    members: pb.members.map(updateFromWire),
    states: pb.states.map(entryFromWire),
    counters: pb.counters.map(counterFromWire),
  }
}

function bodyFromWire(body: MessagePb['body']): Body {
  switch (body.case) {
    case undefined:
      return { kind: 'gossip' }
    case 'ping':
      return { kind: 'ping', sequence: body.value.sequence, target: body.value.target }
    case 'ack':
    case 'nack':
      return { kind: body.case, sequence: body.value.sequence }
    case 'pingRequest': {
      const { sequence, target, targetAddress } = body.value
      if (!isName(target) || !isAddress(targetAddress)) throw new Unreadable('malformed')
      return { kind: 'ping_request', sequence, target, targetAddress }
    }
    case 'sync': {
      const step = STEP_FROM_WIRE.get(body.value.step)
      if (step === undefined) throw new Unreadable('malformed')
      const digest = body.value.digest.map(({ member, generation, version }) => ({
        member,
        generation: Number(generation),
        version: Number(version),
      }))
      const { sequence } = body.value
      const fingerprint = Uint8Array.from(body.value.fingerprint)
      return { kind: 'sync', sequence, step, digest, fingerprint }
    }
  }
}

function checked<T>(value: T, isFine: (value: T) => boolean): T {
  if (!isFine(value)) throw new Unreadable('malformed')
  return value
}

function updateFromWire(pb: MemberUpdatePb): MemberUpdate {
  const status = STATUS_FROM_WIRE.get(pb.status)
  if (status === undefined) throw new Unreadable('malformed')
  const { name, address, accuser, ageSeconds } = pb
  const generation = Number(pb.generation)
  const incarnation = Number(pb.incarnation)
  return checked(
    { name, address, generation, incarnation, status, accuser, ageSeconds },
    isMemberUpdate,
  )
}

function entryFromWire(pb: StateEntryPb): StateEntry {
  const { member, key, value = null } = pb
  const generation = Number(pb.generation)
  const version = Number(pb.version)
  return checked({ member, generation, version, after: Number(pb.after), key, value }, isStateEntry)
}

function counterFromWire(pb: CounterEntryPb): CounterEntry {
  const { counter, member } = pb
  const generation = Number(pb.generation)
  const added = Number(pb.added)
  const taken = Number(pb.taken)
  const expires = Number(pb.expires)
  return checked({ counter, member, generation, added, taken, expires }, isCounterEntry)
}
