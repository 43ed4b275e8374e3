/**
 * Random queries over the vocabulary of `random-traces.ts`. Each is a tree that `printTraceql` writes
 * and `parseTraceql` reads as the same: checked types, and no sums that are numbers already.
 */

import type {
  Aggregate,
  Comparison,
  Expression,
  Intrinsic,
  Metrics,
  MetricsFunction,
  Query,
  Scalar,
  Scope,
  Spansets,
  Stage,
  Value,
} from '../../query/tree.js'
import { SPANSET_OPERATORS } from '../../query/tree.js'
import type { SeededRandom } from '../seeded-random.js'
import { KINDS, pick, STATUSES, WORDS, whole } from './random-traces.js'

const ORDERED: readonly Comparison[] = ['=', '!=', '<', '<=', '>', '>=']
const EQUALITY: readonly Comparison[] = ['=', '!=']
const PATTERNS = ['red|blue', '.*e.*', 'gr.+', '', '[a-m ]+', 'GET.*', '(?i)RED']

/** A search. */
export function randomSearch(random: SeededRandom): Query {
  const pipeline: Stage[] = [{ kind: 'spansets', spansets: randomSpansets(random, 2) }]
  if (random.chance(0.3)) pipeline.push({ kind: 'by', expression: groupField(random) })
  if (random.chance(0.3)) pipeline.push(randomFilter(random))
  if (random.chance(0.2)) pipeline.push({ kind: 'coalesce' })
  if (random.chance(0.2)) pipeline.push({ kind: 'spansets', spansets: randomSpans(random) })
  if (random.chance(0.2)) pipeline.push({ kind: 'select', fields: [groupField(random)] })
  return { pipeline, metrics: null, hints: [] }
}

const SIMPLE: readonly MetricsFunction[] = ['rate', 'count_over_time']
const OVER_TIME: readonly MetricsFunction[] = [
  ...(['min_over_time', 'max_over_time', 'avg_over_time', 'sum_over_time'] as const),
  ...(['quantile_over_time', 'histogram_over_time'] as const),
]

/** A query of metrics. `topk` stands only where equal values are as good as impossible. */
export function randomMetrics(random: SeededRandom): Query {
  const name = pick(random, random.chance(0.4) ? SIMPLE : OVER_TIME)
  const isSimple = SIMPLE.includes(name)
  const isOfDuration = random.chance(0.6)
  const argument: Expression = isOfDuration
    ? { kind: 'intrinsic', name: 'duration' }
    : attribute('span', pick(random, ['code', 'ratio', 'mixed']))
  const metrics: Metrics = {
    function: name,
    argument: isSimple ? null : argument,
    by: random.chance(0.6) ? [groupField(random)] : [],
    quantiles: name === 'quantile_over_time' ? [pick(random, [0.5, 0.9, 1])] : [],
    selection: null,
    top: 10,
    start: null,
    end: null,
    // biome-ignore lint/suspicious/noThenProperty: a list; only a function would be awaited.
    then: [],
  }
  const isDistinct = isOfDuration && ['max_over_time', 'sum_over_time'].includes(name)
  if (isDistinct && random.chance(0.5)) {
    metrics.then.push({
      kind: pick(random, ['topk', 'bottomk'] as const),
      limit: whole(random, 1, 3),
    })
  }
  if (random.chance(0.3)) {
    const value: Value = { type: 'float', value: pick(random, [0.05, 0.15, 1.5]) }
    metrics.then.push({ kind: 'filter', operator: pick(random, ['>', '<=']), value })
  }
  const spansets = random.chance(0.7) ? randomSpans(random) : randomSpansets(random, 1)
  return { pipeline: [{ kind: 'spansets', spansets }], metrics, hints: [] }
}

function randomSpans(random: SeededRandom): Spansets {
  return { kind: 'spans', condition: random.chance(0.1) ? null : randomCondition(random, 3) }
}

/** Spansets with operations at most `depth` deep. */
export function randomSpansets(random: SeededRandom, depth: number): Spansets {
  if (depth === 0 || random.chance(0.4)) return randomSpans(random)
  if (random.chance(0.15)) {
    const inner: Stage = { kind: 'spansets', spansets: randomSpansets(random, depth - 1) }
    return { kind: 'pipeline', stages: [inner, randomFilter(random)] }
  }
  return {
    kind: 'operation',
    operator: pick(random, SPANSET_OPERATORS),
    left: randomSpansets(random, depth - 1),
    right: randomSpansets(random, depth - 1),
  }
}

function randomFilter(random: SeededRandom): Stage {
  const functions: readonly Aggregate[] = ['count', 'avg', 'min', 'max', 'sum']
  const name = pick(random, functions)
  const argument: Expression | null =
    name === 'count'
      ? null
      : random.chance(0.5)
        ? { kind: 'intrinsic', name: 'duration' }
        : attribute('span', pick(random, ['code', 'ratio', 'mixed']))
  const aggregate: Scalar = { kind: 'aggregate', function: name, argument }
  const value: Value =
    argument?.kind === 'intrinsic'
      ? { type: 'duration', value: String(whole(random, 1, 2000) * 1_000_000) }
      : {
          type: 'int',
          value: String(name === 'count' ? whole(random, 0, 4) : whole(random, 0, 500)),
        }
  const left: Scalar = random.chance(0.2)
    ? { kind: 'binary', operator: '*', left: aggregate, right: int(2) as Scalar }
    : aggregate
  return { kind: 'filter', operator: pick(random, ORDERED), left, right: { kind: 'value', value } }
}

/** Something that is true or false of a span. */
export function randomCondition(random: SeededRandom, depth: number): Expression {
  if (depth > 0 && random.chance(0.45)) {
    const [left, right] = [randomCondition(random, depth - 1), randomCondition(random, depth - 1)]
    return { kind: 'binary', operator: pick(random, ['&&', '||'] as const), left, right }
  }
  if (depth > 0 && random.chance(0.12)) {
    return { kind: 'unary', operator: '!', operand: randomCondition(random, depth - 1) }
  }
  const kinds = [textual, textual, numeric, numeric, numeric, chosen, existing, mixed, plain, ofAny]
  return pick(random, kinds)(random)
}

/** Text against text. */
function textual(random: SeededRandom): Expression {
  const intrinsics: readonly Intrinsic[] = [
    ...(['name', 'statusMessage', 'rootName', 'rootServiceName', 'instrumentation:name'] as const),
    'instrumentation:version',
  ]
  const left: Expression = random.chance(0.4)
    ? { kind: 'intrinsic', name: pick(random, intrinsics) }
    : pick(random, TEXTS)
  if (random.chance(0.3)) {
    const operator = pick<Comparison>(random, ['=~', '!~'])
    return { kind: 'binary', operator, left, right: text(pick(random, PATTERNS)) }
  }
  const words = [...WORDS.services, ...WORDS.names, ...WORDS.texts, ...WORDS.scopes, '1.0']
  return { kind: 'binary', operator: pick(random, ORDERED), left, right: text(pick(random, words)) }
}

const TEXTS: readonly Expression[] = [
  attribute('resource', 'service.name'),
  attribute('resource', 'env'),
  attribute('any', 'service.name'),
  attribute('any', 'shared'),
  attribute('span', 'shared'),
  attribute('span', 'color'),
  attribute('span', 'with space'),
  attribute('span', 'list'),
  attribute('instrumentation', 'scoped'),
]

/** A number against a number, with arithmetic at times. */
function numeric(random: SeededRandom): Expression {
  const left = pick(random, [
    ...([attribute('span', 'code'), attribute('any', 'code'), attribute('any', 'ratio')] as const),
    ...([attribute('resource', 'replicas'), { kind: 'intrinsic', name: 'childCount' }] as const),
  ] as Expression[])
  if (random.chance(0.3)) {
    const name = pick<Intrinsic>(random, ['duration', 'traceDuration'])
    const nanoseconds = String(whole(random, 1, 1500) * 1_000_000)
    const right: Expression = { kind: 'value', value: { type: 'duration', value: nanoseconds } }
    const operator = pick<Comparison>(random, ['<', '<=', '>', '>='])
    return { kind: 'binary', operator, left: { kind: 'intrinsic', name }, right }
  }
  const right: Expression = random.chance(0.3)
    ? { kind: 'value', value: { type: 'float', value: pick(random, [0.25, 0.5, 1, 200.5, -1.5]) } }
    : int(pick(random, [0, 1, 2, 3, 200, 204, 404, -1]))
  if (random.chance(0.25)) {
    const operator = pick(random, ['+', '-', '*', '/', '%'] as const)
    const sum: Expression = { kind: 'binary', operator, left, right: int(whole(random, 1, 7)) }
    return { kind: 'binary', operator: pick(random, ORDERED), left: sum, right }
  }
  return { kind: 'binary', operator: pick(random, ORDERED), left, right }
}

/** A status or a kind. */
function chosen(random: SeededRandom): Expression {
  const isStatus = random.chance(0.5)
  const value: Value = isStatus
    ? { type: 'status', value: pick(random, STATUSES) }
    : { type: 'spanKind', value: pick(random, KINDS) }
  const left: Expression = { kind: 'intrinsic', name: isStatus ? 'status' : 'kind' }
  return { kind: 'binary', operator: pick(random, EQUALITY), left, right: { kind: 'value', value } }
}

/** Whether something is there. */
function existing(random: SeededRandom): Expression {
  const fields: readonly Expression[] = [
    ...TEXTS.filter((each) => each.kind === 'attribute' && each.name !== 'service.name'),
    attribute('span', 'mixed'),
    attribute('event', 'message'),
    attribute('link', 'why'),
    { kind: 'intrinsic', name: 'event:name' },
    { kind: 'intrinsic', name: 'parent' },
  ]
  const right: Expression = { kind: 'value', value: { type: 'nil' } }
  return { kind: 'binary', operator: pick(random, EQUALITY), left: pick(random, fields), right }
}

/** An attribute of several types against one of them. */
function mixed(random: SeededRandom): Expression {
  const left = attribute(pick<Scope>(random, ['any', 'span']), 'mixed')
  const right = pick<Expression>(random, [
    text('200'),
    int(200),
    { kind: 'value', value: { type: 'float', value: 200.5 } },
    { kind: 'value', value: { type: 'bool', value: true } },
  ])
  return { kind: 'binary', operator: pick(random, EQUALITY), left, right }
}

/** An attribute or a constant that is true or false by itself; a root. */
function plain(random: SeededRandom): Expression {
  return pick<Expression>(random, [
    attribute('span', 'good'),
    attribute('any', 'good'),
    attribute('span', 'mixed'),
    { kind: 'value', value: { type: 'bool', value: true } },
    {
      ...{ kind: 'binary', operator: '<', right: int(0) },
      left: { kind: 'intrinsic', name: 'nestedSetParent' },
    } as Expression,
  ])
}

/** What any event or link may have. */
function ofAny(random: SeededRandom): Expression {
  const milliseconds: Expression = { kind: 'value', value: { type: 'duration', value: '500000' } }
  const since: Expression = { kind: 'intrinsic', name: 'event:timeSinceStart' }
  if (random.chance(0.3)) {
    const operator = pick<Comparison>(random, ['<', '>='])
    return { kind: 'binary', operator, left: since, right: milliseconds }
  }
  const left = pick<Expression>(random, [
    attribute('event', 'message'),
    attribute('link', 'why'),
    { kind: 'intrinsic', name: 'event:name' },
  ])
  const right = text(pick(random, [...WORDS.texts, ...WORDS.events]))
  return { kind: 'binary', operator: pick(random, EQUALITY), left, right }
}

function groupField(random: SeededRandom): Expression {
  return pick<Expression>(random, [
    { kind: 'intrinsic', name: 'name' },
    { kind: 'intrinsic', name: 'status' },
    { kind: 'intrinsic', name: 'kind' },
    attribute('resource', 'service.name'),
    attribute('resource', 'env'),
    attribute('span', 'code'),
    attribute('any', 'shared'),
    attribute('span', 'good'),
  ])
}

function attribute(scope: Scope, name: string): Expression {
  return { kind: 'attribute', scope, parent: false, name }
}

function text(value: string): Expression {
  return { kind: 'value', value: { type: 'string', value } }
}

function int(value: number): Expression {
  return { kind: 'value', value: { type: 'int', value: String(value) } }
}
