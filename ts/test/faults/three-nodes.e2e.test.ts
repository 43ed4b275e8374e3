/**
 * Three real nodes, each in a network namespace of its own, under the load of clients of all signals that
 * send again what was not acknowledged and of clients with sessions: whatever is cut, lost, killed or full, what
 * was acknowledged is found exactly once from every node, and what sessions and registers were promised
 * is kept. One cluster serves all cases, one after the other; each begins when it is well again.
 *
 * What docs/faults.md tells to be unsettled runs with OTLAKE_FAULTS=all alone.
 */

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
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
/** Of a case, on a machine that is busy with much else. */
const TIMEOUT_MS = 400_000

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

test(
  'i1 i2 i3 one node cut off from two: the two go on, it acknowledges nothing that is lost, and all is found once',
  async () => {
    trial = await Trial.begin('cut off', cluster)
    trial.fault()
    await cluster.isolate('n3')
    const only = [cluster.node('n3')]
    const spans = trial.alone(only)
    const metrics = trial.alone(only, 'metrics')
    const logs = trial.alone(only, 'logs')
    await isDead('n3')
    // Log records need no other node to be acknowledged, for as long as their owner heard of one just now.
    const acknowledged = logs.acknowledged.size
    await Promise.all([trial.more(100), trial.moreOfEach(20)])
    await trial.readableAgain('n1')
    expect(await cluster.network.dropped()).toBeGreaterThan(0)
    expect(logs.acknowledged.size).toBe(acknowledged)
    // Of the others it has nobody to copy to.
    for (const each of [spans, metrics]) {
      expect(each.refused, each.signal).toBeGreaterThan(0)
      expect(each.acknowledged.size, each.signal).toBe(0)
    }
    await cluster.network.heal()
    await Promise.all([spans, metrics, logs].map((each) => each.more(20)))
    expect(await trial.judge()).toEqual([])
  },
  TIMEOUT_MS,
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
  TIMEOUT_MS,
)

test(
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
  TIMEOUT_MS,
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
  TIMEOUT_MS,
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
  TIMEOUT_MS,
)

test(
  'i10 one node whose disk is full: what needs it is refused, all can be read, and it takes again when there is room',
  async () => {
    trial = await Trial.begin('full disk', cluster)
    const node = cluster.node('n3')
    trial.fault()
    const ballast = join(node.dataDir, 'ballast')
    await fill(ballast)
    const alone = trial.alone([node])
    // What is preallocated is used up first.
    await vi.waitFor(() => expect(alone.refused).toBeGreaterThan(0), {
      timeout: TIMEOUT_MS / 2,
      interval: 100,
    })
    for (const { name } of cluster.nodes) await trial.readableAgain(name)
    await rm(ballast)
    await trial.more(100)
    await alone.more(20)
    expect(await trial.judge()).toEqual([])
  },
  TIMEOUT_MS,
)
