/**
 * A trace in columns: two hundred thousand spans are some arrays, not two hundred thousand objects. Spans
 * stand in the order in which the tree is shown; parents come before their children, and a span's
 * descendants follow it, up to its `end`.
 */

/** Spans as they came, in any order. */
export interface Spans {
  count: number
  /** Hexadecimal. */
  spanId: (index: number) => string
  /** Null: a root. */
  parentId: (index: number) => string | null
  name: (index: number) => string
  service: (index: number) => string
  kind: (index: number) => number
  /** Nanoseconds since 1970. */
  start: (index: number) => bigint
  /** Nanoseconds. */
  duration: (index: number) => number
  status: (index: number) => number
  events: (index: number) => number
  links: (index: number) => number
}

export const ERROR = 2
/** The parent of a root, and of a span whose parent is not there. */
export const NONE = -1

export interface Trace {
  count: number
  /** When the first span begins, in nanoseconds since 1970. */
  began: bigint
  /** From the first beginning to the last end, in nanoseconds. */
  length: number
  ids: string[]
  parent: Int32Array
  depth: Uint16Array
  /** The first place behind a span's descendants. */
  end: Int32Array
  /** Nanoseconds from the trace's beginning. */
  start: Float64Array
  duration: Float64Array
  status: Uint8Array
  kind: Uint8Array
  events: Uint16Array
  links: Uint16Array
  name: Int32Array
  service: Int32Array
  names: string[]
  services: string[]
  roots: number
  errors: number
  /** Spans whose parent is not stored. */
  orphans: number
  /** Spans whose id another one has, too: each of them is shown. */
  doubles: number
  place: Map<string, number>
}

/** The tree of a trace. Spans that are each other's parents are shown as roots. */
export function traceOf(spans: Spans): Trace {
  const { count } = spans
  const began = earliest(spans)
  const places = new Map<string, number>()
  const given = new Array<string>(count)
  let doubles = 0
  for (let index = 0; index < count; index++) {
    const id = spans.spanId(index)
    given[index] = id
    if (places.has(id)) doubles++
    else places.set(id, index)
  }
  const start = new Float64Array(count)
  const duration = new Float64Array(count)
  const parents = new Int32Array(count)
  let [length, orphans] = [0, 0]
  for (let index = 0; index < count; index++) {
    start[index] = Number(spans.start(index) - began)
    duration[index] = Math.max(0, spans.duration(index))
    length = Math.max(length, at(start, index) + at(duration, index))
    const id = spans.parentId(index)
    const parent = id === null ? NONE : (places.get(id) ?? NONE)
    if (id !== null && parent === NONE) orphans++
    parents[index] = parent === index ? NONE : parent
  }
  const order = ordered(parents, start)
  return columns(spans, { given, order, parents, start, duration, began, length, orphans, doubles })
}

function earliest({ count, start }: Spans): bigint {
  let began = count === 0 ? 0n : start(0)
  for (let index = 1; index < count; index++) {
    if (start(index) < began) began = start(index)
  }
  return began
}

/** Places in the order of the tree: parents first, children by their beginning. */
function ordered(parents: Int32Array, start: Float64Array): Int32Array {
  const count = parents.length
  const byStart = Int32Array.from({ length: count }, (_, index) => index)
  byStart.sort((a, b) => at(start, a) - at(start, b) || a - b)
  // Lists of children, linked from the last: they are gone through backwards.
  const last = new Int32Array(count).fill(NONE)
  const before = new Int32Array(count).fill(NONE)
  const roots: number[] = []
  for (const index of byStart) {
    const parent = at(parents, index)
    if (parent === NONE) roots.push(index)
    else {
      before[index] = at(last, parent)
      last[parent] = index
    }
  }
  const order = new Int32Array(count)
  const seen = new Uint8Array(count)
  let filled = 0
  const stack: number[] = []
  const walk = (root: number) => {
    stack.push(root)
    while (stack.length > 0) {
      const index = stack.pop() ?? 0
      if (seen[index]) continue
      seen[index] = 1
      order[filled++] = index
      for (let child = at(last, index); child !== NONE; child = at(before, child)) stack.push(child)
    }
  }
  for (const root of roots) walk(root)
  // What is left are rings.
  for (const index of byStart) {
    if (seen[index]) continue
    parents[index] = NONE
    walk(index)
  }
  return order
}

interface Parts {
  given: string[]
  order: Int32Array
  parents: Int32Array
  start: Float64Array
  duration: Float64Array
  began: bigint
  length: number
  orphans: number
  doubles: number
}

function columns(spans: Spans, parts: Parts): Trace {
  const { given, order, parents, began, length, orphans, doubles } = parts
  const count = order.length
  const placeOf = new Int32Array(count)
  for (let place = 0; place < count; place++) placeOf[at(order, place)] = place
  const names = interner()
  const services = interner()
  const trace: Trace = {
    ...{ count, began, length, orphans, doubles, roots: 0, errors: 0 },
    ids: new Array<string>(count),
    parent: new Int32Array(count),
    depth: new Uint16Array(count),
    end: new Int32Array(count),
    start: new Float64Array(count),
    duration: new Float64Array(count),
    status: new Uint8Array(count),
    kind: new Uint8Array(count),
    events: new Uint16Array(count),
    links: new Uint16Array(count),
    name: new Int32Array(count),
    service: new Int32Array(count),
    names: names.texts,
    services: services.texts,
    place: new Map(),
  }
  for (let place = 0; place < count; place++) {
    const index = at(order, place)
    const id = given[index] ?? ''
    trace.ids[place] = id
    trace.place.set(id, place)
    const parent = at(parents, index)
    const above = parent === NONE ? NONE : at(placeOf, parent)
    trace.parent[place] = above
    trace.depth[place] = above === NONE ? 0 : Math.min(65_535, at(trace.depth, above) + 1)
    trace.start[place] = at(parts.start, index)
    trace.duration[place] = at(parts.duration, index)
    trace.status[place] = spans.status(index)
    trace.kind[place] = spans.kind(index)
    trace.events[place] = spans.events(index)
    trace.links[place] = spans.links(index)
    trace.name[place] = names.of(spans.name(index))
    trace.service[place] = services.of(spans.service(index))
    if (above === NONE) trace.roots++
    if (trace.status[place] === ERROR) trace.errors++
  }
  // Descendants follow, so the last of them are known first when one comes from behind.
  for (let place = count - 1; place >= 0; place--) {
    trace.end[place] = Math.max(at(trace.end, place), place + 1)
    const above = at(trace.parent, place)
    if (above !== NONE) trace.end[above] = Math.max(at(trace.end, above), at(trace.end, place))
  }
  return trace
}

function interner(): { texts: string[]; of: (text: string) => number } {
  const known = new Map<string, number>()
  const texts: string[] = []
  return {
    texts,
    of(text) {
      const found = known.get(text)
      if (found !== undefined) return found
      known.set(text, texts.length)
      return texts.push(text) - 1
    },
  }
}

/** An element that is there. */
export function at(
  array: Int32Array | Float64Array | Uint16Array | Uint8Array,
  index: number,
): number {
  return array[index] ?? 0
}

export const nameOf = (trace: Trace, place: number): string =>
  trace.names[at(trace.name, place)] ?? ''
export const serviceOf = (trace: Trace, place: number): string =>
  trace.services[at(trace.service, place)] ?? ''
export const hasChildren = (trace: Trace, place: number): boolean =>
  at(trace.end, place) > place + 1

/** The spans that are seen when these are closed, in order. */
export function visible(trace: Trace, closed: ReadonlySet<number>): Int32Array {
  const places = new Int32Array(trace.count)
  let filled = 0
  for (let place = 0; place < trace.count; ) {
    places[filled++] = place
    place = closed.has(place) ? at(trace.end, place) : place + 1
  }
  return places.subarray(0, filled)
}

/** The spans that have children and lie as deep as `depth` or deeper: closing them shows what is above. */
export function deeperThan(trace: Trace, depth: number): Set<number> {
  const places = new Set<number>()
  for (let place = 0; place < trace.count; place++) {
    if (at(trace.depth, place) >= depth && hasChildren(trace, place)) places.add(place)
  }
  return places
}

/** Spans whose name, service or id has the text, or that failed for `error`. */
export function matching(trace: Trace, text: string): Int32Array {
  const wanted = text.trim().toLowerCase()
  if (wanted === '') return new Int32Array(0)
  const names = trace.names.map((name) => name.toLowerCase().includes(wanted))
  const services = trace.services.map((name) => name.toLowerCase().includes(wanted))
  const places: number[] = []
  for (let place = 0; place < trace.count; place++) {
    if (
      names[at(trace.name, place)] ||
      services[at(trace.service, place)] ||
      (wanted === 'error' && trace.status[place] === ERROR) ||
      trace.ids[place] === wanted
    ) {
      places.push(place)
    }
  }
  return Int32Array.from(places)
}
