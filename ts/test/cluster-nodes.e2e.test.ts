/**
 * Real nodes as processes, under the load of clients that send again what was not acknowledged: what
 * was acknowledged is found exactly once, from every node, whatever is killed, paused or restarted.
 */

import { afterEach, expect, test } from 'vitest'
import { systemMonotonic } from '../base/clock.js'
import type { ClusterStatus } from '../node/cluster/status.js'
import { ClusterLoad, count } from '../testing/cluster/cluster-load.js'
import { ClusterNodes, member } from '../testing/cluster/nodes.js'

let cluster: ClusterNodes | undefined

afterEach(async () => {
  await cluster?.end()
  cluster = undefined
})

async function expectOnceFromEveryNode(load: ClusterLoad, nodes: ClusterNodes, service: string) {
  for (const node of nodes.running) {
    const counted = await count(node, service)
    expect(counted, node.name).toEqual({ rows: load.spans, spans: load.spans })
  }
  expect(await nodes.violations()).toEqual([])
}

test('i2 a node that is killed costs no acknowledged span, and none is there twice', async () => {
  cluster = await ClusterNodes.start(3)
  await cluster.ready()
  const load = new ClusterLoad('killed', cluster.nodes)
  load.start()
  await load.more(100)
  load.longestGapMs = 0
  const killed = systemMonotonic.monotonic()
  await cluster.node('n2').kill()
  await load.more(300)
  await cluster.until('n1', (status) => member(status, 'n2').status === 'dead')
  await load.more(100)
  await load.end()
  await expectOnceFromEveryNode(load, cluster, 'killed')
  const readable = systemMonotonic.monotonic() - killed
  await cluster.restart('n2')
  await cluster.ready()
  await expectOnceFromEveryNode(load, cluster, 'killed')
  process.stderr.write(
    `killed: all readable after ${(readable / 1000).toFixed(1)} s, no acknowledgement for at most ${Math.round(load.longestGapMs)} ms\n`,
  )
}, 240_000)

test('i9 a node that is paused until others took its stream over acknowledges nothing twice', async () => {
  cluster = await ClusterNodes.start(3)
  await cluster.ready()
  const load = new ClusterLoad('paused', cluster.nodes)
  load.start()
  await load.more(100)
  cluster.node('n3').pause()
  await cluster.until('n1', (status) => member(status, 'n3').status === 'dead')
  // Clients go on asking it, and wait each time.
  await load.more(60)
  const isRecovered = ({ streams }: ClusterStatus) =>
    streams.every(({ owner, state }) => owner !== 'n3' || state === 'sealed')
  await cluster.until('n1', isRecovered)
  cluster.node('n3').resume()
  await load.more(100)
  await cluster.ready()
  await load.end()
  await expectOnceFromEveryNode(load, cluster, 'paused')
}, 240_000)

test('a rolling restart under load loses nothing', async () => {
  cluster = await ClusterNodes.start(3)
  await cluster.ready()
  const load = new ClusterLoad('rolling', cluster.nodes)
  load.start()
  for (const { name } of cluster.nodes) {
    await load.more(50)
    expect(await cluster.node(name).stop(), name).toBe(0)
    await load.more(50)
    await cluster.restart(name)
    await cluster.ready()
  }
  await load.end()
  await expectOnceFromEveryNode(load, cluster, 'rolling')
}, 300_000)

test('i7 what a session has written is read at any node', async () => {
  cluster = await ClusterNodes.start(3)
  await cluster.ready()
  const load = new ClusterLoad('session', cluster.nodes)
  load.start()
  await load.more(30)
  await load.end()
  const headers = { 'otlake-consistency': 'session', 'otlake-session': load.session }
  for (const node of cluster.nodes) {
    const { rows } = await count(node, 'session', headers)
    // The newest token covers the last request at least.
    expect(rows, node.name).toBeGreaterThanOrEqual(20)
  }
  await expectOnceFromEveryNode(load, cluster, 'session')
}, 120_000)
