/**
 * What an expression is for a span. An event's or link's field has a value for each of them, so every
 * expression gives a list: nothing of what is missing, one value of most, several of those.
 *
 * A comparison holds if it does for any pair of values of one type (numbers and durations are one);
 * with what is missing it never does, not even `!=`. Of an array `=` and `=~` look for any element,
 * `!=` and `!~` ask all of them. `&&`, `||` and `!` take what is not true for false, but `!` of a
 * value that is missing, or is neither true nor false, is false as well. Arithmetic is that of doubles.
 */

import type { Comparison, Expression, Intrinsic } from '../../query/tree.js'
import type { Attributes, Plain, PlainSpan } from './plain.js'
import type { Structure } from './structure.js'

/** A value with its type; statuses and kinds are types of their own, durations are numbers. */
export type Datum =
  | { type: 'string' | 'status' | 'spanKind'; value: string }
  | { type: 'number'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'array'; value: Datum[] }

/** Whether a condition holds; none always does. */
export function holds(
  condition: Expression | null,
  span: PlainSpan,
  structure: Structure,
): boolean {
  return condition === null || isTrue(values(condition, span, structure))
}

function isTrue(found: readonly Datum[]): boolean {
  return found.some(({ type, value }) => type === 'bool' && value)
}

/** The values of an expression. */
export function values(expression: Expression, span: PlainSpan, structure: Structure): Datum[] {
  switch (expression.kind) {
    case 'value':
      return constant(expression.value)
    case 'attribute': {
      const of = expression.parent ? structure.parent(span) : span
      return of ? attributes(of, expression.scope, expression.name) : []
    }
    case 'intrinsic':
      return intrinsic(expression.name, span, structure)
    case 'unary': {
      const operand = values(expression.operand, span, structure)
      if (expression.operator === '!') {
        return operand.flatMap(({ type, value }) => (type === 'bool' ? [bool(!value)] : []))
      }
      return operand.flatMap((each) => (each.type === 'number' ? [number(-each.value)] : []))
    }
    case 'binary': {
      const { operator, left, right } = expression
      const [of, with_] = [values(left, span, structure), values(right, span, structure)]
      if (operator === '&&') return [bool(isTrue(of) && isTrue(with_))]
      if (operator === '||') return [bool(isTrue(of) || isTrue(with_))]
      if (isNil(right)) return [bool(of.length > 0 === (operator === '!='))]
      if (isNil(left)) return [bool(with_.length > 0 === (operator === '!='))]
      if ('+-*/%^'.includes(operator)) return arithmetic(operator, of, with_)
      const comparison = operator as Comparison
      return [bool(of.some((one) => with_.some((other) => compares(comparison, one, other))))]
    }
  }
}

function isNil(expression: Expression): boolean {
  return expression.kind === 'value' && expression.value.type === 'nil'
}

function constant(value: Extract<Expression, { kind: 'value' }>['value']): Datum[] {
  switch (value.type) {
    case 'nil':
      return []
    case 'int':
    case 'float':
    case 'duration':
      return [number(Number(value.value))]
    default:
      return [value as Datum]
  }
}

export const number = (value: number): Datum => ({ type: 'number', value })
const bool = (value: boolean): Datum => ({ type: 'bool', value })
const string = (value: string): Datum => ({ type: 'string', value })

function datum(value: Plain): Datum {
  if (Array.isArray(value)) return { type: 'array', value: value.map(datum) }
  if (typeof value === 'string') return string(value)
  return typeof value === 'boolean' ? bool(value) : number(Number(value))
}

function attributes(span: PlainSpan, scope: string, name: string): Datum[] {
  const of = (from: Attributes) => (Object.hasOwn(from, name) ? [datum(from[name] as Plain)] : [])
  switch (scope) {
    case 'span':
      return of(span.attributes)
    case 'resource':
      return of(span.resource)
    case 'instrumentation':
      return of(span.scope.attributes)
    case 'event':
      return span.events.flatMap((event) => of(event.attributes))
    case 'link':
      return span.links.flatMap((link) => of(link.attributes))
    default: {
      const own = of(span.attributes)
      return own.length > 0 ? own : of(span.resource)
    }
  }
}

function intrinsic(name: Intrinsic, span: PlainSpan, structure: Structure): Datum[] {
  switch (name) {
    case 'name':
      return [string(span.name)]
    case 'duration':
      return [number(Number(span.duration))]
    case 'status':
      return [{ type: 'status', value: span.status }]
    case 'statusMessage':
      return [string(span.statusMessage)]
    case 'kind':
      return [{ type: 'spanKind', value: span.kind }]
    case 'parent':
    case 'span:parentID':
      return span.parentId === null ? [] : [string(span.parentId)]
    case 'childCount':
      return [number(structure.children(span).length)]
    case 'span:id':
      return [string(span.spanId)]
    case 'trace:id':
      return [string(span.traceId)]
    case 'traceDuration':
      return [number(Number(structure.duration))]
    case 'rootName':
      return structure.root ? [string(structure.root.name)] : []
    case 'rootServiceName':
      return structure.root ? attributes(structure.root, 'resource', 'service.name') : []
    case 'event:name':
      return span.events.map((event) => string(event.name))
    case 'event:timeSinceStart':
      return span.events.map((event) => number(Number(event.time - span.start)))
    case 'link:traceID':
      return span.links.map((link) => string(link.traceId))
    case 'link:spanID':
      return span.links.map((link) => string(link.spanId))
    case 'instrumentation:name':
      return [string(span.scope.name)]
    case 'instrumentation:version':
      return [string(span.scope.version)]
    case 'nestedSetLeft':
      return [number(structure.nested(span).left)]
    case 'nestedSetRight':
      return [number(structure.nested(span).right)]
    case 'nestedSetParent':
      return [number(structure.nested(span).parent)]
  }
}

function arithmetic(operator: string, left: readonly Datum[], right: readonly Datum[]): Datum[] {
  return left.flatMap((one) =>
    right.flatMap((other) =>
      one.type === 'number' && other.type === 'number'
        ? [number(calculated(operator, one.value, other.value))]
        : [],
    ),
  )
}

/** Of two numbers. */
export function calculated(operator: string, left: number, right: number): number {
  switch (operator) {
    case '+':
      return left + right
    case '-':
      return left - right
    case '*':
      return left * right
    case '/':
      return left / right
    case '%':
      return left % right
    default:
      return left ** right
  }
}

/** Whether a comparison of two values holds. */
export function compares(operator: Comparison, left: Datum, right: Datum): boolean {
  if (left.type === 'array') {
    const isAll = operator === '!=' || operator === '!~'
    const results = left.value.map((each) => compares(operator, each, right))
    return isAll ? !results.includes(false) : results.includes(true)
  }
  if (left.type !== right.type) return false
  if (operator === '=~' || operator === '!~') {
    if (left.type !== 'string' || right.type !== 'string') return false
    return matches(right.value, left.value) === (operator === '=~')
  }
  const [one, other] = [left.value, right.value] as [number, number]
  switch (operator) {
    case '=':
      return one === other
    case '!=':
      return one !== other
    case '<':
      return one < other
    case '<=':
      return one <= other
    case '>':
      return one > other
    case '>=':
      return one >= other
  }
}

/** Whether a regular expression matches all of a text. Flags stand in front alone. */
function matches(pattern: string, text: string): boolean {
  const [, flags = '', rest = pattern] = /^\(\?([ims]+)\)(.*)$/s.exec(pattern) ?? []
  return new RegExp(`^(?:${rest})$`, `u${flags}`).test(text)
}
