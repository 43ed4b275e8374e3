/** Expressions of conditions and numbers of spansets, from the grammar's tree. */

import type { SyntaxNode } from '@lezer/common'
import type { Aggregate, Arithmetic, Expression, Operator, Scalar, Value } from '../tree.js'
import { failure } from './failure.js'
import { arrange, type Build, type Item } from './precedence.js'
import { negated } from './stand-in.js'
import { operands, type Words } from './words.js'

export class Expressions {
  constructor(private readonly words: Words) {}

  expression(node: SyntaxNode): Expression {
    const items: Item<Expression>[] = []
    this.#addOperands(node, items)
    return arrange(items, this.#expressions)
  }

  readonly #expressions: Build<Expression> = {
    binary: (operator, left, right, from) => {
      if (operator === '~') {
        throw failure(
          'TRACEQL_SYNTAX',
          this.words.text,
          from,
          'a regular expression is compared by `=~`',
        )
      }
      return this.words.placed(
        { kind: 'binary', operator: operator as Operator, left, right },
        from,
      )
    },
    prefix: (operator, operand, from) => {
      if (operator === '-' && operand.kind === 'value') {
        const value = opposite(operand.value)
        if (value) return this.words.placed({ kind: 'value', value }, from)
      }
      return this.words.placed({ kind: 'unary', operator, operand }, from)
    },
  }

  #addOperands(node: SyntaxNode, items: Item<Expression>[]): void {
    const parts = operands(node)
    const [first] = parts
    if (node.name !== 'FieldExpression' || first === undefined) {
      items.push({ node: this.field(node.from), from: this.words.from(node) })
      return
    }
    if (parts.length === 1 && this.words.isInParentheses(node, first)) {
      items.push({ node: this.expression(first), from: this.words.from(node) })
      return
    }
    const prefix = this.words.standIn.text[node.from]
    if (parts.length === 1 && first.from > node.from && (prefix === '-' || prefix === '!')) {
      items.push({ prefix, from: this.words.from(node) })
    }
    for (const [index, part] of parts.entries()) {
      if (index > 0) {
        const operator = this.words.after(parts[index - 1]?.to ?? 0)
        items.push({ operator: operator.text, from: operator.from })
      }
      this.#addOperands(part, items)
    }
  }

  /** The name or value that begins at a place in the stand-in. */
  field(place: number): Expression {
    const token = this.words.token(place)
    if (token.kind === 'field') return this.words.placed({ ...token.field }, token.from)
    if (token.kind === 'value')
      return this.words.placed({ kind: 'value', value: token.value }, token.from)
    throw new Error(`the grammar takes \`${token.text}\` for a name or a value`)
  }

  scalar(node: SyntaxNode): Scalar {
    const items: Item<Scalar>[] = []
    this.#addScalars(node, items)
    return arrange(items, {
      binary: (operator, left, right, from) =>
        this.words.placed({ kind: 'binary', operator: operator as Arithmetic, left, right }, from),
      prefix: (_operator, operand, from) => {
        const value = operand.kind === 'value' ? opposite(operand.value) : null
        if (value) return this.words.placed({ kind: 'value', value }, from)
        throw failure(
          'TRACEQL_SYNTAX',
          this.words.text,
          from,
          'here a minus stands before a number alone',
        )
      },
    })
  }

  #addScalars(node: SyntaxNode, items: Item<Scalar>[]): void {
    const parts = operands(node)
    const [first] = parts
    if (node.name === 'Aggregate') {
      const name = this.words.token(node.from).text as Aggregate
      const argument = parts.find((part) => part.name === 'FieldExpression')
      const scalar: Scalar = {
        kind: 'aggregate',
        function: name,
        argument: argument ? this.expression(argument) : null,
      }
      items.push({
        node: this.words.placed(scalar, this.words.from(node)),
        from: this.words.from(node),
      })
    } else if (node.name !== 'ScalarExpression' || first === undefined) {
      const value = this.field(node.from) as Scalar
      items.push({ node: value, from: this.words.from(node) })
    } else if (parts.length === 1 && this.words.isInParentheses(node, first)) {
      items.push({ node: this.scalar(first), from: this.words.from(node) })
    } else {
      if (first.from > node.from) items.push({ prefix: '-', from: this.words.from(node) })
      for (const [index, part] of parts.entries()) {
        if (index > 0) {
          const operator = this.words.after(parts[index - 1]?.to ?? 0)
          items.push({ operator: operator.text, from: operator.from })
        }
        this.#addScalars(part, items)
      }
    }
  }
}

function opposite(value: Value): Value | null {
  if (value.type === 'float') return { type: 'float', value: -value.value }
  if (value.type === 'int' || value.type === 'duration') {
    return { type: value.type, value: negated(value.value) }
  }
  return null
}
