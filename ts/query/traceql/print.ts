/** A tree back as TraceQL: what `parse.ts` reads as the same tree. */

import type {
  Expression,
  Metrics,
  Query,
  Scalar,
  SecondStage,
  Spansets,
  Stage,
  Value,
} from '../tree.js'
import { printDuration } from './durations.js'
import { level, PREFIX_LEVEL } from './precedence.js'
import { printName, printString } from './strings.js'
import { isPlainName } from './tokens.js'

/** The text of a query. */
export function printTraceql({ pipeline, metrics, hints }: Query): string {
  const stages = pipeline.map(printStage)
  const series = metrics ? [printMetrics(metrics)] : []
  const shown = hints.map(({ name, value }) => `${name}=${printValue(value)}`).join(', ')
  const end = hints.length > 0 ? ` with(${shown})` : ''
  return `${[...stages, ...series].join(' | ')}${end}`
}

function printStage(stage: Stage): string {
  switch (stage.kind) {
    case 'spansets':
      return printSpansets(stage.spansets)
    case 'filter':
      return `${printScalar(stage.left)} ${stage.operator} ${printScalar(stage.right)}`
    case 'by':
      return `by(${printExpression(stage.expression)})`
    case 'coalesce':
      return 'coalesce()'
    case 'select':
      return `select(${stage.fields.map(printExpression).join(', ')})`
  }
}

function printSpansets(spansets: Spansets): string {
  if (spansets.kind === 'spans') {
    return spansets.condition ? `{ ${printExpression(spansets.condition)} }` : '{ }'
  }
  if (spansets.kind === 'pipeline') return `(${spansets.stages.map(printStage).join(' | ')})`
  const [left, right] = [spansets.left, spansets.right].map((side) =>
    side.kind === 'operation' ? `(${printSpansets(side)})` : printSpansets(side),
  )
  return `${left} ${spansets.operator} ${right}`
}

/** An expression of a condition, without the braces. */
export function printExpression(expression: Expression): string {
  switch (expression.kind) {
    case 'value':
      return printValue(expression.value)
    case 'intrinsic':
      return expression.name
    case 'attribute': {
      const { scope, parent, name } = expression
      const before = `${parent ? 'parent' : ''}${scope === 'any' ? '' : `${parent ? '.' : ''}${scope}`}`
      // The name of a parent's attribute must not look like a scope.
      const isPlain = isPlainName(name) && !(parent && scope === 'any' && name.includes('.'))
      return `${before}.${isPlain ? name : printName(name)}`
    }
    case 'unary':
      return `${expression.operator}(${printExpression(expression.operand)})`
    case 'binary': {
      const { operator, left, right } = expression
      return `${inside(left, operator)} ${operator} ${inside(right, operator)}`
    }
  }
}

/** An operand, in parentheses where it would not hold together. */
function inside(operand: Expression, operator: string): string {
  const text = printExpression(operand)
  if (operand.kind === 'binary')
    return level(operand.operator) > level(operator) ? text : `(${text})`
  const isPrefixed = operand.kind === 'unary' || text.startsWith('-')
  if (isPrefixed && level(operator) > PREFIX_LEVEL) return `(${text})`
  return text
}

function printValue(value: Value): string {
  switch (value.type) {
    case 'nil':
      return 'nil'
    case 'string':
      return printString(value.value)
    case 'float': {
      const text = String(value.value)
      return /[.e]/.test(text)
        ? text.replace('e+', 'e')
        : `${Object.is(value.value, -0) ? '-0' : text}.0`
    }
    case 'duration':
      return `${value.value.startsWith('-') ? '-' : ''}${printDuration(BigInt(value.value))}`
    default:
      return String(value.value)
  }
}

function printScalar(scalar: Scalar): string {
  if (scalar.kind === 'value') return printValue(scalar.value)
  if (scalar.kind === 'aggregate') {
    return `${scalar.function}(${scalar.argument ? printExpression(scalar.argument) : ''})`
  }
  const [left, right] = [scalar.left, scalar.right].map((side) => {
    const text = printScalar(side)
    return side.kind === 'binary' ? `(${text})` : text
  })
  return `${left} ${scalar.operator} ${right}`
}

function printMetrics(metrics: Metrics): string {
  const { function: name, argument, by, quantiles, selection, top, start, end, then } = metrics
  const condition = selection ? `{ ${printExpression(selection)} }` : '{ }'
  const range = start === null || end === null ? [] : [start, end]
  const given =
    name === 'compare'
      ? [condition, String(top), ...range]
      : [...(argument ? [printExpression(argument)] : []), ...quantiles.map(String)]
  const group = by.length > 0 ? ` by (${by.map(printExpression).join(', ')})` : ''
  return `${name}(${given.join(', ')})${group}${then.map(printSecond).join('')}`
}

function printSecond(stage: SecondStage): string {
  return stage.kind === 'filter'
    ? ` ${stage.operator} ${printValue(stage.value)}`
    : ` | ${stage.kind}(${stage.limit})`
}
