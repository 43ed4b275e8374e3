/** Messages as bytes: they come back as they were, fit into a datagram, and others' are refused. */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { create, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { SeededRandom } from '../testing/seeded-random.js'
import { EnvelopeSchema } from './generated/v1/gossip_pb.js'
import { KeyRing } from './keyring.js'
import type { Body, CounterEntry, MemberUpdate, Message, StateEntry, SyncStep } from './messages.js'
import { News } from './news.js'
import { MAX_KEY_BYTES, MAX_NAME_BYTES, MAX_VALUE_BYTES, PACKET_BYTES } from './settings.js'
import { Wire } from './wire.js'

// Many courses of events in one test; nothing in it waits for real.
vi.setConfig({ testTimeout: 60_000 })

const RUNS = { numRuns: 200 }
const random = new SeededRandom(1)
const key = random.bytes(32)
const ring = (...keys: Uint8Array[]) => new KeyRing(keys, random)

const cut = (text: string, bytes: number) => {
  let short = text
  while (Buffer.byteLength(short) > bytes) short = [...short].slice(0, -1).join('')
  return short
}
const text = (bytes: number) =>
  fc
    .string({ unit: 'binary', minLength: 1, maxLength: bytes })
    .map((value) => cut(value, bytes) || 'x')
const count = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 1 })
const sequence = fc.integer({ min: 0, max: 2 ** 32 - 1 })
const name = text(MAX_NAME_BYTES)
const address = fc
  .tuple(fc.domain(), fc.integer({ min: 1, max: 65_535 }))
  .map(([host, port]) => `${host.slice(0, 100)}:${port}`)

const update: fc.Arbitrary<MemberUpdate> = fc
  .record({
    name,
    address,
    generation: count,
    incarnation: count,
    status: fc.constantFrom<MemberUpdate['status']>('alive', 'suspect', 'dead', 'left'),
    accuser: fc.oneof(fc.constant(''), name),
    ageSeconds: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  })
  .map((made) => ({ ...made, incarnation: Math.max(made.generation, made.incarnation) }))

const entry: fc.Arbitrary<StateEntry> = fc.record({
  member: name,
  generation: count,
  version: count.filter((version) => version > 0),
  after: fc.constant(0),
  key: text(MAX_KEY_BYTES),
  value: fc.option(text(MAX_VALUE_BYTES), { nil: null }),
})

const counter: fc.Arbitrary<CounterEntry> = fc.record({
  counter: text(MAX_KEY_BYTES),
  member: name,
  generation: count,
  added: count,
  taken: count,
  expires: count,
})

const body: fc.Arbitrary<Body> = fc.oneof(
  fc.record({ kind: fc.constant('ping' as const), sequence, target: name }),
  fc.record({ kind: fc.constantFrom('ack' as const, 'nack' as const), sequence }),
  fc.record({
    kind: fc.constant('ping_request' as const),
    sequence,
    target: name,
    targetAddress: address,
  }),
  fc.record({
    kind: fc.constant('sync' as const),
    sequence,
    step: fc.constantFrom<SyncStep>('ask', 'join', 'answer', 'push', 'done'),
    fingerprint: fc.uint8Array({ maxLength: 16 }),
    digest: fc.array(fc.record({ member: name, generation: count, version: count }), {
      maxLength: 5,
    }),
  }),
  fc.constant({ kind: 'gossip' as const }),
) as fc.Arbitrary<Body>

const message: fc.Arbitrary<Message> = fc.record({
  from: name,
  address,
  body,
  members: fc.array(update, { maxLength: 5 }),
  states: fc.array(entry, { maxLength: 5 }),
  counters: fc.array(counter, { maxLength: 5 }),
})

test.each([
  ['in the clear', () => new Wire('c', null)],
  ['sealed', () => new Wire('c', ring(key))],
])('a message %s comes back as it was', (_, wire) => {
  fc.assert(
    fc.property(message, (sent) => {
      expect(wire().decode(wire().encode(sent))).toEqual(sent)
    }),
    RUNS,
  )
})

test('whatever is to be told, a datagram keeps within its size', () => {
  const cluster = 'c'.repeat(64)
  const packed = fc.tuple(
    message,
    fc.array(update, { maxLength: 40 }),
    fc.array(entry, { maxLength: 10 }),
    fc.array(counter, { maxLength: 10 }),
  )
  fc.assert(
    fc.property(packed, ([{ from, address: own, body: sent }, updates, entries, counters]) => {
      if (sent.kind === 'sync') return
      const news = new News(cluster)
      for (const told of updates) news.members.add(told)
      for (const told of entries) news.states.add(told)
      for (const told of counters) news.counters.add(told)
      for (const wire of [new Wire(cluster, null), new Wire(cluster, ring(key))]) {
        const datagram = news.pack({ name: from, address: own }, sent, updates.slice(0, 1), 9)
        expect(wire.encode(datagram).length).toBeLessThanOrEqual(PACKET_BYTES)
      }
    }),
    RUNS,
  )
})

const ping: Message = {
  from: 'a',
  address: 'h:1',
  body: { kind: 'ping', sequence: 1, target: 'b' },
  members: [],
  states: [],
  counters: [],
}

test('another cluster, another key, and what is in the clear are refused', () => {
  const clear = new Wire('c', null).encode(ping)
  const sealed = new Wire('c', ring(key)).encode(ping)
  expect(new Wire('d', null).decode(clear)).toBe('cluster')
  expect(new Wire('c', ring(key)).decode(clear)).toBe('key')
  expect(new Wire('c', null).decode(sealed)).toBe('key')
  expect(new Wire('c', ring(random.bytes(32))).decode(sealed)).toBe('key')
  expect(new Wire('d', ring(key)).decode(sealed), 'the same key').toBe('key')
})

test('no changed bit of a sealed message changes what is understood', () => {
  const wire = new Wire('c', ring(key))
  const sealed = wire.encode(ping)
  let refused = 0
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const changed = Uint8Array.from(sealed)
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
    const understood = wire.decode(changed)
    if (typeof understood === 'string') refused++
    // Protobuf has more than one way to write the envelope's own fields.
    else expect(understood, `bit ${bit}`).toEqual(ping)
  }
  expect(refused).toBeGreaterThan(sealed.length * 8 - 8)
})

test('another version of the wire is told apart', () => {
  const envelope = { version: 2, body: { case: 'sealed' as const, value: key } }
  const bytes = toBinary(EnvelopeSchema, create(EnvelopeSchema, envelope))
  expect(new Wire('c', ring(key)).decode(bytes)).toBe('version')
})

test('the generated code is what the protocol files say: run `npm run generate:proto`', () => {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const out = mkdtempSync(join(tmpdir(), 'otlake-proto-'))
  try {
    const script = join(root, 'scripts/generate-proto.mjs')
    execFileSync(process.execPath, [script, '--out', out], { stdio: 'pipe' })
    for (const file of [
      'ts/cluster/generated/v1/gossip_pb.ts',
      'ts/query/tempo/generated/tempo_pb.ts',
    ]) {
      expect(readFileSync(join(root, file), 'utf8')).toBe(readFileSync(join(out, file), 'utf8'))
    }
  } finally {
    rmSync(out, { recursive: true })
  }
})

test('no bytes make decoding throw, and records past a limit are refused', () => {
  const wire = new Wire('c', null)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(typeof wire.decode(bytes)).toBe('string')
    }),
    RUNS,
  )
  const bad: Partial<MemberUpdate>[] = [
    { name: '' },
    { name: 'n'.repeat(MAX_NAME_BYTES + 1) },
    { address: 'nowhere' },
    { incarnation: Number.MAX_SAFE_INTEGER },
    { generation: 2, incarnation: 1 },
  ]
  const good: MemberUpdate = {
    name: 'a',
    address: 'h:1',
    generation: 1,
    incarnation: 1,
    status: 'alive',
    accuser: '',
    ageSeconds: 0,
  }
  expect(wire.decode(wire.encode({ ...ping, members: [good] }))).toMatchObject({ members: [good] })
  for (const wrong of bad) {
    const sent = wire.encode({ ...ping, members: [{ ...good, ...wrong }] })
    expect(wire.decode(sent), JSON.stringify(wrong)).toBe('malformed')
  }
})

test('a key is changed in three steps, and in each both ends understand each other', () => {
  const next = random.bytes(32)
  const a = ring(key)
  const b = ring(key)
  const talk = () => {
    const [there, back] = [new Wire('c', a), new Wire('c', b)]
    expect(back.decode(there.encode(ping))).toEqual(ping)
    expect(there.decode(back.encode(ping))).toEqual(ping)
  }
  for (const step of [
    (keys: KeyRing) => keys.add(next),
    (keys: KeyRing) => keys.use(next),
    (keys: KeyRing) => keys.remove(key),
  ]) {
    for (const keys of [a, b]) {
      step(keys)
      talk()
    }
  }
  expect(a.size).toBe(1)
  expect(new Wire('c', ring(key)).decode(new Wire('c', a).encode(ping))).toBe('key')
})

test('a key ring refuses keys of another length, none, and to lose the one in use', () => {
  const wrong = [() => ring(), () => ring(random.bytes(16)), () => ring(key).remove(key)]
  for (const attempt of [...wrong, () => ring(key).use(random.bytes(32))]) {
    expect(attempt).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  }
})
