/** From the published grammar's tree and the query's own words to the typed tree. */

import type { SyntaxNode, Tree } from '@lezer/common'
import type {
  Comparison,
  Expression,
  Metrics,
  MetricsFunction,
  Query,
  SecondStage,
  SpansetOperator,
  Spansets,
  Stage,
} from '../tree.js'
import { Expressions } from './expressions.js'
import { failure } from './failure.js'
import { arrange, type Item } from './precedence.js'
import type { StandIn } from './stand-in.js'
import { children, operands, Words } from './words.js'

/** What stands between two `|`, or in parentheses. */
type Piece =
  | { kind: 'stages'; stages: Stage[] }
  | { kind: 'spans'; spansets: Spansets }
  | { kind: 'group'; rows: Row[] }
  | { kind: 'metrics'; metrics: Metrics }
  | { kind: 'second'; stage: SecondStage; from: number }
type Row = Item<Piece>[]

/** Nodes that hold others in a row, with operators between them. */
const ROWS = [
  ...['TraceQL', 'SpansetPipelineExpression', 'WrappedSpansetPipeline'],
  ...['SpansetPipeline', 'SpansetExpression'],
]
export const COMPARE_TOP = 10

/** The tree, and where in the text each of its expressions and stages begins. */
export interface Read {
  query: Query
  places: Map<object, number>
}

/** Reads the grammar's `tree` of a stand-in. Throws `TRACEQL_SYNTAX`, `TRACEQL_UNSUPPORTED`. */
export function readTree(text: string, standIn: StandIn, tree: Tree): Read {
  const words = new Words(text, standIn)
  return { query: new Reader(words).query(tree.topNode), places: words.places }
}

class Reader {
  private readonly expressions: Expressions

  constructor(private readonly words: Words) {
    this.expressions = new Expressions(words)
  }

  query(top: SyntaxNode): Query {
    const rows = this.#rows(top)
    const found = rows.findIndex(
      ([item]) => 'node' in (item ?? {}) && pieceOf(item)?.kind === 'metrics',
    )
    const before = found < 0 ? rows : rows.slice(0, found)
    const pipeline = this.#stages(before)
    const { hints, filters } = this.words.standIn
    if (found < 0) return { pipeline, metrics: null, hints }
    const [metricsRow = [], ...after] = rows.slice(found)
    const piece = pieceOf(metricsRow[0])
    if (piece?.kind !== 'metrics' || metricsRow.length > 1) {
      throw this.#seriesArithmetic(metricsRow)
    }
    const seconds = after.map((row) => {
      const second = pieceOf(row[0])
      if (second?.kind === 'second' && row.length === 1) return second
      const problem = 'behind metrics only topk(…), bottomk(…), a comparison and with(…) can stand'
      throw failure('TRACEQL_SYNTAX', this.words.text, row[0]?.from ?? 0, problem)
    })
    const then = [...seconds, ...filters].sort((a, b) => a.from - b.from).map(({ stage }) => stage)
    return { pipeline, metrics: { ...piece.metrics, then }, hints }
  }

  #seriesArithmetic(row: Row): Error {
    const problem = 'arithmetic between metrics is not there: ask for each by a query of its own'
    return failure('TRACEQL_UNSUPPORTED', this.words.text, row[1]?.from ?? 0, problem)
  }

  /** The rows between the `|` of a node. */
  #rows(node: SyntaxNode): Row[] {
    const rows: Row[] = [[]]
    this.#addRow(node, rows)
    return rows
  }

  #addRow(node: SyntaxNode, rows: Row[]): void {
    if (!ROWS.includes(node.name)) {
      rows.at(-1)?.push({ node: this.#piece(node), from: this.words.from(node) })
      return
    }
    const parts = operands(node)
    if (parts.length === 1 && this.words.isInParentheses(node, parts[0])) {
      const piece: Piece = { kind: 'group', rows: this.#rows(parts[0] as SyntaxNode) }
      rows.at(-1)?.push({ node: piece, from: this.words.from(node) })
      return
    }
    for (const [index, part] of parts.entries()) {
      if (index > 0) {
        const operator = this.words.after(parts[index - 1]?.to ?? 0)
        if (operator.text === '|') rows.push([])
        else rows.at(-1)?.push({ operator: operator.text, from: operator.from })
      }
      this.#addRow(part, rows)
    }
  }

  #stages(rows: Row[]): Stage[] {
    const stages = rows.flatMap((row) => this.#rowStages(row))
    const [first] = stages
    if (first?.kind === 'coalesce') {
      const problem = 'there is nothing to join yet: coalesce() stands behind by(…)'
      throw failure('TRACEQL_SYNTAX', this.words.text, rows[0]?.[0]?.from ?? 0, problem)
    }
    // Without a filter in front, a pipeline begins with all spans.
    if (first?.kind === 'spansets') return stages
    return [{ kind: 'spansets', spansets: { kind: 'spans', condition: null } }, ...stages]
  }

  #rowStages(row: Row): Stage[] {
    const piece = row.length === 1 ? pieceOf(row[0]) : null
    if (piece?.kind === 'stages') return piece.stages
    const nodes = row.map(
      (item): Item<Spansets> =>
        'node' in item ? { node: this.#spansets(item.node, item.from), from: item.from } : item,
    )
    const spansets = arrange(nodes, {
      binary: (operator, left, right, from) =>
        this.words.placed(
          { kind: 'operation', operator: operator as SpansetOperator, left, right },
          from,
        ),
      prefix: () => {
        throw new Error('spansets have no prefixes')
      },
    })
    return [{ kind: 'spansets', spansets }]
  }

  #spansets(piece: Piece, from: number): Spansets {
    if (piece.kind === 'spans') return piece.spansets
    if (piece.kind === 'group') {
      const stages = this.#stages(piece.rows)
      const [only] = stages
      if (stages.length === 1 && only?.kind === 'spansets') return only.spansets
      return this.words.placed({ kind: 'pipeline', stages }, from)
    }
    if (piece.kind === 'stages') {
      const problem = 'this makes no spans by itself: put it with its `{ … } |` in parentheses'
      throw failure('TRACEQL_SYNTAX', this.words.text, from, problem)
    }
    if (piece.kind === 'metrics') {
      const problem =
        'metrics stand at the end of a query, without parentheses or arithmetic around'
      throw failure('TRACEQL_UNSUPPORTED', this.words.text, from, problem)
    }
    const problem =
      'topk and bottomk stand behind metrics, as in `{ } | rate() by (name) | topk(5)`'
    throw failure('TRACEQL_SYNTAX', this.words.text, from, problem)
  }

  #piece(node: SyntaxNode): Piece {
    const parts = children(node)
    switch (node.name) {
      case 'SpansetFilter': {
        const spansets: Spansets = { kind: 'spans', condition: this.#condition(node) }
        return { kind: 'spans', spansets: this.words.placed(spansets, this.words.from(node)) }
      }
      case 'ScalarFilter': {
        const [left, right] = operands(node) as [SyntaxNode, SyntaxNode]
        const operator = this.words.after(left.to).text as Comparison
        const stage: Stage = {
          kind: 'filter',
          operator,
          left: this.expressions.scalar(left),
          right: this.expressions.scalar(right),
        }
        return { kind: 'stages', stages: [this.words.placed(stage, this.words.from(node))] }
      }
      case 'GroupOperation': {
        const stages = parts.map(
          (part): Stage => ({ kind: 'by', expression: this.expressions.expression(part) }),
        )
        return { kind: 'stages', stages }
      }
      case 'CoalesceOperation':
        return { kind: 'stages', stages: [{ kind: 'coalesce' }] }
      case 'SelectOperation': {
        const stage: Stage = { kind: 'select', fields: this.#listed(parts[0] as SyntaxNode) }
        return { kind: 'stages', stages: [this.words.placed(stage, this.words.from(node))] }
      }
      case 'MetricsOperation':
        return {
          kind: 'metrics',
          metrics: this.words.placed(this.#metrics(parts[0] as SyntaxNode), this.words.from(node)),
        }
      case 'MetricsAggregatorFunctions': {
        const kind = this.words.token(node.from).text as 'topk' | 'bottomk'
        const stage: SecondStage = {
          kind,
          limit: Number(this.#number(parts[1] as SyntaxNode, true)),
        }
        return {
          kind: 'second',
          stage: this.words.placed(stage, this.words.from(node)),
          from: this.words.from(node),
        }
      }
      default:
        throw new Error(`the grammar has a node ${node.name} that is not read`)
    }
  }

  #condition(filter: SyntaxNode): Expression | null {
    const [condition] = children(filter)
    return condition ? this.expressions.expression(condition) : null
  }

  /** `SelectArgs` has the others before the last in another `SelectArgs`. */
  #listed(node: SyntaxNode): Expression[] {
    const fields: Expression[] = []
    let left: SyntaxNode | undefined = node
    while (left !== undefined) {
      const parts = children(left)
      fields.push(this.expressions.expression(parts.at(-1) as SyntaxNode))
      left = parts.length > 1 ? parts[0] : undefined
    }
    return fields.reverse()
  }

  #metrics(node: SyntaxNode): Metrics {
    const parts = children(node)
    const group = parts.find(({ name }) => name === 'GroupOperation')
    const metrics: Metrics = {
      function: this.words.token(node.from).text as MetricsFunction,
      argument: null,
      by: group ? children(group).map((part) => this.expressions.expression(part)) : [],
      quantiles: [],
      selection: null,
      top: COMPARE_TOP,
      start: null,
      end: null,
      // biome-ignore lint/suspicious/noThenProperty: a list; only a function would be awaited.
      then: [],
    }
    if (node.name === 'MetricsOperationCompare') {
      const [filter, top, start, end] = parts
      metrics.selection = this.#condition(filter as SyntaxNode)
      if (top) metrics.top = Number(this.#number(top, true))
      if (start && end) {
        metrics.start = this.#number(start, true)
        metrics.end = this.#number(end, true)
      }
      return metrics
    }
    const given = parts.find(({ name }) => name === 'MetricsOperationQuantileArgs')
    const [argument, ...quantiles] = given
      ? children(given)
      : parts.filter(({ name }) => name === 'MetricsExpression')
    if (argument) metrics.argument = this.expressions.field(argument.from)
    metrics.quantiles = quantiles.map((quantile) => Number(this.#number(quantile, false)))
    return metrics
  }

  /** The decimal text of a number that is not negative. */
  #number(node: SyntaxNode, isWhole: boolean): string {
    const token = this.words.token(node.from)
    const value = token.kind === 'value' ? token.value : null
    if (value?.type === 'int' || (value?.type === 'float' && !isWhole)) return String(value.value)
    const problem = isWhole ? 'a whole number stands here' : 'a number without a unit stands here'
    throw failure('TRACEQL_SYNTAX', this.words.text, this.words.from(node), problem)
  }
}

function pieceOf(item: Item<Piece> | undefined): Piece | null {
  return item !== undefined && 'node' in item ? item.node : null
}
