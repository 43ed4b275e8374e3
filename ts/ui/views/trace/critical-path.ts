/**
 * The critical path: what the trace waited for. From a span's end it goes back: to the child that ended
 * last before, into that child, and from its beginning on again; between children it is the span itself.
 * Children beyond the end of their parent are cut there, as Jaeger does it (Eberhardt et al., "CRISP:
 * Critical Path Analysis of Large-Scale Microservice Architectures", USENIX ATC 2022).
 */

import { at, NONE, type Trace } from './model'

export interface Segments {
  /** Whether a span is on the path. */
  isOn: Uint8Array
  /** Where a span's segments begin in the arrays below; one more than there are spans. */
  first: Int32Array
  /** Nanoseconds from the trace's beginning. */
  from: Float64Array
  to: Float64Array
}

/** The path through the longest of the roots. */
export function criticalPath(trace: Trace): Segments {
  const own: [number, number, number][] = []
  const root = longestRoot(trace)
  if (root !== NONE) follow(trace, root, own)
  return grouped(trace.count, own)
}

function longestRoot(trace: Trace): number {
  let root = NONE
  for (let place = 0; place < trace.count; place = at(trace.end, place)) {
    if (root === NONE || at(trace.duration, place) > at(trace.duration, root)) root = place
  }
  return root
}

function follow(trace: Trace, root: number, own: [number, number, number][]): void {
  const began = at(trace.start, root)
  // A child's part does not depend on what comes later, so the order is free and no stack grows deep.
  const waiting: [number, number, number][] = [[root, began, began + at(trace.duration, root)]]
  while (waiting.length > 0) {
    const [place, since, until] = waiting.pop() ?? [0, 0, 0]
    let now = until
    for (const child of childrenByEnd(trace, place)) {
      const begin = Math.max(since, at(trace.start, child))
      const end = Math.min(until, at(trace.start, child) + at(trace.duration, child))
      // What still ran when the next one on the path began was not waited for.
      if (end <= begin || end > now) continue
      if (end < now) own.push([place, end, now])
      waiting.push([child, begin, end])
      now = begin
    }
    if (now > since || until === since) own.push([place, since, now])
  }
}

/** A span's children, the one that ends last first. */
function childrenByEnd(trace: Trace, place: number): number[] {
  const children: number[] = []
  for (let child = place + 1; child < at(trace.end, place); child = at(trace.end, child)) {
    children.push(child)
  }
  const endOf = (each: number) => at(trace.start, each) + at(trace.duration, each)
  return children.sort((a, b) => endOf(b) - endOf(a) || b - a)
}

function grouped(count: number, own: [number, number, number][]): Segments {
  own.sort(([a, from], [b, other]) => a - b || from - other)
  const segments = {
    isOn: new Uint8Array(count),
    first: new Int32Array(count + 1),
    from: Float64Array.from(own, ([, from]) => from),
    to: Float64Array.from(own, ([, , to]) => to),
  }
  for (const [place] of own) {
    segments.isOn[place] = 1
    segments.first[place + 1] = at(segments.first, place + 1) + 1
  }
  for (let place = 0; place < count; place++) {
    segments.first[place + 1] = at(segments.first, place + 1) + at(segments.first, place)
  }
  return segments
}
