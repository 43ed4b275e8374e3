/**
 * Memberships of three, five and ten nodes through storms from seeds. `OTLAKE_CLUSTER_SEED` says
 * where seeds begin and `OTLAKE_CLUSTER_SEEDS` how many of each size are run; a failure names both.
 */

import { expect, test } from 'vitest'
import { storm } from '../testing/cluster/storm.js'

const first = Number(process.env.OTLAKE_CLUSTER_SEED ?? 1)
const count = Number(process.env.OTLAKE_CLUSTER_SEEDS ?? 150)

test.each([3, 5, 10])(
  '%i nodes keep every promise through any storm',
  { timeout: 600_000 },
  (size) => {
    const broken: string[] = []
    for (let seed = first; seed < first + count; seed++) {
      const { violation } = storm({ seed, size })
      if (violation) broken.push(`OTLAKE_CLUSTER_SEED=${seed} size ${size}: ${violation.message}`)
    }
    expect(broken).toEqual([])
  },
)

test.each([3, 5, 10])(
  '%i nodes that are slow at times are never declared dead',
  {
    timeout: 600_000,
  },
  (size) => {
    const broken: string[] = []
    for (let seed = first; seed < first + count; seed++) {
      const { violation } = storm({ seed, size, isMild: true })
      if (violation) broken.push(`OTLAKE_CLUSTER_SEED=${seed} size ${size}: ${violation.message}`)
    }
    expect(broken).toEqual([])
  },
)

test('the same seed twice is the same course of events', { timeout: 600_000 }, () => {
  for (const size of [3, 5, 10]) {
    for (const seed of [first, first + 1, first + 2]) {
      const once = storm({ seed, size })
      const again = storm({ seed, size })
      expect(once.messages).toBeGreaterThan(100)
      expect(again, `seed ${seed}, size ${size}`).toEqual(once)
      expect(storm({ seed: seed + 1000, size }).trace).not.toBe(once.trace)
    }
  }
})
