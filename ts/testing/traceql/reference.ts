/**
 * Search, as TraceQL's documentation says it: for each trace a pipeline starts with one spanset of all
 * its spans, and what is left of it at the end are the spansets that are found. A spanset without spans
 * is none.
 */

import type { Query, Scalar, SpansetOperator, Spansets, Stage } from '../../query/tree.js'
import type { PlainSpan, PlainTrace } from './plain.js'
import { Structure } from './structure.js'
import { calculated, compares, type Datum, holds, number, values } from './values.js'

/** The spansets that a query finds in one trace. */
export function searchTrace({ pipeline }: Query, trace: PlainTrace): PlainSpan[][] {
  return runStages(pipeline, [[...trace]], new Structure(trace))
}

/** The traces that a query finds, with their spansets. */
export function searchTraces(
  query: Query,
  traces: readonly PlainTrace[],
): { traceId: string; spansets: PlainSpan[][] }[] {
  return traces.flatMap((trace) => {
    const spansets = searchTrace(query, trace)
    return spansets.length > 0 ? [{ traceId: trace[0]?.traceId ?? '', spansets }] : []
  })
}

function runStages(stages: readonly Stage[], input: PlainSpan[][], of: Structure): PlainSpan[][] {
  return stages.reduce((spansets, stage) => runStage(stage, spansets, of), input)
}

function runStage(stage: Stage, input: PlainSpan[][], of: Structure): PlainSpan[][] {
  switch (stage.kind) {
    case 'spansets':
      return input.flatMap((spanset) => select(stage.spansets, spanset, of))
    case 'filter':
      return input.filter((spanset) => {
        const [left, right] = [scalar(stage.left, spanset, of), scalar(stage.right, spanset, of)]
        return (
          left !== null && right !== null && compares(stage.operator, number(left), number(right))
        )
      })
    case 'by':
      return input.flatMap((spanset) => {
        const groups = new Map<string, PlainSpan[]>()
        for (const span of spanset) {
          const key = groupKey(values(stage.expression, span, of))
          groups.set(key, [...(groups.get(key) ?? []), span])
        }
        return [...groups.values()]
      })
    case 'coalesce':
      return input.length === 0 ? [] : [unique(input.flat())]
    case 'select':
      return input
  }
}

/** Equal values of one type are one group, and all spans without a value are one. */
export function groupKey(found: readonly Datum[]): string {
  const [value] = found
  return value === undefined ? 'nil' : JSON.stringify([value.type, value.value])
}

/** The spansets that are left of one. */
function select(spansets: Spansets, input: PlainSpan[], of: Structure): PlainSpan[][] {
  switch (spansets.kind) {
    case 'spans': {
      const found = input.filter((span) => holds(spansets.condition, span, of))
      return found.length > 0 ? [found] : []
    }
    case 'pipeline':
      return runStages(spansets.stages, [input], of)
    case 'operation': {
      const left = select(spansets.left, input, of).flat()
      const right = select(spansets.right, input, of).flat()
      const found = unique(operate(spansets.operator, left, right, of))
      return found.length > 0 ? [found] : []
    }
  }
}

function operate(
  operator: SpansetOperator,
  left: PlainSpan[],
  right: PlainSpan[],
  of: Structure,
): PlainSpan[] {
  if (operator === '&&') return left.length > 0 && right.length > 0 ? [...left, ...right] : []
  if (operator === '||') return [...left, ...right]
  const relation = operator.replace(/^[!&]/, '')
  const isRelated = (one: PlainSpan, other: PlainSpan) => {
    switch (relation) {
      case '>':
        return of.parent(other) === one
      case '>>':
        return of.isAncestor(one, other)
      case '<':
        return of.parent(one) === other
      case '<<':
        return of.isAncestor(other, one)
      default:
        return of.areSiblings(one, other)
    }
  }
  const hasLeft = (other: PlainSpan) => left.some((one) => isRelated(one, other))
  if (operator.startsWith('!')) return right.filter((other) => !hasLeft(other))
  const found = right.filter(hasLeft)
  if (!operator.startsWith('&')) return found
  return [...left.filter((one) => right.some((other) => isRelated(one, other))), ...found]
}

function unique(spans: PlainSpan[]): PlainSpan[] {
  return [...new Set(spans)]
}

/** A number of a spanset; null where no span has what it takes. */
function scalar(expression: Scalar, spanset: PlainSpan[], of: Structure): number | null {
  if (expression.kind === 'value') return Number((expression.value as { value: unknown }).value)
  if (expression.kind === 'binary') {
    const [left, right] = [
      scalar(expression.left, spanset, of),
      scalar(expression.right, spanset, of),
    ]
    return left === null || right === null ? null : calculated(expression.operator, left, right)
  }
  const { argument } = expression
  if (argument === null) return spanset.length
  const numbers = spanset.flatMap((span) =>
    values(argument, span, of).flatMap((each) => (each.type === 'number' ? [each.value] : [])),
  )
  if (numbers.length === 0) return null
  const sum = numbers.reduce((a, b) => a + b)
  switch (expression.function) {
    case 'count':
      return spanset.length
    case 'avg':
      return sum / numbers.length
    case 'min':
      return Math.min(...numbers)
    case 'max':
      return Math.max(...numbers)
    case 'sum':
      return sum
  }
}
