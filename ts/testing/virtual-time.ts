/** Time that passes as fast as there is nothing to do: events in order of their time. */

interface Event {
  readonly at: number
  /** Events of the same time happen in the order in which they were asked for. */
  readonly order: number
  readonly work: () => void
}

export class VirtualTime {
  #now = 0
  #order = 0
  /** A binary heap, the earliest at its top. */
  readonly #heap: Event[] = []

  /** Milliseconds since the start. */
  get now(): number {
    return this.#now
  }

  at(time: number, work: () => void): void {
    const event = { at: Math.max(time, this.#now), order: this.#order++, work }
    const heap = this.#heap
    let place = heap.push(event) - 1
    while (place > 0) {
      const above = (place - 1) >> 1
      const parent = heap[above] as Event
      if (!isBefore(event, parent)) break
      heap[place] = parent
      place = above
    }
    heap[place] = event
  }

  after(ms: number, work: () => void): void {
    this.at(this.#now + ms, work)
  }

  /** Lets `ms` milliseconds pass. */
  run(ms: number): void {
    const end = this.#now + ms
    for (let event = this.#heap[0]; event && event.at <= end; event = this.#heap[0]) {
      this.#pop()
      this.#now = event.at
      event.work()
    }
    this.#now = end
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Event
    if (heap.length === 0) return
    let place = 0
    for (;;) {
      let below = 2 * place + 1
      if (below >= heap.length) break
      const right = heap[below + 1]
      if (right && isBefore(right, heap[below] as Event)) below++
      if (!isBefore(heap[below] as Event, last)) break
      heap[place] = heap[below] as Event
      place = below
    }
    heap[place] = last
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
