/** The hash is the one that the field calls XXH64. */

import { expect, test } from 'vitest'
import { xxhash64 } from './xxhash.js'

/** From the specification's own test bytes: a generator of primes, and sums for seed 0. */
function sanityBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let generator = 2654435761n
  for (let at = 0; at < length; at++) {
    bytes[at] = Number(generator >> 56n)
    generator = BigInt.asUintN(64, generator * 11400714785074694797n)
  }
  return bytes
}

test('sums are those of the reference implementation', () => {
  expect(xxhash64(new Uint8Array(0))).toBe(0xef46db3751d8e999n)
  expect(xxhash64(Buffer.from('a'))).toBe(0xd24ec4f1a98c6e5bn)
  expect(xxhash64(Buffer.from('abc'))).toBe(0x44bc2cf5ad770999n)
  expect(xxhash64(sanityBytes(1))).toBe(0xe934a84adb052768n)
  expect(xxhash64(sanityBytes(4))).toBe(0x9136a0dca57457een)
  expect(xxhash64(sanityBytes(14))).toBe(0x8282dcc4994e35c8n)
  expect(xxhash64(sanityBytes(222))).toBe(0xb641ae8cb691c174n)
})

test('a view into a larger buffer is hashed as its own bytes', () => {
  const whole = sanityBytes(100)
  expect(xxhash64(whole.subarray(13, 90))).toBe(xxhash64(whole.slice(13, 90)))
})
