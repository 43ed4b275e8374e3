/** The words of a query behind the nodes of the grammar's tree, which is one of its stand-in. */

import type { SyntaxNode } from '@lezer/common'
import type { StandIn } from './stand-in.js'
import type { Token } from './tokens.js'

/** Nodes that are operators; which one is told by the words. */
const OPERATORS = [
  ...['And', 'Or', 'Gt', 'Lt', 'Desc', 'Anc', 'Pipe'],
  ...['ExperimentalOp', 'UnionStructuralOp', 'ComparisonOp', 'ScalarOp', 'FieldOp'],
]

export class Words {
  /** Where in the query each node of the typed tree begins. */
  readonly places = new Map<object, number>()
  readonly #at: Map<number, Token>

  constructor(
    /** The query. */
    readonly text: string,
    readonly standIn: StandIn,
  ) {
    this.#at = new Map(standIn.words.map(({ at, token }) => [at, token]))
  }

  /** Parentheses are no nodes of the grammar's tree: they stand between a node and its part. */
  isInParentheses(node: SyntaxNode, part: SyntaxNode | undefined): boolean {
    return this.standIn.text[node.from] === '(' && part !== undefined && part.from > node.from
  }

  /** The token that begins at a place in the stand-in. */
  token(place: number): Token {
    const token = this.#at.get(place)
    if (token === undefined) throw new Error(`no word of the stand-in begins at ${place}`)
    return token
  }

  /** Where a node begins in the query. */
  from(node: SyntaxNode): number {
    return this.token(node.from).from
  }

  /** The first token at or behind a place in the stand-in. */
  after(place: number): Token {
    const { words } = this.standIn
    let [low, high] = [0, words.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((words[middle]?.at ?? 0) < place) low = middle + 1
      else high = middle
    }
    return words[low]?.token as Token
  }

  /** A node of the typed tree, with where it begins in the query. */
  placed<Node extends object>(node: Node, from: number): Node {
    this.places.set(node, from)
    return node
  }
}

/** The nodes below a node. */
export function children(node: SyntaxNode): SyntaxNode[] {
  const found: SyntaxNode[] = []
  for (let child = node.firstChild; child; child = child.nextSibling) found.push(child)
  return found
}

/** Those that are no operators. */
export function operands(node: SyntaxNode): SyntaxNode[] {
  return children(node).filter(({ name }) => !OPERATORS.includes(name))
}
