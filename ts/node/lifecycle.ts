/**
 * One lifecycle for everything a node starts: new, starting, running, stopping, stopped, failed.
 * Parts start in the order of what they need and stop in the opposite one; when one fails to
 * start, those that did are stopped again.
 */

import { OtlakeError } from '../base/errors.js'

export type State = 'new' | 'starting' | 'running' | 'stopping' | 'stopped' | 'failed'

export interface Part {
  readonly name: string
  /** Names of the parts that must run before this one. */
  readonly needs: readonly string[]
  start(): Promise<void>
  stop(): Promise<void>
}

export class Lifecycle {
  #state: State = 'new'
  readonly #parts: Part[]
  readonly #running: Part[] = []

  constructor(parts: readonly Part[]) {
    this.#parts = inOrder(parts)
  }

  get state(): State {
    return this.#state
  }

  /** Starts every part. On a failure stops what runs and rejects with the first error. */
  async start(): Promise<void> {
    this.#expect('new', 'starting')
    for (const part of this.#parts) {
      try {
        await part.start()
      } catch (error) {
        await this.#stopRunning()
        this.#state = 'failed'
        throw error
      }
      this.#running.push(part)
    }
    this.#state = 'running'
  }

  /** Stops every part, whatever fails; rejects with the first error when all have been tried. */
  async stop(): Promise<void> {
    this.#expect('running', 'stopping')
    const errors = await this.#stopRunning()
    this.#state = errors.length === 0 ? 'stopped' : 'failed'
    if (errors.length > 0) throw errors[0]
  }

  async #stopRunning(): Promise<unknown[]> {
    const errors: unknown[] = []
    for (const part of this.#running.splice(0).reverse()) {
      await part.stop().catch((error) => errors.push(error))
    }
    return errors
  }

  #expect(from: State, to: State): void {
    if (this.#state !== from) {
      throw new OtlakeError('NODE_STATE', `the node is ${this.#state}, not ${from}`)
    }
    this.#state = to
  }
}

/** Each part after those it needs; otherwise in the order given. */
function inOrder(parts: readonly Part[]): Part[] {
  const ordered: Part[] = []
  const place = (part: Part, above: readonly string[]) => {
    if (ordered.includes(part)) return
    if (above.includes(part.name)) {
      throw new OtlakeError(
        'INTERNAL',
        `parts need each other: ${[...above, part.name].join(' > ')}`,
      )
    }
    for (const name of part.needs) {
      const needed = parts.find((candidate) => candidate.name === name)
      if (needed) place(needed, [...above, part.name])
    }
    ordered.push(part)
  }
  for (const part of parts) place(part, [])
  return ordered
}
