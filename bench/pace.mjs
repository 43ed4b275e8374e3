/**
 * How fast the machine is at this moment: a shared one is now faster, now slower, which says nothing of what is
 * measured on it.
 */

/** Larger than a core's caches. */
const NUMBERS = 16 * 1024 * 1024
const STEPS = 50_000
const TRIES = 5

let numbers

/** Milliseconds that a fixed walk through memory takes, the least of some: the others were interrupted. */
export function pace() {
  numbers ??= Uint32Array.from({ length: NUMBERS }, (_, index) => index)
  let least = Number.POSITIVE_INFINITY
  let state = 2_463_534_242
  let sum = 0
  for (let round = 0; round < TRIES; round++) {
    const began = performance.now()
    for (let step = 0; step < STEPS; step++) {
      // Xorshift: each place is known only once the one before is read.
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      sum += numbers[(state + sum) & (NUMBERS - 1)]
      sum |= 0
    }
    least = Math.min(least, performance.now() - began)
  }
  return least
}
