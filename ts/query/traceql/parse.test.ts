/** TraceQL as a tree: every operator, intrinsic, scope, value and function, and what is refused. */

import { describe, expect, test } from 'vitest'
import { OtlakeError } from '../../base/errors.js'
import type { Expression, Spansets, Stage } from '../tree.js'
import { SPANSET_OPERATORS } from '../tree.js'
import { MAX_QUERY_LENGTH, MAX_QUERY_NESTING, MAX_QUERY_TOKENS } from './limits.js'
import { parseField, parseTraceql } from './parse.js'
import { printTraceql } from './print.js'

const condition = (text: string): Expression | null => {
  const [stage] = parseTraceql(`{ ${text} }`).pipeline
  return stage?.kind === 'spansets' && stage.spansets.kind === 'spans'
    ? stage.spansets.condition
    : null
}
const spansets = (text: string): Spansets => {
  const [stage] = parseTraceql(text).pipeline
  if (stage?.kind !== 'spansets') throw new Error('no spansets')
  return stage.spansets
}
const attribute = (scope: string, name: string, parent = false) => ({
  ...{ kind: 'attribute', scope, parent, name },
})
const value = (type: string, of?: unknown) => ({
  kind: 'value',
  value: of === undefined ? { type } : { type, value: of },
})
const failing = (text: string): OtlakeError => {
  try {
    parseTraceql(text)
  } catch (error) {
    return OtlakeError.from(error)
  }
  throw new Error(`${text} is no error`)
}
/** With parentheses around everything that holds together. */
const grouped = (text: string) => {
  const show = (expression: Expression): string =>
    expression.kind === 'binary'
      ? `(${show(expression.left)}${expression.operator}${show(expression.right)})`
      : expression.kind === 'unary'
        ? `(${expression.operator}${show(expression.operand)})`
        : expression.kind === 'attribute'
          ? expression.name
          : expression.kind === 'value' && 'value' in expression.value
            ? String(expression.value.value)
            : expression.kind
  return show(condition(text) as Expression)
}

describe('fields', () => {
  test.each([
    ['.a', attribute('any', 'a')],
    ['.http.route', attribute('any', 'http.route')],
    ['resource.service.name', attribute('resource', 'service.name')],
    ['span.a', attribute('span', 'a')],
    ['event.a', attribute('event', 'a')],
    ['link.a', attribute('link', 'a')],
    ['instrumentation.a', attribute('instrumentation', 'a')],
    ['parent.a', attribute('any', 'a', true)],
    ['parent.span.a', attribute('span', 'a', true)],
    ['parent.resource.a', attribute('resource', 'a', true)],
    ['span."a b"', attribute('span', 'a b')],
    ['."a\\"b\\\\c"', attribute('any', 'a"b\\c')],
    ['resource.k8s."pod name".uid', attribute('resource', 'k8s.pod name.uid')],
    ['span.a-b/c:d+e*f', attribute('span', 'a-b/c:d+e*f')],
    ['.größe', attribute('any', 'größe')],
    ['span.name', attribute('span', 'name')],
  ])('%s', (text, expected) => {
    expect(condition(text)).toEqual(expected)
  })

  test.each([
    ...[
      ['name', 'name'],
      ['span:name', 'name'],
      ['duration', 'duration'],
      ['span:duration', 'duration'],
    ],
    ...[
      ['status', 'status'],
      ['span:status', 'status'],
      ['statusMessage', 'statusMessage'],
      ['span:statusMessage', 'statusMessage'],
    ],
    ...[
      ['kind', 'kind'],
      ['span:kind', 'kind'],
      ['parent', 'parent'],
      ['childCount', 'childCount'],
      ['span:childCount', 'childCount'],
    ],
    ...[
      ['span:id', 'span:id'],
      ['span:parentID', 'span:parentID'],
      ['trace:id', 'trace:id'],
      ['traceDuration', 'traceDuration'],
      ['trace:duration', 'traceDuration'],
    ],
    ...[
      ['rootName', 'rootName'],
      ['trace:rootName', 'rootName'],
      ['rootServiceName', 'rootServiceName'],
      ['trace:rootService', 'rootServiceName'],
    ],
    ...[
      ['event:name', 'event:name'],
      ['event:timeSinceStart', 'event:timeSinceStart'],
      ['link:traceID', 'link:traceID'],
      ['link:spanID', 'link:spanID'],
    ],
    ...[
      ['instrumentation:name', 'instrumentation:name'],
      ['instrumentation:version', 'instrumentation:version'],
    ],
    ...[
      ['nestedSetLeft', 'nestedSetLeft'],
      ['nestedSetRight', 'nestedSetRight'],
      ['nestedSetParent', 'nestedSetParent'],
    ],
  ])('%s is the intrinsic %s', (text, name) => {
    expect(condition(`${text} != nil`)).toMatchObject({ left: { kind: 'intrinsic', name } })
    expect(parseField(text)).toEqual({ kind: 'intrinsic', name })
  })

  test('names of the API are fields, and whole names of attributes without a scope', () => {
    expect(parseField('resource.service.name')).toEqual(attribute('resource', 'service.name'))
    expect(parseField('.service.name')).toEqual(attribute('any', 'service.name'))
    expect(parseField('service.name')).toEqual(attribute('any', 'service.name'))
    expect(parseField('span.a b')).toEqual(attribute('span', 'a b'))
    expect(parseField('ok')).toEqual(attribute('any', 'ok'))
    expect(() => parseField('')).toThrow(OtlakeError)
  })
})

describe('values', () => {
  test.each([
    ['nil', value('nil')],
    ['true', value('bool', true)],
    ['false', value('bool', false)],
    ['"a"', value('string', 'a')],
    ['`a\\b"c`', value('string', 'a\\b"c')],
    ['"\\n\\t\\"\\\\ \\u00e9 \\x41 \\101 \\xc3\\xa9"', value('string', '\n\t"\\ é A A é')],
    ['0', value('int', '0')],
    ['-1', value('int', '-1')],
    ['9223372036854775807', value('int', '9223372036854775807')],
    ['-9223372036854775808', value('int', '-9223372036854775808')],
    ['minInt', value('int', '-9223372036854775808')],
    ['maxInt', value('int', '9223372036854775807')],
    ['1.5', value('float', 1.5)],
    ['-2.5e3', value('float', -2500)],
    ['1e3', value('float', 1000)],
    ['1ns', value('duration', '1')],
    ['2us', value('duration', '2000')],
    ['2µs', value('duration', '2000')],
    ['3ms', value('duration', '3000000')],
    ['1.5s', value('duration', '1500000000')],
    ['1m', value('duration', '60000000000')],
    ['1h30m', value('duration', '5400000000000')],
    ['1d', value('duration', '86400000000000')],
    ['-1s', value('duration', '-1000000000')],
    ...['ok', 'error', 'unset'].map((name) => [name, value('status', name)] as const),
    ...(['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const).map(
      (name) => [name, value('spanKind', name)] as const,
    ),
  ] as [string, unknown][])('%s', (text, expected) => {
    expect(condition(`.a = ${text}`)).toMatchObject({ right: expected })
  })
})

describe('operators', () => {
  test.each(['=', '!=', '<', '<=', '>', '>='])('.a %s 1', (operator) => {
    expect(condition(`.a ${operator} 1`)).toEqual({
      ...{ kind: 'binary', operator, left: attribute('any', 'a'), right: value('int', '1') },
    })
  })

  test.each(['=~', '!~'])('.a %s "b.*"', (operator) => {
    expect(condition(`.a ${operator} "b.*"`)).toMatchObject({
      operator,
      right: value('string', 'b.*'),
    })
  })

  test.each(['+', '-', '*', '/', '%', '^'])('.a %s 1 = 2', (operator) => {
    expect(condition(`.a ${operator} 1 = 2`)).toMatchObject({ operator: '=', left: { operator } })
  })

  test.each(['&&', '||'])('.a %s .b', (operator) => {
    expect(condition(`.a ${operator} .b`)).toMatchObject({ kind: 'binary', operator })
  })

  test('prefixes', () => {
    expect(condition('!.a')).toEqual({
      kind: 'unary',
      operator: '!',
      operand: attribute('any', 'a'),
    })
    expect(condition('-.a < 0')).toMatchObject({ left: { kind: 'unary', operator: '-' } })
  })

  test.each([
    ['.a || .b && .c', '((a||b)&&c)'],
    ['.a && .b || .c', '((a&&b)||c)'],
    ['.a = 1 && .b = 2', '((a=1)&&(b=2))'],
    ['.a + 1 > .b * 2', '((a+1)>(b*2))'],
    ['.a - 1 - 2 = 0', '(((a-1)-2)=0)'],
    ['.a + 2 * 3 ^ 2 ^ 1 = 0', '((a+(2*(3^(2^1))))=0)'],
    ['.a / 2 % 3 = 0', '(((a/2)%3)=0)'],
    ['-.a + .b = 0', '(((-a)+b)=0)'],
    ['-.a * .b = 0', '((-(a*b))=0)'],
    ['!.a && .b', '((!a)&&b)'],
    ['!.a = .b', '((!a)=b)'],
    ['!(.a = .b)', '(!(a=b))'],
    ['(.a || .b) && .c', '((a||b)&&c)'],
    ['.a || (.b && .c)', '(a||(b&&c))'],
    ['.a - (1 - 2) = 0', '((a-(1-2))=0)'],
    ['.a && .b && .c && .d', '((a&&b)&&(c&&d))'],
  ])('%s is %s', (text, expected) => {
    expect(grouped(text)).toBe(expected)
  })

  test('a long row stays shallow', () => {
    const row = Array.from({ length: 370 }, (_, index) => `.a = ${index}`).join(' || ')
    const depth = (expression: Expression): number =>
      expression.kind === 'binary'
        ? 1 + Math.max(depth(expression.left), depth(expression.right))
        : 0
    expect(depth(condition(row) as Expression)).toBe(10)
  })
})

test.each([
  ['{ ', '.a', ' || ', ' }', 2],
  ['{ ', '.a = 1', ' && ', ' }', 4],
  ['', '{ .a }', ' || ', '', 4],
  ['{ } | by(.a)', ' | by(.a)', '', '', 5],
  ['', '{ .a }', ' | ', '', 4],
])('%s%s%s… as long as may be is read whole', (before, part, between, after, size) => {
  const count = Math.floor((MAX_QUERY_TOKENS - 8) / size)
  const text = before + Array.from({ length: count }, () => part).join(between) + after
  expect(printTraceql(parseTraceql(text)).match(/\.a/g)?.length).toBeGreaterThanOrEqual(count)
})

describe('spansets', () => {
  test.each(SPANSET_OPERATORS)('{ .a } %s { .b }', (operator) => {
    expect(spansets(`{ .a } ${operator} { .b }`)).toEqual({
      kind: 'operation',
      operator,
      left: { kind: 'spans', condition: attribute('any', 'a') },
      right: { kind: 'spans', condition: attribute('any', 'b') },
    })
  })

  test.each([
    ['{ .a } > { .b } > { .c }', '({ .a } > { .b }) > { .c }'],
    ['{ .a } && { .b } > { .c }', '{ .a } && ({ .b } > { .c })'],
    ['{ .a } >> { .b } || { .c } ~ { .d }', '({ .a } >> { .b }) || ({ .c } ~ { .d })'],
    ['{ .a } && { .b } || { .c }', '({ .a } && { .b }) || { .c }'],
    ['{ .a } > ({ .b } > { .c })', '{ .a } > ({ .b } > { .c })'],
  ])('%s is %s', (text, expected) => {
    expect(printTraceql(parseTraceql(text))).toBe(expected)
  })

  test('pipelines in parentheses are spansets', () => {
    const left = spansets('({ .a } | count() > 1) && { .b }')
    expect(left).toMatchObject({
      operator: '&&',
      left: { kind: 'pipeline', stages: [{ kind: 'spansets' }, { kind: 'filter' }] },
    })
  })
})

describe('pipelines', () => {
  const stages = (text: string): Stage[] => parseTraceql(text).pipeline

  test('spaces, lines and comments mean nothing', () => {
    const text = '{ .a=1 // one\n && /* two\n lines */ .b }|by( name )|count( ) > 1'
    expect(printTraceql(parseTraceql(text))).toBe('{ .a = 1 && .b } | by(name) | count() > 1')
  })

  test.each(['avg', 'min', 'max', 'sum'])('%s', (name) => {
    expect(stages(`{ } | ${name}(.a * 2) >= 3`)[1]).toMatchObject({
      kind: 'filter',
      operator: '>=',
      left: { kind: 'aggregate', function: name, argument: { operator: '*' } },
      right: value('int', '3'),
    })
  })

  test('count', () => {
    expect(stages('{ } | count() != 3')[1]).toMatchObject({
      left: { kind: 'aggregate', function: 'count', argument: null },
    })
  })

  test('arithmetic of numbers of spansets', () => {
    const [, filter] = stages('{ } | avg(duration) * 2 + 1s > max(duration) - -1ms')
    expect(filter).toMatchObject({
      left: { operator: '+', left: { operator: '*' } },
      right: { operator: '-', right: value('duration', '-1000000') },
    })
  })

  test('by, coalesce and select', () => {
    expect(stages('{ } | by(.a, name) | coalesce() | select(.b, span:id, status)')).toEqual([
      { kind: 'spansets', spansets: { kind: 'spans', condition: null } },
      { kind: 'by', expression: attribute('any', 'a') },
      { kind: 'by', expression: { kind: 'intrinsic', name: 'name' } },
      { kind: 'coalesce' },
      {
        kind: 'select',
        fields: [
          attribute('any', 'b'),
          { kind: 'intrinsic', name: 'span:id' },
          { kind: 'intrinsic', name: 'status' },
        ],
      },
    ])
  })

  test('a pipeline without a filter in front begins with all spans', () => {
    expect(stages('count() > 1')).toEqual(stages('{ } | count() > 1'))
    expect(stages('by(.a) | { .b }')).toEqual(stages('{ } | by(.a) | { .b }'))
  })
})

describe('metrics', () => {
  const metrics = (text: string) => parseTraceql(text).metrics
  const plain = {
    ...{ argument: null, by: [], quantiles: [], selection: null, top: 10, start: null, end: null },
    // biome-ignore lint/suspicious/noThenProperty: a list; only a function would be awaited.
    then: [],
  }

  test.each(['rate', 'count_over_time'])('%s', (name) => {
    expect(metrics(`{ .a } | ${name}()`)).toEqual({ ...plain, function: name })
    expect(metrics(`{ .a } | ${name} ( ) by (.b, kind)`)?.by).toEqual([
      attribute('any', 'b'),
      { kind: 'intrinsic', name: 'kind' },
    ])
  })

  test.each([
    ...['min_over_time', 'max_over_time', 'avg_over_time', 'sum_over_time', 'histogram_over_time'],
  ])('%s', (name) => {
    expect(metrics(`{ } | ${name}(span.a) by (name)`)).toEqual({
      ...plain,
      function: name,
      argument: attribute('span', 'a'),
      by: [{ kind: 'intrinsic', name: 'name' }],
    })
  })

  test('quantile_over_time', () => {
    expect(metrics('{ } | quantile_over_time(duration, 0, 0.9, 1) by (.a)')).toMatchObject({
      argument: { kind: 'intrinsic', name: 'duration' },
      quantiles: [0, 0.9, 1],
      by: [attribute('any', 'a')],
    })
  })

  test('compare', () => {
    expect(metrics('{ } | compare({ status = error })')).toMatchObject({
      ...{ function: 'compare', top: 10, start: null, end: null },
      selection: { operator: '=' },
    })
    expect(metrics('{ } | compare({ }, 20, 100, 200)')).toMatchObject({
      ...{ selection: null, top: 20, start: '100', end: '200' },
    })
  })

  test('topk, bottomk and comparisons in their order', () => {
    expect(metrics('{ } | rate() by (name) > 0.5 | topk(5) <= 10 | bottomk(2)')?.then).toEqual([
      { kind: 'filter', operator: '>', value: { type: 'float', value: 0.5 } },
      { kind: 'topk', limit: 5 },
      { kind: 'filter', operator: '<=', value: { type: 'int', value: '10' } },
      { kind: 'bottomk', limit: 2 },
    ])
    expect(metrics('{ } | max_over_time(duration) > -10s')?.then).toEqual([
      { kind: 'filter', operator: '>', value: { type: 'duration', value: '-10000000000' } },
    ])
  })

  test('hints stand at the end', () => {
    expect(parseTraceql('{ } | rate() with (sample=0.1, most_recent=true)').hints).toEqual([
      { name: 'sample', value: { type: 'float', value: 0.1 } },
      { name: 'most_recent', value: { type: 'bool', value: true } },
    ])
  })
})

describe('what is no query is refused with its code and place', () => {
  test.each([
    ['', 'TRACEQL_SYNTAX', 'at the end of the query'],
    ['{', 'TRACEQL_SYNTAX', '`{` is not closed'],
    ['{ .a = }', 'TRACEQL_SYNTAX', 'at character 8'],
    ['{ .a == 1 }', 'TRACEQL_SYNTAX', 'at character 7'],
    ['{ foo = 1 }', 'TRACEQL_SYNTAX', '`span.foo`'],
    ["{ .a = 'x' }", 'TRACEQL_SYNTAX', 'double quotes'],
    ['{ .a = "x }', 'TRACEQL_SYNTAX', 'close its quotes'],
    ['{ .a =~ "\\d" }', 'TRACEQL_SYNTAX', 'no escape'],
    ['{ .a ~ "b" }', 'TRACEQL_SYNTAX', '`=~`'],
    ['{ span. }', 'TRACEQL_SYNTAX', 'needs a name'],
    ['{ span:nothing = 1 }', 'TRACEQL_SYNTAX', 'span:name'],
    ['{ .a = 9223372036854775808 }', 'TRACEQL_SYNTAX', '64 bits'],
    ['{ .a }\n  { .b }', 'TRACEQL_SYNTAX', 'line 2, character 3'],
    ['{ } | median(.a) > 1', 'TRACEQL_SYNTAX', 'no function `median`'],
    ['{ } | count > 1', 'TRACEQL_SYNTAX', '`count(…)`'],
    ['{ } | avg() > 1', 'TRACEQL_SYNTAX', 'at character'],
    ['{ } | count()', 'TRACEQL_SYNTAX', 'at the end'],
    ['coalesce() | { }', 'TRACEQL_SYNTAX', 'behind by(…)'],
    ['count() > 3 && { }', 'TRACEQL_SYNTAX', 'in parentheses'],
    ['{ } | topk(3)', 'TRACEQL_SYNTAX', 'behind metrics'],
    ['{ } | rate() | { .a }', 'TRACEQL_SYNTAX', 'behind metrics only'],
    ['{ } | rate() > .a', 'TRACEQL_SYNTAX', 'with a number'],
    ['{ } with(a)', 'TRACEQL_SYNTAX', 'hints are written'],
    ['{ } | select(1 + .a)', 'TRACEQL_TYPE', 'attributes and intrinsics alone'],
    ['{ 1 }', 'TRACEQL_TYPE', 'true or false'],
    ['{ name }', 'TRACEQL_TYPE', 'text'],
    ['{ 1 = "a" }', 'TRACEQL_TYPE', 'can never hold'],
    ['{ duration = "a" }', 'TRACEQL_TYPE', 'can never hold'],
    ['{ status = server }', 'TRACEQL_TYPE', 'can never hold'],
    ['{ status > ok }', 'TRACEQL_TYPE', 'is not for a status'],
    ['{ .a && 1 }', 'TRACEQL_TYPE', '`&&` is not for'],
    ['{ true || "a" }', 'TRACEQL_TYPE', 'can never hold'],
    ['{ duration =~ "a" }', 'TRACEQL_TYPE', '`=~` is for text'],
    ['{ .a =~ 1 }', 'TRACEQL_TYPE', 'in quotes'],
    ['{ .a =~ .b }', 'TRACEQL_TYPE', 'in quotes'],
    ['{ !name }', 'TRACEQL_TYPE', 'cannot stand before'],
    ['{ -name = 1 }', 'TRACEQL_TYPE', 'cannot stand before'],
    ['{ name = nil }', 'TRACEQL_TYPE', 'never nil'],
    ['{ .a > nil }', 'TRACEQL_TYPE', '= and != alone'],
    ['{ parent = 1 }', 'TRACEQL_TYPE', '= and != alone'],
    ['{ } | max(name) > 1', 'TRACEQL_TYPE', 'takes numbers'],
    ['{ } | sum(3) > 1', 'TRACEQL_TYPE', 'name an attribute'],
    ['{ } | by(1)', 'TRACEQL_TYPE', 'name an attribute'],
    ['{ } | 1 > 2', 'TRACEQL_TYPE', 'count()'],
    ['{ } | count() > "a"', 'TRACEQL_SYNTAX', 'at character'],
    ['{ } | max_over_time(name)', 'TRACEQL_TYPE', 'takes numbers'],
    ['{ } | quantile_over_time(duration, 99)', 'TRACEQL_TYPE', '0 to 1'],
    ['{ } | rate() | topk(0)', 'TRACEQL_TYPE', '1 to'],
    ['{ } | rate() | topk(100000)', 'TRACEQL_TOO_LARGE', '1 to'],
    ['{ } | compare({ }, 0)', 'TRACEQL_TYPE', '1 to'],
    ['{ } | compare({ }, 1, 20, 10)', 'TRACEQL_TYPE', 'later end'],
    ['{ } | compare({ .a }) | topk(3)', 'TRACEQL_TYPE', 'behind compare'],
    ['{ .a =~ "(" }', 'TRACEQL_REGEX', 'not closed'],
    ['({ } | rate()) / ({ } | rate())', 'TRACEQL_UNSUPPORTED', 'arithmetic'],
    ['{ .a } | rate() / { } | rate()', 'TRACEQL_UNSUPPORTED', 'at character 17'],
    ['{ } | rate() by (.a) * 100', 'TRACEQL_UNSUPPORTED', 'by its own query'],
    ['({ }) + ({ })', 'TRACEQL_UNSUPPORTED', 'arithmetic'],
  ])('%s: %s', (text, code, message) => {
    const error = failing(text)
    expect([error.code, error.message]).toEqual([code, expect.stringContaining(message)])
  })

  test('I5: a query beyond the limits is refused, not parsed', () => {
    const nested = (depth: number) => `{ ${'('.repeat(depth)}.a${')'.repeat(depth)} }`
    expect(condition(nested(MAX_QUERY_NESTING - 2).slice(2, -2))).toEqual(attribute('any', 'a'))
    for (const text of [
      nested(MAX_QUERY_NESTING + 1),
      `{ ${'!'.repeat(MAX_QUERY_NESTING + 1)}.a }`,
      `{ ${'!(!'.repeat(60)}.a${')'.repeat(60)} }`,
      `{ .a${' + 1'.repeat(200)} = 1 }`,
      `{ ${Array.from({ length: MAX_QUERY_TOKENS }, () => '.a').join(' && ')} }`,
      `{ .a = "${'x'.repeat(MAX_QUERY_LENGTH)}" }`,
      `{ } | select(${Array.from({ length: 100 }, () => '.a').join(', ')})`,
      `{ } | quantile_over_time(.a, ${Array.from({ length: 100 }, () => '1').join(', ')})`,
      `{ } with(${Array.from({ length: 100 }, () => 'a=1').join(', ')})`,
    ]) {
      expect(failing(text).code, text.slice(0, 60)).toBe('TRACEQL_TOO_LARGE')
    }
  })
})
