/**
 * Three real nodes, each in a network namespace of its own, under the load of clients that send again
 * what was not acknowledged and of clients with sessions: whatever is cut, lost, killed or full, what
 * was acknowledged is found exactly once from every node, and what sessions and registers were promised
 * is kept. One cluster serves all cases, one after the other; each begins when it is well again.
 *
 * What docs/faults.md tells to be unsettled runs with OTLAKE_FAULTS=all alone.
 */

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../base/clock.js'
import { ClusterNodes, member } from '../../testing/cluster/nodes.js'
import { Registers } from '../../testing/cluster/registers.js'
import { Trial } from '../../testing/cluster/trial.js'
import { fill } from '../../testing/full-disk.js'
import { unsettled } from './unsettled.js'

const SEED = Number(process.env.OTLAKE_FAULTS_SEED ?? 1)
const DISK_MIB = 96
/** How long a fault that changes nothing for the clients lasts, so that gossip would notice. */
const LONG_MS = 6000
let cluster: ClusterNodes
let trial: Trial | undefined
let registers: Registers | undefined

beforeAll(async () => {
  cluster = await ClusterNodes.start(3, {
    isApart: true,
    disks: { n3: DISK_MIB },
    settings: { 'log.segment_bytes': 1024 * 1024 },
  })
})

afterEach(async () => {
  await cluster?.network.heal()
  await trial?.stop()
  await registers?.end()
  trial = undefined
  registers = undefined
})

afterAll(() => cluster?.end())

const isDead = (name: string) => cluster.until('n1', (at) => member(at, name).status === 'dead')

unsettled(
  'i1 i2 i3 one node cut off from two: the two go on, it acknowledges nothing that is lost, and all is found once',
  async () => {
    trial = await Trial.begin('cut off', cluster)
    trial.fault()
    await cluster.isolate('n3')
    const alone = trial.alone([cluster.node('n3')])
    await isDead('n3')
    await trial.more(100)
    await trial.readableAgain('n1')
    expect(await cluster.network.dropped()).toBeGreaterThan(0)
    // It has nobody to copy to.
    expect(alone.refused).toBeGreaterThan(0)
    expect(alone.acknowledged.size).toBe(0)
    await cluster.network.heal()
    await alone.more(20)
    expect(await trial.judge()).toEqual([])
  },
  180_000,
)

unsettled(
  'i1 i2 i3 one node that hears nobody while all hear it: all is found once',
  async () => {
    trial = await Trial.begin('deaf', cluster)
    trial.fault()
    await cluster.cutOneWay('n1', 'n3')
    await cluster.cutOneWay('n2', 'n3')
    await trial.more(100)
    await trial.readableAgain('n1')
    await cluster.network.heal()
    expect(await trial.judge()).toEqual([])
  },
  180_000,
)

unsettled(
  'i1 i2 i3 two nodes that do not hear each other while both hear the third: requests go on, all is found once',
  async () => {
    trial = await Trial.begin('two apart', cluster)
    trial.fault()
    await cluster.cut('n1', 'n2')
    await trial.more(60)
    await systemClock.sleep(LONG_MS)
    await trial.more(60)
    await trial.readableAgain('n3')
    await cluster.network.heal()
    expect(await trial.judge()).toEqual([])
  },
  180_000,
)

test.each([5, 20])(
  'i1 i2 i3 %i percent of all packets between nodes lost: requests go on, all is found once',
  async (percent) => {
    trial = await Trial.begin(`loss of ${percent} percent`, cluster)
    trial.fault()
    await cluster.network.lose(percent)
    await trial.more(60)
    await trial.readableAgain('n1')
    await systemClock.sleep(LONG_MS)
    expect(await cluster.network.dropped()).toBeGreaterThan(0)
    await cluster.network.heal()
    expect(await trial.judge()).toEqual([])
  },
  180_000,
)

unsettled(
  'i7 sessions and registers keep their promises while a node is killed, and another cut off',
  async () => {
    registers = new Registers(cluster.nodes, SEED)
    trial = await Trial.begin('killed and cut', cluster)
    registers.start()
    await systemClock.sleep(1000)
    trial.fault()
    await cluster.node('n2').kill()
    await trial.readableAgain('n1')
    await isDead('n2')
    await trial.more(50)
    await cluster.restart('n2')
    await cluster.ready()
    await cluster.isolate('n1')
    await trial.more(50)
    await cluster.network.heal()
    await cluster.ready()
    await systemClock.sleep(1000)
    await registers.end()
    const { reads, writes, unknown } = registers.counts
    process.stderr.write(
      `registers: ${writes} writes, ${unknown} of them without an answer, ${reads} reads; seed ${SEED}\n`,
    )
    expect(registers.violations()).toEqual([])
    expect(Math.min(reads, writes - unknown)).toBeGreaterThan(30)
    expect(await trial.judge()).toEqual([])
  },
  180_000,
)

unsettled(
  'i10 one node whose disk is full: what needs it is refused, all can be read, and it takes again when there is room',
  async () => {
    trial = await Trial.begin('full disk', cluster)
    const node = cluster.node('n3')
    trial.fault()
    const ballast = join(node.dataDir, 'ballast')
    await fill(ballast)
    const alone = trial.alone([node])
    await systemClock.sleep(LONG_MS)
    expect(alone.refused).toBeGreaterThan(0)
    for (const { name } of cluster.nodes) await trial.readableAgain(name)
    await rm(ballast)
    await trial.more(100)
    await alone.more(20)
    expect(await trial.judge()).toEqual([])
  },
  180_000,
)
