/**
 * The port to chance. The rest of the code takes a `Random`, so that a test can give one that
 * follows from a seed.
 */

import { randomBytes, randomInt } from 'node:crypto'

export interface Random {
  /** A number from 0 up to, and without, 1. */
  next(): number
  /** That many random bytes. */
  bytes(length: number): Uint8Array
}

/** How finely `systemRandom` divides the numbers from 0 to 1; `randomInt` takes up to 2^48. */
const STEPS = 2 ** 47

/** The machine's source of chance, fit for nonces. */
export const systemRandom: Random = {
  next: () => randomInt(STEPS) / STEPS,
  bytes: (length) => randomBytes(length),
}

/** A whole number from 0 up to, and without, `below`. */
export function pick(random: Random, below: number): number {
  return Math.floor(random.next() * below)
}

/** Brings the array into a random order, in place (Fisher and Yates). */
export function shuffle<T>(random: Random, items: T[]): T[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = pick(random, last + 1)
    const held = items[last] as T
    items[last] = items[other] as T
    items[other] = held
  }
  return items
}
