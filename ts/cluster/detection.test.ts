/** How three nodes find out that one is dead, and do not when it is only slow. */

import { expect, test } from 'vitest'
import { SimCluster, type SimNode } from '../testing/cluster/sim-cluster.js'

const SEEDS = 100

/** Calls `check` with a cluster of three for each seed; a failure names the seed. */
function forSeeds(check: (sim: SimCluster, nodes: SimNode[]) => void): void {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const sim = new SimCluster(seed)
    const nodes = sim.boot(3)
    try {
      check(sim, nodes)
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error })
    }
  }
}

function statusesOf(nodes: SimNode[], name: string): (string | undefined)[] {
  return nodes.map(({ membership }) => membership.member(name)?.status)
}

test('three nodes that were started know each other', () => {
  forSeeds((_, nodes) => {
    for (const { membership } of nodes) {
      expect(membership.members().map(({ status }) => status)).toEqual(['alive', 'alive', 'alive'])
    }
  })
})

test.each([
  ['process', false],
  ['machine', true],
])('of three, a dead %s is known to both others within 5 s', (_, isDark) => {
  forSeeds((sim, nodes) => {
    const [victim, ...others] = nodes as [SimNode, SimNode, SimNode]
    sim.time.run(sim.random.next() * 3000)
    victim.crash()
    if (isDark) sim.network.darken(victim.address)
    sim.time.run(5000)
    expect(statusesOf(others, victim.name)).toEqual(['dead', 'dead'])
  })
})
