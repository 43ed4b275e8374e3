/**
 * The flame graph of a trace: spans of one name below the same names are one box, as wide as the time that
 * they took together.
 */

import { at, NONE, nameOf, serviceOf, type Trace } from './model'

export interface Frame {
  name: string
  service: string
  depth: number
  /** Nanoseconds of all its spans, and of what no child covers. */
  total: number
  self: number
  spans: number
  errors: number
  parent: number
  children: number[]
  /** From the left, in nanoseconds; its width is `width`. */
  left: number
  width: number
}

/** The frames of a trace; the first is all of it. */
export function framesOf(trace: Trace): Frame[] {
  const top = frame('', '', 0, NONE)
  const frames = [top]
  const known = new Map<string, number>()
  const of = new Int32Array(trace.count)
  for (let place = 0; place < trace.count; place++) {
    const above = at(trace.parent, place)
    const parent = above === NONE ? 0 : at(of, above)
    const key = `${parent} ${at(trace.service, place)} ${at(trace.name, place)}`
    let index = known.get(key)
    if (index === undefined) {
      index = frames.length
      known.set(key, index)
      const depth = (frames[parent]?.depth ?? 0) + 1
      frames.push(frame(nameOf(trace, place), serviceOf(trace, place), depth, parent))
      frames[parent]?.children.push(index)
    }
    of[place] = index
    const here = frames[index]
    if (!here) continue
    here.total += at(trace.duration, place)
    here.self += selfTime(trace, place)
    here.spans++
    if (trace.status[place] === 2) here.errors++
  }
  place(frames)
  return frames
}

function frame(name: string, service: string, depth: number, parent: number): Frame {
  return {
    ...{ name, service, depth, parent, children: [] },
    ...{ total: 0, self: 0, spans: 0, errors: 0, left: 0, width: 0 },
  }
}

/** Nanoseconds of a span in which none of its children ran. */
export function selfTime(trace: Trace, place: number): number {
  const began = at(trace.start, place)
  const ended = began + at(trace.duration, place)
  let [covered, reached] = [0, began]
  // Children stand by their beginning.
  for (let child = place + 1; child < at(trace.end, place); child = at(trace.end, child)) {
    const from = Math.max(reached, at(trace.start, child))
    const to = Math.min(ended, at(trace.start, child) + at(trace.duration, child))
    if (to <= from) continue
    covered += to - from
    reached = to
  }
  return ended - began - covered
}

/** Widths from the leaves up, because children at the same time can take longer than their parent. */
function place(frames: Frame[]): void {
  for (let index = frames.length - 1; index >= 0; index--) {
    const each = frames[index]
    if (!each) continue
    const below = each.children.reduce((sum, child) => sum + (frames[child]?.width ?? 0), 0)
    each.width = Math.max(each.total, below + each.self)
  }
  for (const each of frames) {
    let left = each.left
    const byWidth = [...each.children].sort(
      (a, b) => (frames[b]?.width ?? 0) - (frames[a]?.width ?? 0),
    )
    each.children = byWidth
    for (const child of byWidth) {
      const below = frames[child]
      if (!below) continue
      below.left = left
      left += below.width
    }
  }
  const top = frames[0]
  if (top) top.total = top.width
}

export interface Operation {
  name: string
  service: string
  spans: number
  errors: number
  self: number
  total: number
}

/** Operations by the time that is their own. */
export function operationsOf(frames: Frame[]): Operation[] {
  const all = new Map<string, Operation>()
  for (const { name, service, spans, errors, self, total } of frames.slice(1)) {
    const key = `${service}\n${name}`
    const known = all.get(key) ?? { name, service, spans: 0, errors: 0, self: 0, total: 0 }
    all.set(key, known)
    known.spans += spans
    known.errors += errors
    known.self += self
    known.total += total
  }
  return [...all.values()].sort((a, b) => b.self - a.self)
}
