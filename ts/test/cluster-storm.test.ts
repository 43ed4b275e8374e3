/**
 * Memberships of three, five and ten nodes through storms from seeds. `OTLAKE_CLUSTER_SEED` says
 * where seeds begin and `OTLAKE_CLUSTER_TIMES` how many times as many are run; a failure names both
 * the seed and the size.
 */

import { expect, test } from 'vitest'
import { storm } from '../testing/cluster/storm.js'

const first = Number(process.env.OTLAKE_CLUSTER_SEED ?? 1)
const times = Number(process.env.OTLAKE_CLUSTER_TIMES ?? 1)
const timeout = 600_000 * times

function broken(size: number, seeds: number, isMild: boolean): string[] {
  const found: string[] = []
  for (let seed = first; seed < first + seeds * times; seed++) {
    const { violation } = storm({ seed, size, isMild })
    if (violation) found.push(`OTLAKE_CLUSTER_SEED=${seed}, ${size} nodes: ${violation.message}`)
  }
  return found
}

test.each([
  [3, 180],
  [5, 80],
  [10, 40],
])('%i nodes keep every promise through any storm', { timeout }, (size, seeds) => {
  expect(broken(size, seeds, false)).toEqual([])
})

test.each([
  [3, 60],
  [5, 30],
  [10, 15],
])('%i nodes that are slow at times are never declared dead', { timeout }, (size, seeds) => {
  expect(broken(size, seeds, true)).toEqual([])
})

test('the same seed twice is the same course of events', { timeout }, () => {
  for (const size of [3, 5, 10]) {
    for (const seed of [first, first + 1]) {
      const once = storm({ seed, size })
      expect(once.messages).toBeGreaterThan(100)
      expect(storm({ seed, size }), `seed ${seed}, ${size} nodes`).toEqual(once)
      expect(storm({ seed: seed + 1000, size }).trace).not.toBe(once.trace)
    }
  }
})
