/** How few nodes find out that one is dead, and do not when it, or they, are only slow. */

import { expect, test, vi } from 'vitest'
import { SimCluster, type SimNode } from '../testing/cluster/sim-cluster.js'

// Many courses of events in one test; nothing in it waits for real.
vi.setConfig({ testTimeout: 60_000 })

const SEEDS = 60

/** Calls `check` with a cluster for each seed; a failure names the seed. */
function forSeeds(size: number, check: (sim: SimCluster, nodes: SimNode[]) => void): void {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const sim = new SimCluster(seed)
    const nodes = sim.boot(size)
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

/** Names of those whom any of the nodes declares dead from now on. */
function deaths(nodes: SimNode[]): string[] {
  const names: string[] = []
  for (const { membership } of nodes) membership.on('failed', ({ name }) => names.push(name))
  return names
}

test('three nodes that were started know each other', () => {
  forSeeds(3, (_, nodes) => {
    for (const { membership } of nodes) {
      expect(membership.members().map(({ status }) => status)).toEqual(['alive', 'alive', 'alive'])
    }
  })
})

test.each([
  [3, 'process', false],
  [3, 'machine', true],
  [2, 'process', false],
  [2, 'machine', true],
])('of %i, a dead %s is known to all others within 5 s', (size, _, isDark) => {
  forSeeds(size, (sim, nodes) => {
    const [victim, ...others] = nodes as [SimNode, ...SimNode[]]
    sim.time.run(sim.random.next() * 3000)
    victim.crash()
    if (isDark) sim.network.darken(victim.address)
    sim.time.run(5000)
    expect(statusesOf(others, victim.name)).toEqual(others.map(() => 'dead'))
  })
})

test('a process that ended while its machine goes on is known to all others within 2.5 s', () => {
  forSeeds(3, (sim, nodes) => {
    const [victim, ...others] = nodes as [SimNode, ...SimNode[]]
    sim.time.run(sim.random.next() * 3000)
    victim.crash()
    sim.time.run(2500)
    expect(statusesOf(others, victim.name)).toEqual(others.map(() => 'dead'))
  })
})

test.each([
  [3, 600],
  [2, 1200],
])('of %i, it is known within %i ms where those that had connections with it look', (size, ms) => {
  forSeeds(size, (sim, nodes) => {
    const [victim, ...others] = nodes as [SimNode, ...SimNode[]]
    sim.time.run(sim.random.next() * 3000)
    victim.crash()
    for (const { membership } of others) membership.check(victim.name)
    sim.time.run(ms)
    expect(statusesOf(others, victim.name)).toEqual(others.map(() => 'dead'))
  })
})

test('one that is there and is looked at again and again is not suspected', () => {
  forSeeds(3, (sim, nodes) => {
    const [well, other] = nodes as [SimNode, SimNode]
    const suspected: string[] = []
    other.membership.on('suspect', ({ name }) => suspected.push(name))
    for (let times = 0; times < 100; times++) {
      other.membership.check(well.name)
      sim.time.run(sim.random.next() * 100)
    }
    expect(suspected).toEqual([])
  })
})

test('one whose connections something on the way refuses says that it is alive, and stays', () => {
  forSeeds(3, (sim, nodes) => {
    const dead = deaths(nodes)
    const [a, b] = nodes as [SimNode, SimNode]
    sim.network.refuse(a.address, b.address)
    sim.network.cut(a.address, b.address)
    sim.network.cut(b.address, a.address)
    for (let times = 0; times < 60; times++) {
      a.membership.check(b.name)
      sim.time.run(1000)
    }
    expect(dead).toEqual([])
  })
})

test('nobody whose machine is silent is declared dead before the time-out', () => {
  forSeeds(3, (sim, nodes) => {
    const [victim, ...others] = nodes as [SimNode, ...SimNode[]]
    sim.time.run(sim.random.next() * 3000)
    victim.crash()
    sim.network.darken(victim.address)
    sim.time.run(2900)
    expect(statusesOf(others, victim.name)).not.toContain('dead')
  })
})

test('one that stands still for a second, again and again, is not declared dead', () => {
  forSeeds(3, (sim, nodes) => {
    const dead = deaths(nodes)
    const [slow] = nodes as [SimNode]
    for (let times = 0; times < 10; times++) {
      slow.pause()
      sim.time.run(1000)
      slow.resume()
      sim.time.run(sim.random.next() * 2000)
    }
    expect(dead).toEqual([])
  })
})

test('one that stood still for long accuses nobody of it', () => {
  forSeeds(3, (sim, nodes) => {
    const [slow] = nodes as [SimNode]
    const dead = deaths([slow])
    const suspected: string[] = []
    slow.membership.on('suspect', ({ name }) => suspected.push(name))
    sim.time.run(sim.random.next() * 1000)
    slow.pause()
    sim.time.run(20_000)
    slow.resume()
    sim.time.run(10_000)
    expect(dead).toEqual([])
    expect(suspected).toEqual([])
    expect(statusesOf(nodes, slow.name), 'it is taken in again').toEqual(nodes.map(() => 'alive'))
  })
})

test('a busy node, whose every tick is late, neither declares nor is declared dead', () => {
  forSeeds(3, (sim, nodes) => {
    const dead = deaths(nodes)
    const [busy] = nodes as [SimNode]
    for (let times = 0; times < 40; times++) {
      busy.pause()
      sim.time.run(400)
      busy.resume()
      sim.time.run(10)
    }
    expect(dead).toEqual([])
    expect(busy.membership.localHealth).toBeGreaterThan(0)
  })
})

test('one that cannot be heard by one other is found alive through the third', () => {
  forSeeds(3, (sim, nodes) => {
    const dead = deaths(nodes)
    const [a, b] = nodes as [SimNode, SimNode]
    sim.network.cut(a.address, b.address)
    sim.time.run(60_000)
    expect(dead).toEqual([])
  })
})

test('who left is known as that, and who comes back is alive', () => {
  forSeeds(3, (sim, nodes) => {
    const [leaver, ...others] = nodes as [SimNode, ...SimNode[]]
    void leaver.membership.leave()
    sim.time.run(2000)
    leaver.crash()
    sim.time.run(10_000)
    expect(statusesOf(others, leaver.name)).toEqual(['left', 'left'])
    const again = sim.start(leaver.name, { address: leaver.address })
    again.membership.join(others.map(({ address }) => address)).catch(() => undefined)
    sim.time.run(2000)
    expect(statusesOf(others, leaver.name)).toEqual(['alive', 'alive'])
  })
})

test('halves that lost each other for an hour find each other again', { timeout: 60_000 }, () => {
  const sim = new SimCluster(1)
  const nodes = sim.boot(6)
  const halves = [nodes.slice(0, 3), nodes.slice(3)] as [SimNode[], SimNode[]]
  for (const a of halves[0]) {
    for (const b of halves[1]) {
      sim.network.cut(a.address, b.address)
      sim.network.cut(b.address, a.address)
    }
  }
  sim.time.run(3_600_000)
  expect(statusesOf(halves[0], 'a5')).toEqual(['dead', 'dead', 'dead'])
  sim.network.mend()
  sim.time.run(30_000)
  for (const { name } of nodes) expect(statusesOf(nodes, name)).toEqual(nodes.map(() => 'alive'))
  const { counts } = (nodes[0] as SimNode).membership.faults
  expect(counts).toMatchObject({ node_failure: 0, partition: 3 })
})

test('a node that started before its seeds joins when they are there', () => {
  const sim = new SimCluster(1)
  const early = sim.start('a0')
  early.membership.join(['10.0.0.9:1']).catch(() => undefined)
  sim.time.run(60_000)
  const seed = sim.start('a1', { address: '10.0.0.9:1' })
  sim.time.run(15_000)
  expect(statusesOf([early, seed], 'a0')).toEqual(['alive', 'alive'])
  expect(statusesOf([early, seed], 'a1')).toEqual(['alive', 'alive'])
})

test('who is dead for longer than it is remembered is forgotten by everyone', () => {
  const sim = new SimCluster(1)
  sim.settings = { forgetAfterMs: 60_000 }
  const [victim, ...others] = sim.boot(3) as [SimNode, ...SimNode[]]
  victim.membership.setLocalState({ zone: 'z' })
  sim.time.run(2000)
  victim.crash()
  sim.time.run(30_000)
  expect(statusesOf(others, victim.name)).toEqual(['dead', 'dead'])
  const late = sim.start('a3')
  late.membership.join(others.map(({ address }) => address)).catch(() => undefined)
  sim.time.run(60_000)
  expect(statusesOf([...others, late], victim.name)).toEqual([undefined, undefined, undefined])
})

test('two nodes of one name are told', () => {
  const sim = new SimCluster(1)
  const [, ...others] = sim.boot(3) as [SimNode, ...SimNode[]]
  const conflicts: string[] = []
  const [first] = [...sim.nodes.values()] as [SimNode]
  first.membership.on('conflict', (address) => conflicts.push(address))
  const double = sim.start(first.name)
  double.membership.join(others.map(({ address }) => address)).catch(() => undefined)
  sim.time.run(2000)
  expect(conflicts).toContain(double.address)
})
