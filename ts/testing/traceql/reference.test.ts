/** The reference evaluator against what TraceQL's documentation says. */

import { describe, expect, test } from 'vitest'
import { parseTraceql } from '../../query/traceql/parse.js'
import { type PlainSpan, plainSpan } from './plain.js'
import { searchTrace, searchTraces } from './reference.js'

/*
 * a
 * ├── b
 * │   ├── d
 * │   │   └── g
 * │   └── e
 * └── c
 *     └── f
 */
const TREE = (
  [
    ...([
      ['a', null],
      ['b', 'a'],
      ['c', 'a'],
      ['d', 'b'],
    ] as const),
    ...([
      ['e', 'b'],
      ['f', 'c'],
      ['g', 'd'],
    ] as const),
  ] as [string, string | null][]
).map(([spanId, parentId], index) =>
  plainSpan({ spanId, parentId, start: BigInt(1000 + index * 10), duration: BigInt(100 - index) }),
)

/** The spans of each spanset, in alphabetical order. */
const found = (text: string, trace: readonly PlainSpan[] = TREE) =>
  searchTrace(parseTraceql(text), trace).map((spans) =>
    spans
      .map(({ spanId }) => spanId)
      .sort()
      .join(''),
  )
const is = (...names: string[]) => `{ ${names.map((name) => `name = "${name}"`).join(' || ')} }`

describe('operators of spansets', () => {
  test.each([
    // Both sides have to be there, and both are shown.
    [`${is('a')} && ${is('g')}`, 'ag'],
    [`${is('a')} && ${is('x')}`, null],
    [`${is('a')} || ${is('x')}`, 'a'],
    [`${is('a')} || ${is('g')}`, 'ag'],
    // Children on the right of parents on the left, and so on: the right side is shown.
    [`${is('b')} > { }`, 'de'],
    [`${is('a')} > ${is('d')}`, null],
    [`${is('b')} >> { }`, 'deg'],
    [`${is('g', 'f')} < { }`, 'cd'],
    [`${is('g')} << { }`, 'abd'],
    [`${is('b')} ~ { }`, 'c'],
    [`${is('d', 'e')} ~ { }`, 'de'],
    [`${is('a')} ~ { }`, null],
    // Negated: those of the right side for which none is on the left.
    [`${is('b')} !> { }`, 'abcfg'],
    [`${is('b')} !>> { }`, 'abcf'],
    [`{ } !< { }`, 'efg'],
    [`${is('g')} !< { }`, 'abcefg'],
    [`${is('g')} !<< { }`, 'cefg'],
    [`${is('b')} !~ { }`, 'abdefg'],
    [`${is('x')} !> { }`, 'abcdefg'],
    // Union: both sides of each pair.
    [`${is('b', 'f')} &> { }`, 'bde'],
    [`${is('b', 'f')} &>> { }`, 'bdeg'],
    [`${is('g', 'a')} &< { }`, 'dg'],
    [`${is('g', 'a')} &<< { }`, 'abdg'],
    [`${is('b', 'a')} &~ { }`, 'bc'],
    // Chains are read from the left.
    [`${is('a')} > { } > { }`, 'def'],
    [`${is('a')} > (${is('b')} > { })`, null],
    [`${is('a')} >> ${is('d', 'f')} || ${is('b')}`, 'bdf'],
  ])('%s finds %s', (text, expected) => {
    expect(found(text)).toEqual(expected === null ? [] : [expected])
  })
})

describe('structure', () => {
  test.each([
    ['{ nestedSetParent < 0 }', 'a'],
    ['{ parent = nil }', 'a'],
    ['{ childCount = 2 }', 'ab'],
    ['{ childCount = 0 }', 'efg'],
    ['{ nestedSetLeft = 1 && nestedSetRight = 14 }', 'a'],
    ['{ nestedSetLeft = 4 && nestedSetParent = 3 }', 'g'],
    ['{ span:parentID = "b" }', 'de'],
    ['{ span:id = "g" }', 'g'],
    ['{ rootName = "a" }', 'abcdefg'],
    // From 1000 to 1010 + 99 of b: the others end before it.
    ['{ traceDuration = 154ns }', 'abcdefg'],
  ])('%s finds %s', (text, expected) => {
    expect(found(text)).toEqual([expected])
  })
})

describe('conditions', () => {
  const span = plainSpan({
    spanId: 's',
    kind: 'server',
    status: 'error',
    statusMessage: 'no',
    duration: 1_500_000_000n,
    attributes: { text: 'blue', code: 404n, ratio: 0.5, yes: true, both: 's', list: ['a', 'b'] },
    resource: { 'service.name': 'shop', both: 'r' },
    scope: { name: 'http', version: '2', attributes: { lib: 'x' } },
    events: [
      { name: 'one', time: span0() + 5n, attributes: { n: 1n } },
      { name: 'two', time: span0() + 9n, attributes: { n: 2n } },
    ],
    links: [{ traceId: 'ff', spanId: 'ee', attributes: { why: 'w' } }],
  })
  const isTrue = (condition: string) => found(`{ ${condition} }`, [span]).length === 1

  test.each([
    ...['name = "s"', 'kind = server', 'status = error', 'statusMessage = "no"', 'duration = 1.5s'],
    ...['duration > 1500000000 - 1', '.text = "blue"', 'span.code = 404', 'span.code = 404.0'],
    ...['.code > 4e2', '.code + 1 = 405', '.code / 8 = 50.5', '.code % 100 = 4', '-.code = -404'],
    ...['2 ^ 3 = 8', '.ratio * 2 = 1', '.yes', '.yes = true', '!(.code = 1)', '.both = "s"'],
    ...['resource.both = "r"', '.service.name = "shop"', '.text =~ "b.*e"', '.text !~ "b"'],
    ...['.text != "red"', '.code != nil', '.missing = nil', '.text > "a" && .text < "c"'],
    ...['instrumentation:name = "http"', 'instrumentation.lib = "x"', 'event:name = "two"'],
    ...['event.n = 1 && event.n = 2', 'event:timeSinceStart >= 9ns', 'link:spanID = "ee"'],
    ...['link.why = "w"', 'link.why != nil', 'event.n != 1', '.list = "a"', '.list =~ "[b]"'],
    ...[
      '.list != "c"',
      '.missing || true',
      '!(.missing = 1)',
      '!(.missing != 1)',
      '(1 = 1) = .yes',
    ],
  ])('%s holds', (condition) => {
    expect(isTrue(condition)).toBe(true)
  })

  test.each([
    // What is missing is never compared, and what has another type neither equals nor differs.
    ...[
      '.missing = 1',
      '.missing != 1',
      '.missing !~ "a"',
      '.missing > 0',
      '.missing',
      '!.missing',
    ],
    ...['.text = 1', '.text != 1', '.code = "404"', '.code != "404"', '.yes = 1', '.yes = "true"'],
    // Regular expressions match all of a text.
    ...['.text =~ "lu"', '.text =~ "blu"', '.both = "r"', 'event.n = 3', '.list != "a"'],
    ...['.list !~ "a|x"', '.text && true', '.code', 'event:name = nil', 'link.other != nil'],
    ...['!.text', '.missing + 1 = 1', '.text + 1 = 1'],
  ])('%s does not', (condition) => {
    expect(isTrue(condition)).toBe(false)
  })

  test('a parent’s attributes', () => {
    const trace = [span, plainSpan({ spanId: 't', parentId: 's', attributes: { text: 'red' } })]
    expect(found('{ parent.text = "blue" && .text = "red" }', trace)).toEqual(['t'])
    expect(found('{ parent.resource.service.name = "shop" }', trace)).toEqual(['t'])
    expect(found('{ parent.missing = nil }', trace)).toEqual(['st'])
  })
})

function span0(): bigint {
  return 1_700_000_000_000_000_000n
}

describe('pipelines', () => {
  const spans = [1n, 2n, 3n, 4n].map((n) =>
    plainSpan({
      spanId: String(n),
      duration: n * 10n,
      attributes: n === 4n ? {} : { n, even: n % 2n === 0n },
    }),
  )

  test.each([
    ['{ } | count() = 4', ['1234']],
    ['{ .n > 1 } | count() > 2', []],
    ['{ } | avg(.n) = 2', ['1234']],
    ['{ } | min(.n) = 1', ['1234']],
    ['{ } | max(duration) = 40ns', ['1234']],
    ['{ } | sum(.n) = 6', ['1234']],
    ['{ } | sum(.n) + count() = 10', ['1234']],
    ['{ } | sum(.n * 2) = 12', ['1234']],
    ['{ .n = nil } | max(.n) < 100', []],
    ['{ } | by(.even)', ['13', '2', '4']],
    ['{ } | by(.even) | count() > 1', ['13']],
    ['{ } | by(.n > 1 && .n < 3)', ['134', '2']],
    ['{ } | by(.even) | coalesce()', ['1234']],
    ['{ } | by(.even) | { .n < 3 }', ['1', '2']],
    ['{ } | by(.even) | { .n < 3 } | coalesce()', ['12']],
    ['{ .n = 2 } | select(.n)', ['2']],
    ['({ } | count() > 4) || { .n = 1 }', ['1']],
    ['({ .n > 1 } | count() = 2) && { .n = 1 }', ['123']],
    ['count() = 4 | { .n = 3 }', ['3']],
  ])('%s finds %o', (text, expected) => {
    expect(found(text, spans).sort()).toEqual(expected)
  })

  test('traces without a spanset are not found', () => {
    const other = [plainSpan({ spanId: 'z', traceId: 'ff' })]
    const traces = searchTraces(parseTraceql('{ .n = 1 }'), [spans, other])
    expect(traces.map(({ spansets }) => spansets.map((each) => each.length))).toEqual([[1]])
  })
})
