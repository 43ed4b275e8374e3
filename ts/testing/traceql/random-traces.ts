/** Random traces over a small vocabulary: trees of one root, with attributes that repeat. */

import type { SpanKind, Status } from '../../query/tree.js'
import type { SeededRandom } from '../seeded-random.js'
import type { Attributes, Plain, PlainSpan } from './plain.js'

/** What names and attributes may be; `random-query.ts` asks for the same. */
export const WORDS = {
  services: ['shop', 'cart', 'pay', 'stock'],
  names: ['GET /', 'POST /cart', 'query', 'publish'],
  texts: ['red', 'green', 'blue', '', 'a b', 'x"y\\z'],
  environments: ['prod', 'test'],
  events: ['exception', 'retry'],
  scopes: ['http', 'db'],
} as const
export const KINDS: readonly SpanKind[] = [
  ...(['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const),
]
export const STATUSES: readonly Status[] = ['ok', 'error', 'unset']

const SECOND = 1_000_000_000n
/** Spans of a trace at most. */
const MOST_SPANS = 12

export const pick = <T>(random: SeededRandom, list: readonly T[]): T =>
  list[Math.floor(random.next() * list.length)] as T

export const whole = (random: SeededRandom, low: number, high: number): number =>
  low + Math.floor(random.next() * (high - low + 1))

const hex = (random: SeededRandom, bytes: number) =>
  Buffer.from(random.bytes(bytes))
    .toString('hex')
    .replace(/^0+/, (zeros) => 'a'.repeat(zeros.length))

/** `count` traces that start within `seconds` after `start`, each at most two seconds long. */
export function randomTraces(
  random: SeededRandom,
  count: number,
  start: bigint,
  seconds: number,
): PlainSpan[][] {
  return Array.from({ length: count }, () => {
    const offset = BigInt(whole(random, 1, seconds * 1000 - 1)) * 1_000_000n
    return randomTrace(random, start + offset)
  })
}

function randomTrace(random: SeededRandom, start: bigint): PlainSpan[] {
  const traceId = hex(random, 16)
  const spans: PlainSpan[] = []
  const count = whole(random, 1, MOST_SPANS)
  for (let index = 0; index < count; index++) {
    const parent = index === 0 ? null : pick(random, spans)
    // A part of a second that no step divides: no span starts at the border of a step.
    const begin = (parent?.start ?? start) + BigInt(whole(random, 1, 99_999_999))
    const spanId = hex(random, 8)
    const name = pick(random, WORDS.names)
    spans.push({
      traceId,
      spanId,
      parentId: parent?.spanId ?? null,
      name,
      kind: pick(random, KINDS),
      status: pick(random, STATUSES),
      statusMessage: random.chance(0.3) ? pick(random, WORDS.texts) : '',
      start: begin,
      duration: BigInt(whole(random, 1, Number(SECOND))),
      attributes: spanAttributes(random),
      resource: resourceAttributes(random, parent),
      scope: {
        name: random.chance(0.8) ? pick(random, WORDS.scopes) : '',
        version: random.chance(0.5) ? '1.0' : '',
        attributes: maybe(random, 0.3, 'scoped'),
      },
      events: Array.from({ length: random.chance(0.4) ? whole(random, 1, 3) : 0 }, () => ({
        name: pick(random, WORDS.events),
        time: begin + BigInt(whole(random, 0, 1_000_000)),
        attributes: maybe(random, 0.7, 'message'),
      })),
      links: Array.from({ length: random.chance(0.2) ? whole(random, 1, 2) : 0 }, () => ({
        traceId,
        spanId: parent?.spanId ?? spanId,
        attributes: maybe(random, 0.5, 'why'),
      })),
    })
  }
  return spans
}

function maybe(random: SeededRandom, share: number, key: string): Attributes {
  return random.chance(share) ? { [key]: pick(random, WORDS.texts) } : {}
}

function spanAttributes(random: SeededRandom): Attributes {
  const attributes: Attributes = {}
  const add = (key: string, share: number, value: () => Plain) => {
    if (random.chance(share)) attributes[key] = value()
  }
  add('color', 0.7, () => pick(random, WORDS.texts))
  add('code', 0.7, () => BigInt(pick(random, [200, 204, 404, 500, -1])))
  add('ratio', 0.5, () => pick(random, [0.25, 0.5, 1, 2.5]))
  add('good', 0.5, () => random.chance(0.5))
  // One name, several types.
  add('mixed', 0.6, () => pick<Plain>(random, ['200', 200n, 200.5, true]))
  // In span and resource alike.
  add('shared', 0.3, () => pick(random, WORDS.texts))
  add('with space', 0.3, () => pick(random, WORDS.texts))
  add('list', 0.3, () =>
    Array.from({ length: whole(random, 1, 3) }, () =>
      pick<Plain>(random, ['red', 'green', 'blue']),
    ),
  )
  return attributes
}

function resourceAttributes(random: SeededRandom, parent: PlainSpan | null): Attributes {
  if (parent && random.chance(0.5)) return parent.resource
  return {
    'service.name': pick(random, WORDS.services),
    ...(random.chance(0.7) ? { env: pick(random, WORDS.environments) } : {}),
    ...(random.chance(0.5) ? { shared: pick(random, WORDS.texts) } : {}),
    ...(random.chance(0.5) ? { replicas: BigInt(whole(random, 1, 3)) } : {}),
  }
}
