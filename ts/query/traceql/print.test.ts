/** Trees as text and back. */

import { expect, test } from 'vitest'
import { OtlakeError } from '../../base/errors.js'
import { SeededRandom } from '../../testing/seeded-random.js'
import { randomMetrics, randomSearch } from '../../testing/traceql/random-query.js'
import { parseTraceql } from './parse.js'
import { printTraceql } from './print.js'

const ROUNDS = 2000

const seed = Number(process.env.OTLAKE_TRACEQL_SEED ?? Date.now() % 1e9)
console.log(`OTLAKE_TRACEQL_SEED=${seed}`)

const WORDS = [
  ...[
    '{',
    '}',
    '(',
    ')',
    '|',
    ',',
    '&&',
    '||',
    '=',
    '!=',
    '=~',
    '!~',
    '<',
    '>',
    '>>',
    '~',
    '!>',
    '&>>',
  ],
  ...[
    '+',
    '-',
    '*',
    '^',
    '!',
    '.a',
    'span."b c"',
    'name',
    'duration',
    'nil',
    'true',
    'ok',
    '1',
    '2.5',
  ],
  ...[
    '1s',
    '"x"',
    'count()',
    'max(',
    'by(',
    'coalesce()',
    'select(',
    'rate()',
    'topk(1)',
    'compare(',
  ],
  ...[
    'with(',
    'a=1',
    'quantile_over_time(',
    'parent',
    'parent.span.a',
    '{ .a = 1 }',
    '{ }',
    '| rate()',
  ],
]

test('any row of words is a query, or is refused with a code of its own', () => {
  const random = new SeededRandom(seed)
  const index = (list: readonly string[]) => Math.floor(random.next() * list.length)
  const word = () => WORDS[index(WORDS)] ?? ''
  let parsed = 0
  for (let round = 0; round < ROUNDS; round++) {
    // A row by chance, or a query with some of its words taken out or put in.
    const query = random.chance(0.7) ? randomSearch(random) : randomMetrics(random)
    const words = random.chance(0.3) ? [word(), word(), word()] : printTraceql(query).split(' ')
    for (let change = 0; change < 1 + Math.floor(random.next() * 3); change++) {
      words.splice(
        index(words),
        random.chance(0.5) ? 1 : 0,
        ...(random.chance(0.6) ? [word()] : []),
      )
    }
    const text = words.join(random.chance(0.8) ? ' ' : '')
    try {
      const read = parseTraceql(text)
      expect(parseTraceql(printTraceql(read)), text).toEqual(read)
      parsed++
    } catch (error) {
      expect(OtlakeError.from(error).code, `${text}: ${error}`).toMatch(/^TRACEQL_/)
    }
  }
  expect(parsed).toBeGreaterThan(50)
  expect(parsed).toBeLessThan(ROUNDS)
})

test('a random tree is the same after it was printed and parsed', () => {
  const random = new SeededRandom(seed)
  for (let round = 0; round < ROUNDS; round++) {
    const query = random.chance(0.7) ? randomSearch(random) : randomMetrics(random)
    const text = printTraceql(query)
    expect(parseTraceql(text), text).toEqual(query)
  }
})

test.each([
  '{ }',
  '{ .a = 1 } | count() > 2',
  '({ .a } | count() > 1) >> { .b }',
  '{ (.a = 1 || .b = 2) && !(.c) }',
  '{ span."a b" = "x\\"y\\\\z\\n" }',
  '{ parent.span.a = -1 && parent.resource.b != nil }',
  '{ parent."span.a" = 1.5e21 }',
  '{ duration > 1500ms && traceDuration <= 2h }',
  '{ -(.a) + 2 * (.b - 3) ^ 2 > -5 }',
  '{ } | by(name) | coalesce() | select(span:id, .a)',
  '{ } | rate() by (resource.service.name, name) > 0.5 | topk(3) <= 10 | bottomk(1)',
  '{ } | quantile_over_time(duration, 0.5, 0.99) by (.a)',
  '{ } | compare({ status = error }, 5, 100, 200)',
  '{ .a } with(most_recent=true, sample=0.1, n=-3)',
])('%s is printed as it is parsed', (text) => {
  expect(printTraceql(parseTraceql(text))).toBe(text)
})
