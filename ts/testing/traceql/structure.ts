/** How the spans of one trace lie to each other. */

import type { PlainSpan, PlainTrace } from './plain.js'

/** A span's numbers in the nested set: all below it lie between the first two. */
export interface Nested {
  left: number
  right: number
  parent: number
}

export class Structure {
  readonly #byId: Map<string, PlainSpan>
  #nested: Map<PlainSpan, Nested> | undefined

  constructor(readonly spans: PlainTrace) {
    this.#byId = new Map(spans.map((span) => [span.spanId, span]))
  }

  /** The span without a parent that starts first. */
  get root(): PlainSpan | null {
    const roots = this.spans.filter(({ parentId }) => parentId === null)
    return roots.toSorted((a, b) => Number(a.start - b.start))[0] ?? null
  }

  /** From the first start to the last end. */
  get duration(): bigint {
    const ordered = this.spans.toSorted((a, b) => Number(a.start - b.start))
    const ends = this.spans.map(({ start, duration }) => start + duration)
    const last = ends.toSorted((a, b) => Number(a - b)).at(-1) ?? 0n
    return last - (ordered[0]?.start ?? 0n)
  }

  parent(span: PlainSpan): PlainSpan | null {
    return span.parentId === null ? null : (this.#byId.get(span.parentId) ?? null)
  }

  children(span: PlainSpan): PlainSpan[] {
    const own = this.spans.filter(({ parentId }) => parentId === span.spanId)
    return own.toSorted((a, b) => Number(a.start - b.start))
  }

  isAncestor(above: PlainSpan, below: PlainSpan): boolean {
    for (let span = this.parent(below); span !== null; span = this.parent(span)) {
      if (span === above) return true
    }
    return false
  }

  areSiblings(one: PlainSpan, other: PlainSpan): boolean {
    return one !== other && one.parentId !== null && one.parentId === other.parentId
  }

  /** The numbers of the nested set: 1 is the first root's, and -1 stands for no parent. */
  nested(span: PlainSpan): Nested {
    this.#nested ??= this.#number()
    return this.#nested.get(span) ?? { left: 0, right: 0, parent: 0 }
  }

  #number(): Map<PlainSpan, Nested> {
    const numbers = new Map<PlainSpan, Nested>()
    let next = 1
    const walk = (span: PlainSpan, parent: number) => {
      const left = next++
      for (const child of this.children(span)) walk(child, left)
      numbers.set(span, { left, right: next++, parent })
    }
    for (const span of this.spans) if (span.parentId === null) walk(span, -1)
    return numbers
  }
}
