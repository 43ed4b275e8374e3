/**
 * Puts a row of operands and operators in order. The published grammar tells where each operand ends,
 * but not which operator binds first: it has all operators of a condition at one level. TraceQL's own
 * order is, from the loosest: `&&` and `||` at one level from the left; comparisons; `+` and `-`, also
 * as a prefix; `!`; `*`, `/` and `%`; `^` from the right.
 */

/** An operand that is done, an operator, or a prefix, with its place in the text. */
export type Item<Node> =
  | { node: Node; from: number }
  | { operator: string; from: number }
  | { prefix: '-' | '!'; from: number }

const LEVELS: Record<string, number> = {
  ...{ '&&': 1, '||': 1 },
  ...{ '=': 2, '!=': 2, '<': 2, '<=': 2, '>': 2, '>=': 2, '=~': 2, '!~': 2 },
  ...{ '+': 3, '-': 3 },
  ...{ '*': 5, '/': 5, '%': 5 },
  '^': 6,
}
/** A prefix takes what binds tighter than a sum. */
export const PREFIX_LEVEL = 4
const HIGHEST = 7

/** How tight an operator binds; operators of spansets that are no conditions' stand at 2. */
export function level(operator: string): number {
  return LEVELS[operator] ?? 2
}

export interface Build<Node> {
  binary(operator: string, left: Node, right: Node, from: number): Node
  prefix(operator: '-' | '!', operand: Node, from: number): Node
}

/** The tree of a row that begins and ends with an operand. */
export function arrange<Node>(items: readonly Item<Node>[], build: Build<Node>): Node {
  let position = 0
  const operatorHere = () => {
    const item = items[position]
    return item !== undefined && 'operator' in item ? item : null
  }

  const operand = (): Node => {
    const item = items[position++] as Item<Node>
    if ('node' in item) return item.node
    if ('prefix' in item) return build.prefix(item.prefix, chain(PREFIX_LEVEL), item.from)
    throw new Error('a row of operands and operators is out of step')
  }

  const chain = (lowest: number): Node => {
    if (lowest >= HIGHEST) return operand()
    let left = operand()
    for (let found = operatorHere(); found !== null; found = operatorHere()) {
      const here = level(found.operator)
      if (here < lowest) break
      position++
      if (here === 1) {
        // Long rows of one operator are common, and the order within them has no meaning: as a
        // balanced tree they stay shallow.
        const row = [left, chain(2)]
        for (;;) {
          if (operatorHere()?.operator !== found.operator) break
          position++
          row.push(chain(2))
        }
        left = balanced(row, found.operator, found.from, build)
      } else {
        const right = chain(found.operator === '^' ? here : here + 1)
        left = build.binary(found.operator, left, right, found.from)
      }
    }
    return left
  }
  return chain(1)
}

function balanced<Node>(
  row: readonly Node[],
  operator: string,
  from: number,
  build: Build<Node>,
): Node {
  if (row.length === 1) return row[0] as Node
  const half = Math.ceil(row.length / 2)
  const [left, right] = [row.slice(0, half), row.slice(half)].map((part) =>
    balanced(part, operator, from, build),
  ) as [Node, Node]
  return build.binary(operator, left, right, from)
}
