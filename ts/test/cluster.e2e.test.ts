/** Memberships in one process on real sockets, with sealed packets, at the default settings. */

import { afterEach, describe, expect, test } from 'vitest'
import { systemRandom } from '../base/random.js'
import { KeyRing, Membership, openNodeTransport, systemLoopDelay } from '../cluster/index.js'

interface Node {
  membership: Membership
  keys: KeyRing
}

/** Two heartbeats and more for everything to be said; detection takes 3 to 5 s. */
const PATIENCE = { timeout: 30_000, interval: 50 }

let nodes: Node[] = []

afterEach(async () => {
  await Promise.all(nodes.map(({ membership }) => membership.close()))
  nodes = []
})

async function start(index: number, key: Uint8Array, cluster = 'shop'): Promise<Node> {
  const transport = await openNodeTransport(`127.0.0.${index}:0`)
  const keys = new KeyRing([key], systemRandom)
  const loopDelay = systemLoopDelay()
  const membership = new Membership({ name: `n${index}`, cluster, transport, keys, loopDelay })
  nodes.push({ membership, keys })
  return { membership, keys }
}

async function cluster(size: number, key: Uint8Array): Promise<Node[]> {
  for (let index = 1; index <= size; index++) {
    const { membership } = await start(index, key)
    const [first] = nodes as [Node]
    if (index > 1) expect(await membership.join([first.membership.self.address])).toBe(1)
  }
  await expect.poll(() => statuses(nodes), PATIENCE).toEqual(everywhere(nodes, 'alive'))
  return nodes
}

/** What each thinks of each, in the order of their names. */
function statuses(of: Node[]): string[][] {
  return of.map(({ membership }) =>
    of.map((other) => membership.member(other.membership.self.name)?.status ?? 'unknown'),
  )
}

const everywhere = (of: Node[], status: string) => of.map(() => of.map(() => status))
const others = (of: Node[], name: string) => of.map((node) => node.membership.member(name)?.status)
const key = () => systemRandom.bytes(32)

describe.each([3, 5])('%i nodes', { timeout: 60_000 }, (size) => {
  test('meet, find out who was killed, and who left', async () => {
    const [killed, leaver, ...rest] = (await cluster(size, key())) as [Node, Node, ...Node[]]
    await killed.membership.close()
    const stay = [leaver, ...rest]
    await expect.poll(() => others(stay, 'n1'), PATIENCE).toEqual(stay.map(() => 'dead'))
    await leaver.membership.leave()
    await leaver.membership.close()
    await expect.poll(() => others(rest, 'n2'), PATIENCE).toEqual(rest.map(() => 'left'))
    expect(rest[0]?.membership.faults.counts.node_failure).toBe(1)
  })

  test('change their key one after the other, and nobody is suspected', async () => {
    const old = key()
    const all = await cluster(size, old)
    const lost: string[] = []
    for (const { membership } of all) {
      membership.on('suspect', ({ name }) => lost.push(name))
      membership.on('failed', ({ name }) => lost.push(name))
    }
    const next = key()
    const heardFrom = all.map(({ membership }) => membership.counts.packetsReceived)
    const steps = [
      ({ keys }: Node) => keys.add(next),
      ({ keys }: Node) => keys.use(next),
      ({ keys }: Node) => keys.remove(old),
    ]
    for (const step of steps) {
      for (const node of all) {
        step(node)
        const before = node.membership.counts.packetsReceived
        await expect
          .poll(() => node.membership.counts.packetsReceived, PATIENCE)
          .toBeGreaterThan(before)
      }
    }
    expect(statuses(all)).toEqual(everywhere(all, 'alive'))
    expect(lost).toEqual([])
    for (const [index, { membership }] of all.entries()) {
      expect(membership.counts.packetsReceived).toBeGreaterThan(heardFrom[index] as number)
      expect(membership.counts.refused.key).toBe(0)
    }
  })
})

test('another key and another cluster do not get in', { timeout: 60_000 }, async () => {
  const ours = key()
  const [first] = (await cluster(3, ours)) as [Node]
  const seeds = [first.membership.self.address]
  const stranger = await start(8, key())
  await expect(stranger.membership.join(seeds)).rejects.toMatchObject({
    code: 'CLUSTER_UNREACHABLE',
  })
  const neighbour = await start(9, ours, 'bank')
  await expect(neighbour.membership.join(seeds)).rejects.toMatchObject({
    code: 'CLUSTER_UNREACHABLE',
  })
  expect(first.membership.counts.refused.key).toBe(2)
  expect(first.membership.members()).toHaveLength(3)
})

test('state and counters reach everyone', { timeout: 60_000 }, async () => {
  const all = await cluster(3, key())
  const [first, ...rest] = all as [Node, ...Node[]]
  first.membership.setLocalState({ roles: ['query'], zone: 'b', addresses: { flight: 'x:1' } })
  const expires = Date.now() + 3_600_000
  for (const { membership } of all) membership.count('requests', 5, expires)
  for (const { membership } of rest) {
    await expect.poll(() => membership.member('n1')?.state.zone, PATIENCE).toBe('b')
    expect(membership.member('n1')?.state).toMatchObject({
      roles: ['query'],
      addresses: { flight: 'x:1' },
    })
  }
  await expect
    .poll(() => all.map(({ membership }) => membership.counter('requests')), PATIENCE)
    .toEqual([15, 15, 15])
})

test('who comes back under its name and address is taken in again', {
  timeout: 60_000,
}, async () => {
  const secret = key()
  const [, , third] = (await cluster(3, secret)) as [Node, Node, Node]
  const { address, generation } = third.membership.self
  await third.membership.close()
  const stay = nodes.slice(0, 2)
  await expect.poll(() => others(stay, 'n3'), PATIENCE).toEqual(['dead', 'dead'])
  const transport = await openNodeTransport(address)
  const keys = new KeyRing([secret], systemRandom)
  const membership = new Membership({ name: 'n3', cluster: 'shop', transport, keys })
  nodes[2] = { membership, keys }
  await membership.join([stay[0]?.membership.self.address ?? ''])
  await expect.poll(() => others(stay, 'n3'), PATIENCE).toEqual(['alive', 'alive'])
  expect(stay[0]?.membership.member('n3')?.generation).toBeGreaterThan(generation)
  expect(stay[0]?.membership.faults.open).toEqual([])
})
