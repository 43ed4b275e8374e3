/**
 * Whether what clients wrote to a register and read from it can have happened one after the other,
 * each operation at one moment between its call and its answer (linearizability), after Wing & Gong
 * with Lowe's memory of what was tried.
 *
 * A write that was not answered may have happened at any moment after its call, or never. Several
 * registers are checked each by itself: linearizability is of each object.
 */

export interface Operation {
  readonly client: string
  readonly kind: 'read' | 'write'
  /** What was written, or what was read. Nothing is written twice, nor is the first value. */
  readonly value: string
  /** Times of one clock that never goes back, in milliseconds. */
  readonly called: number
  /** Infinity for a write of which nobody knows. */
  readonly answered: number
}

export interface Verdict {
  readonly isLinearizable: boolean
  /** Where it is not: the operations that can come next in no order, after as many as possible. */
  readonly stuck: readonly Operation[]
}

/** States that are tried before the search is given up: one that is so long needs a shorter history. */
const MAX_STATES = 1_000_000

/** Throws where a value was written twice, or the search takes too long to tell. */
export function checkRegister(history: readonly Operation[], first: string): Verdict {
  const operations = relevant(history, first)
  const search = new Search(operations, first)
  return search.run()
}

/** Unanswered writes whose value nobody read need not have happened; most there are of them. */
function relevant(history: readonly Operation[], first: string): Operation[] {
  const written = new Set([first])
  for (const { kind, value } of history) {
    if (kind === 'read') continue
    if (written.has(value)) throw new Error(`${value} was written twice: the history tells nothing`)
    written.add(value)
  }
  const read = new Set(history.filter(({ kind }) => kind === 'read').map(({ value }) => value))
  return history
    .filter(({ kind, answered, value }) =>
      kind === 'read' ? answered !== Infinity : answered !== Infinity || read.has(value),
    )
    .sort((a, b) => a.called - b.called)
}

interface Step {
  readonly taken: number
  /** The register's value before. */
  readonly before: string
}

class Search {
  readonly #done: boolean[]
  readonly #seen = new Set<string>()
  readonly #steps: Step[] = []
  #value: string
  /** All operations before this one are done. */
  #low = 0

  constructor(
    private readonly operations: readonly Operation[],
    first: string,
  ) {
    this.#done = operations.map(() => false)
    this.#value = first
  }

  run(): Verdict {
    let next = 0
    let best = -1
    let stuck: Operation[] = []
    while (this.#isDue()) {
      const candidates = this.#candidates()
      const taken = candidates.find((at) => at >= next && this.#take(at))
      if (taken !== undefined) {
        next = 0
        continue
      }
      if (this.#steps.length > best) {
        best = this.#steps.length
        stuck = candidates.map((at) => this.operations[at] as Operation)
      }
      const step = this.#steps.pop()
      if (step === undefined) return { isLinearizable: false, stuck }
      this.#done[step.taken] = false
      this.#low = Math.min(this.#low, step.taken)
      this.#value = step.before
      next = step.taken + 1
    }
    return { isLinearizable: true, stuck: [] }
  }

  /** Whether an operation that was answered is not done yet. */
  #isDue(): boolean {
    while (this.#done[this.#low] === true) this.#low++
    for (let at = this.#low; at < this.operations.length; at++) {
      if (!this.#done[at] && this.operations[at]?.answered !== Infinity) return true
    }
    return false
  }

  /** What can come next: what was called before the first answer that is still due. */
  #candidates(): number[] {
    const open: number[] = []
    let due = Infinity
    for (let at = this.#low; at < this.operations.length; at++) {
      const operation = this.operations[at] as Operation
      if (operation.called > due) break
      if (this.#done[at]) continue
      due = Math.min(due, operation.answered)
      open.push(at)
    }
    return open.filter((at) => (this.operations[at] as Operation).called <= due)
  }

  #take(at: number): boolean {
    const { kind, value } = this.operations[at] as Operation
    if (kind === 'read' && value !== this.#value) return false
    this.#done[at] = true
    const key = this.#key(value)
    if (this.#seen.has(key)) {
      this.#done[at] = false
      return false
    }
    if (this.#seen.size === MAX_STATES) throw new Error('the history is too long to be judged')
    this.#seen.add(key)
    this.#steps.push({ taken: at, before: this.#value })
    this.#value = value
    return true
  }

  /** What is done, and the value after it. */
  #key(value: string): string {
    let low = this.#low
    while (this.#done[low] === true) low++
    const beyond: number[] = []
    for (let at = low + 1; at < this.#done.length; at++) if (this.#done[at]) beyond.push(at)
    return `${low} ${beyond.join()} ${value}`
  }
}
