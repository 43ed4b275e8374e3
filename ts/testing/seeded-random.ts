/** Chance that follows from a seed (xoshiro128**, Blackman and Vigna, seeded by splitmix32). */

import type { Random } from '../base/random.js'

export class SeededRandom implements Random {
  #a: number
  #b: number
  #c: number
  #d: number

  constructor(seed: number) {
    let state = seed >>> 0
    const split = () => {
      state = (state + 0x9e3779b9) >>> 0
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad)
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
      return (mixed ^ (mixed >>> 15)) >>> 0
    }
    this.#a = split()
    this.#b = split()
    this.#c = split()
    this.#d = split() | 1
  }

  next(): number {
    return this.#word() / 2 ** 32
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.#word() & 0xff)
  }

  /** Another stream of chance, which takes one number of this one however much is drawn from it. */
  fork(): SeededRandom {
    return new SeededRandom(this.#word())
  }

  between(low: number, high: number): number {
    return low + this.next() * (high - low)
  }

  chance(share: number): boolean {
    return this.next() < share
  }

  #word(): number {
    const scrambled = Math.imul(rotate(Math.imul(this.#b, 5), 7), 9) >>> 0
    const shifted = this.#b << 9
    this.#c ^= this.#a
    this.#d ^= this.#b
    this.#b ^= this.#c
    this.#a ^= this.#d
    this.#c ^= shifted
    this.#d = rotate(this.#d, 11)
    return scrambled
  }
}

function rotate(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by))
}
