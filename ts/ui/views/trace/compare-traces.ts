/** Two traces beside each other: what each has at the same place of the tree, by names. */

import { type Frame, framesOf } from './flame-layout'
import type { Trace } from './model'

export interface Pair {
  name: string
  service: string
  depth: number
  /** Spans and nanoseconds in each. */
  spans: [number, number]
  total: [number, number]
  errors: [number, number]
}

/** The places of both trees, each below its parent; what is in one alone has zeros in the other. */
export function compared(a: Trace, b: Trace): Pair[] {
  const frames = [framesOf(a), framesOf(b)] as const
  const pairs: Pair[] = []
  // A stack, as trees can be deep: what is pushed last comes first.
  const waiting: [number, number][] = [[0, 0]]
  while (waiting.length > 0) {
    const [left, right] = waiting.pop() ?? [-1, -1]
    const [one, other] = [frames[0][left], frames[1][right]]
    const any = one ?? other
    if (!any) continue
    if (any.depth > 0) {
      pairs.push({
        ...{ name: any.name, service: any.service, depth: any.depth - 1 },
        spans: [one?.spans ?? 0, other?.spans ?? 0],
        total: [one?.total ?? 0, other?.total ?? 0],
        errors: [one?.errors ?? 0, other?.errors ?? 0],
      })
    }
    waiting.push(...childrenOf(frames, one, other).reverse())
  }
  return pairs
}

function childrenOf(
  frames: readonly [Frame[], Frame[]],
  one: Frame | undefined,
  other: Frame | undefined,
): [number, number][] {
  const key = (frame: Frame | undefined) => `${frame?.service}\n${frame?.name}`
  const rest = new Map(other?.children.map((child) => [key(frames[1][child]), child]))
  const both = (one?.children ?? []).map((child): [number, number] => {
    const name = key(frames[0][child])
    const partner = rest.get(name) ?? -1
    rest.delete(name)
    return [child, partner]
  })
  return [...both, ...[...rest.values()].map((child): [number, number] => [-1, child])]
}
