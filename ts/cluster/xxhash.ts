/**
 * XXH64 of a few bytes, with seed 0 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md). It is
 * for keys of shards, which the Rust side hashes by the million; here it answers questions about
 * single ones, so plain `bigint` arithmetic is fast enough.
 */

const P1 = 0x9e3779b185ebca87n
const P2 = 0xc2b2ae3d27d4eb4fn
const P3 = 0x165667b19e3779f9n
const P4 = 0x85ebca77c2b2ae63n
const P5 = 0x27d4eb2f165667c5n

const u64 = (number: bigint) => BigInt.asUintN(64, number)
const rotate = (number: bigint, bits: bigint) => u64((number << bits) | (number >> (64n - bits)))
const round = (lane: bigint, input: bigint) => u64(rotate(u64(lane + input * P2), 31n) * P1)
const merge = (hash: bigint, lane: bigint) => u64((hash ^ round(0n, lane)) * P1 + P4)

/** The hash, 64 bits without a sign. */
export function xxhash64(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  let hash = P5
  if (bytes.length >= 32) {
    const lanes = [u64(P1 + P2), P2, 0n, u64(-P1)]
    for (; at + 32 <= bytes.length; at += 32) {
      for (let lane = 0; lane < 4; lane++) {
        lanes[lane] = round(lanes[lane] as bigint, view.getBigUint64(at + 8 * lane, true))
      }
    }
    const turns = [1n, 7n, 12n, 18n]
    hash = u64(lanes.reduce((sum, lane, index) => sum + rotate(lane, turns[index] as bigint), 0n))
    hash = lanes.reduce(merge, hash)
  }
  hash = u64(hash + BigInt(bytes.length))
  for (; at + 8 <= bytes.length; at += 8) {
    hash = u64(rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * P1 + P4)
  }
  if (at + 4 <= bytes.length) {
    hash = u64(rotate(hash ^ u64(BigInt(view.getUint32(at, true)) * P1), 23n) * P2 + P3)
    at += 4
  }
  for (; at < bytes.length; at++) {
    hash = u64(rotate(hash ^ u64(BigInt(view.getUint8(at)) * P5), 11n) * P1)
  }
  hash = u64((hash ^ (hash >> 33n)) * P2)
  hash = u64((hash ^ (hash >> 29n)) * P3)
  return hash ^ (hash >> 32n)
}
