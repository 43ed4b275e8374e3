/**
 * Checks that a tree makes sense: that types fit, regular expressions compile, and the whole is not
 * too large. What an attribute holds is known to the data alone, so it fits everywhere.
 */

import type {
  Expression,
  Intrinsic,
  Metrics,
  Query,
  Scalar,
  Spansets,
  Stage,
  Value,
} from '../tree.js'
import { INT64_MAX } from './durations.js'
import { failure } from './failure.js'
import { MAX_FIELDS, MAX_QUANTILES, MAX_TOP, MAX_TREE_DEPTH } from './limits.js'
import { regexProblem } from './regex.js'

/** A static type; `unknown` is an attribute's, `number` that of arithmetic. */
type Type = Value['type'] | 'number' | 'unknown' | 'parent'

const NUMBERS: readonly Type[] = ['int', 'float', 'duration', 'number']

const INTRINSIC_TYPES: Record<Intrinsic, Type> = {
  name: 'string',
  duration: 'duration',
  status: 'status',
  statusMessage: 'string',
  kind: 'spanKind',
  parent: 'parent',
  childCount: 'int',
  'span:id': 'string',
  'span:parentID': 'string',
  'trace:id': 'string',
  traceDuration: 'duration',
  rootName: 'string',
  rootServiceName: 'string',
  'event:name': 'string',
  'event:timeSinceStart': 'duration',
  'link:traceID': 'string',
  'link:spanID': 'string',
  'instrumentation:name': 'string',
  'instrumentation:version': 'string',
  nestedSetLeft: 'int',
  nestedSetRight: 'int',
  nestedSetParent: 'int',
}

/** Intrinsics that a span may lack; the others are never nil. */
const OPTIONAL: readonly Intrinsic[] = [
  ...(['parent', 'event:name', 'event:timeSinceStart', 'link:traceID', 'link:spanID'] as const),
  ...(['instrumentation:name', 'instrumentation:version'] as const),
]

const WORDS: Record<Type, string> = {
  nil: 'nil',
  string: 'text',
  int: 'an integer',
  float: 'a number',
  bool: 'true or false',
  duration: 'a duration',
  status: 'a status (ok, error or unset)',
  spanKind: 'a kind (server, client, …)',
  number: 'a number',
  unknown: 'an attribute',
  parent: 'a parent, of which only `parent = nil` and `parent != nil` can be asked',
}

/**
 * Checks a query; `places` tells where in `text` its parts begin. Throws `TRACEQL_TYPE`,
 * `TRACEQL_REGEX`, `TRACEQL_SYNTAX` or `TRACEQL_TOO_LARGE`.
 */
export function checkQuery(query: Query, text: string, places: ReadonlyMap<object, number>): void {
  if (depthOf(query) > MAX_TREE_DEPTH) {
    const problem = `the query is nested too deep: its tree has more than ${MAX_TREE_DEPTH} levels`
    throw failure('TRACEQL_TOO_LARGE', text, 0, problem)
  }
  new Check(text, places).query(query)
}

/** How deep objects and lists stand within each other. */
function depthOf(value: unknown): number {
  let deepest = 0
  const left: { value: unknown; depth: number }[] = [{ value, depth: 1 }]
  for (let item = left.pop(); item !== undefined; item = left.pop()) {
    if (typeof item.value !== 'object' || item.value === null) continue
    deepest = Math.max(deepest, item.depth)
    for (const part of Object.values(item.value)) left.push({ value: part, depth: item.depth + 1 })
  }
  return deepest
}

class Check {
  constructor(
    private readonly text: string,
    private readonly places: ReadonlyMap<object, number>,
  ) {}

  query({ pipeline, metrics }: Query): void {
    for (const stage of pipeline) this.#stage(stage)
    if (metrics) this.#metrics(metrics)
  }

  #stage(stage: Stage): void {
    if (stage.kind === 'spansets') this.#spansets(stage.spansets)
    else if (stage.kind === 'filter') this.#filter(stage)
    else if (stage.kind === 'by') {
      this.#type(stage.expression)
      this.#needsSpan(stage.expression, 'by(…) groups by what spans have')
    } else if (stage.kind === 'select') this.#fields(stage, stage.fields, 'select')
  }

  #spansets(spansets: Spansets): void {
    if (spansets.kind === 'operation') {
      this.#spansets(spansets.left)
      this.#spansets(spansets.right)
    } else if (spansets.kind === 'pipeline') {
      for (const stage of spansets.stages) this.#stage(stage)
    } else if (spansets.condition) this.#condition(spansets.condition)
  }

  #condition(condition: Expression): void {
    const type = this.#type(condition)
    if (type === 'bool' || type === 'unknown') return
    throw this.#wrong(condition, `a condition is true or false, this is ${WORDS[type]}: compare it`)
  }

  #filter(stage: Extract<Stage, { kind: 'filter' }>): void {
    const { operator, left, right } = stage
    if (operator === '=~' || operator === '!~') {
      throw this.#wrong(stage, 'numbers of spansets are compared by =, !=, <, <=, > and >=')
    }
    const isAggregate = [this.#scalar(left), this.#scalar(right)]
    if (!isAggregate.includes(true)) {
      throw this.#wrong(stage, 'compare count(), avg(…), min(…), max(…) or sum(…) with a number')
    }
  }

  /** Checks a scalar; whether an aggregate is in it. */
  #scalar(scalar: Scalar): boolean {
    if (scalar.kind === 'binary') {
      const found = [this.#scalar(scalar.left), this.#scalar(scalar.right)]
      return found.includes(true)
    }
    if (scalar.kind === 'value') {
      const { type } = scalar.value
      if (!NUMBERS.includes(type))
        throw this.#wrong(scalar, `a number stands here, not ${WORDS[type]}`)
      this.#range(scalar, scalar.value)
      return false
    }
    const { argument } = scalar
    if (argument === null) {
      if (scalar.function === 'count') return true
      throw this.#wrong(
        scalar,
        `${scalar.function} needs a field, as in ${scalar.function}(duration)`,
      )
    }
    this.#numeric(argument, `${scalar.function}(…)`)
    this.#needsSpan(argument, `${scalar.function}(…) needs what spans have`)
    return true
  }

  #numeric(argument: Expression, what: string): void {
    const type = this.#type(argument)
    if (type === 'unknown' || NUMBERS.includes(type)) return
    throw this.#wrong(argument, `${what} takes numbers and durations, this is ${WORDS[type]}`)
  }

  #metrics(metrics: Metrics): void {
    const { function: name, argument, by, quantiles, selection, top, start, end, then } = metrics
    this.#fields(metrics, by, 'by')
    if (argument) this.#numeric(argument, name)
    for (const quantile of quantiles) {
      if (quantile > 1)
        throw this.#wrong(metrics, `a quantile is 0 to 1, not ${quantile}: 0.99 is p99`)
    }
    if (quantiles.length > MAX_QUANTILES) {
      const problem = `more than ${MAX_QUANTILES} quantiles in one query`
      throw this.#wrong(metrics, problem, 'TRACEQL_TOO_LARGE')
    }
    for (const stage of then) {
      if (stage.kind !== 'filter') this.#top(stage, stage.limit, stage.kind)
    }
    if (name !== 'compare') return
    if (selection) this.#condition(selection)
    this.#top(metrics, top, name)
    if (start !== null && end !== null && BigInt(start) >= BigInt(end)) {
      throw this.#wrong(
        metrics,
        'compare selects from a start to a later end, in nanoseconds since 1970',
      )
    }
    if (then.length > 0 || by.length > 0) {
      throw this.#wrong(metrics, 'behind compare(…) nothing else can stand')
    }
  }

  #top(node: object, top: number, name: string): void {
    if (top >= 1 && top <= MAX_TOP) return
    const code = top < 1 ? 'TRACEQL_TYPE' : 'TRACEQL_TOO_LARGE'
    throw this.#wrong(node, `${name} takes 1 to ${MAX_TOP}, not ${top}`, code)
  }

  #fields(node: object, fields: readonly Expression[], what: string): void {
    if (fields.length > MAX_FIELDS) {
      throw this.#wrong(
        node,
        `${what}(…) names more than ${MAX_FIELDS} fields`,
        'TRACEQL_TOO_LARGE',
      )
    }
    for (const field of fields) {
      if (field.kind === 'attribute' || field.kind === 'intrinsic') continue
      throw this.#wrong(field, `${what}(…) takes attributes and intrinsics alone here`)
    }
  }

  #needsSpan(expression: Expression, problem: string): void {
    const parts = [expression]
    for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
      if (part.kind === 'attribute' || part.kind === 'intrinsic') return
      if (part.kind === 'binary') parts.push(part.left, part.right)
      if (part.kind === 'unary') parts.push(part.operand)
    }
    throw this.#wrong(expression, `${problem}: name an attribute or an intrinsic`)
  }

  /** Checks an expression; its type. */
  #type(expression: Expression): Type {
    switch (expression.kind) {
      case 'value':
        this.#range(expression, expression.value)
        return expression.value.type
      case 'attribute':
        return 'unknown'
      case 'intrinsic':
        return INTRINSIC_TYPES[expression.name]
      case 'unary': {
        const type = this.#type(expression.operand)
        const fits = expression.operator === '!' ? type === 'bool' : NUMBERS.includes(type)
        if (fits || type === 'unknown') return expression.operator === '!' ? 'bool' : 'number'
        throw this.#wrong(
          expression,
          `\`${expression.operator}\` cannot stand before ${WORDS[type]}`,
        )
      }
      case 'binary':
        return this.#binary(expression)
    }
  }

  #binary(expression: Extract<Expression, { kind: 'binary' }>): Type {
    const { operator, left, right } = expression
    const types: [Type, Type] = [this.#type(left), this.#type(right)]
    if (types.includes('nil') || types.includes('parent')) return this.#existence(expression, types)
    if (operator === '=~' || operator === '!~') return this.#regex(expression, types)
    const known = types.filter((type) => type !== 'unknown')
    const kinds = new Set(known.map((type) => (NUMBERS.includes(type) ? 'number' : type)))
    if (kinds.size > 1) {
      const [one, other] = types.map((type) => WORDS[type])
      throw this.#wrong(expression, `\`${operator}\` between ${one} and ${other} can never hold`)
    }
    const unfit = known.find((type) => !isFor(operator, type))
    if (unfit) throw this.#wrong(expression, `\`${operator}\` is not for ${WORDS[unfit]}`)
    return '+-*/%^'.includes(operator) ? 'number' : 'bool'
  }

  /** `= nil` and `!= nil`: beside what may be missing. */
  #existence(expression: Extract<Expression, { kind: 'binary' }>, types: [Type, Type]): Type {
    const { operator, left, right } = expression
    const field = types[0] === 'nil' ? right : left
    if (!types.includes('nil') || (operator !== '=' && operator !== '!=')) {
      const what = types.includes('nil') ? '`nil`' : '`parent`'
      throw this.#wrong(expression, `${what} stands beside = and != alone, as in \`.a != nil\``)
    }
    if (field.kind === 'attribute' || types.every((type) => type === 'nil')) return 'bool'
    if (field.kind !== 'intrinsic') {
      throw this.#wrong(field, 'only attributes and intrinsics can be compared with nil')
    }
    if (operator === '=' && !OPTIONAL.includes(field.name)) {
      throw this.#wrong(expression, `every span has \`${field.name}\`: it is never nil`)
    }
    return 'bool'
  }

  #regex(expression: Extract<Expression, { kind: 'binary' }>, [type]: [Type, Type]): Type {
    const { operator, right } = expression
    if (type !== 'string' && type !== 'unknown') {
      throw this.#wrong(expression, `\`${operator}\` is for text, not for ${WORDS[type]}`)
    }
    if (right.kind !== 'value' || right.value.type !== 'string') {
      throw this.#wrong(right, `behind \`${operator}\` a regular expression stands in quotes`)
    }
    const problem = regexProblem(right.value.value)
    if (problem !== null) throw this.#wrong(right, problem, 'TRACEQL_REGEX')
    return 'bool'
  }

  #range(node: object, value: Value): void {
    if (value.type === 'int' && BigInt(value.value) > INT64_MAX) {
      throw this.#wrong(node, 'an integer has 64 bits: write a smaller one', 'TRACEQL_SYNTAX')
    }
    if (value.type === 'float' && !Number.isFinite(value.value)) {
      throw this.#wrong(node, 'the number is too large', 'TRACEQL_SYNTAX')
    }
  }

  #wrong(
    node: object,
    problem: string,
    code:
      | 'TRACEQL_TYPE'
      | 'TRACEQL_REGEX'
      | 'TRACEQL_TOO_LARGE'
      | 'TRACEQL_SYNTAX' = 'TRACEQL_TYPE',
  ): Error {
    return failure(code, this.text, this.places.get(node) ?? 0, problem)
  }
}

function isFor(operator: string, type: Type): boolean {
  if (operator === '=' || operator === '!=') return true
  if (operator === '&&' || operator === '||') return type === 'bool'
  if ('+-*/%^'.includes(operator)) return NUMBERS.includes(type)
  return NUMBERS.includes(type) || type === 'string'
}
