/**
 * Real nodes as processes, under the load of clients of all signals that send again what was not
 * acknowledged, and of OpenTelemetry SDKs: what was acknowledged is found exactly once, from every node,
 * whatever is killed, paused or restarted.
 */

import { afterEach, expect, test } from 'vitest'
import { systemMonotonic } from '../base/clock.js'
import type { ClusterStatus } from '../node/cluster/status.js'
import { ClusterLoad, count } from '../testing/cluster/cluster-load.js'
import { ClusterNodes, member } from '../testing/cluster/nodes.js'
import { BALANCED, SdkLoad } from '../testing/cluster/sdk-load.js'

let cluster: ClusterNodes | undefined

afterEach(async () => {
  await cluster?.end()
  cluster = undefined
})

async function expectOnceFromEveryNode(loads: readonly ClusterLoad[], nodes: ClusterNodes) {
  for (const { service, signal, records } of loads) {
    for (const node of nodes.running) {
      const counted = await count(node, service, {}, signal)
      expect(counted, `${signal} at ${node.name}`).toEqual({ rows: records, records })
    }
  }
  expect(await nodes.violations()).toEqual([])
}

/** As it is when a node is back: what it held alone is there too. */
async function expectAllOnceFromEveryNode(
  loads: readonly ClusterLoad[],
  sdks: SdkLoad,
  nodes: ClusterNodes,
) {
  await nodes.settled()
  await expectOnceFromEveryNode(loads, nodes)
  sdks.tell()
  expect(await sdks.judge(nodes.running)).toEqual([])
}

test('i2 a node that is killed costs no acknowledged record, and none is there twice', async () => {
  cluster = await ClusterNodes.start(3)
  await cluster.ready()
  const loads = ClusterLoad.ofEverySignal('killed', cluster.nodes)
  const [load] = loads
  const sdks = await SdkLoad.of('killed-sdk', cluster.nodes)
  for (const each of [...loads, sdks]) each.start()
  await sdks.warm()
  await load.more(100)
  load.longestGapMs = 0
  const killed = systemMonotonic.monotonic()
  await cluster.node('n2').kill()
  await load.more(300)
  await cluster.until('n1', (status) => member(status, 'n2').status === 'dead')
  await load.more(100)
  await Promise.all([...loads, sdks].map((each) => each.end()))
  // A log record may have been acknowledged by the node that is gone, and be on its disk alone.
  const copied = loads.filter(({ signal }) => signal !== 'logs')
  await expectOnceFromEveryNode(copied, cluster)
  const readable = systemMonotonic.monotonic() - killed
  await cluster.restart('n2')
  await cluster.ready()
  await expectAllOnceFromEveryNode(loads, sdks, cluster)
  process.stderr.write(
    `killed: all readable after ${(readable / 1000).toFixed(1)} s, no acknowledgement for at most ${Math.round(load.longestGapMs)} ms\n`,
  )
}, 240_000)

test('i9 a node that is paused until others took its stream over acknowledges nothing twice', async () => {
  cluster = await ClusterNodes.start(3)
  await cluster.ready()
  const loads = ClusterLoad.ofEverySignal('paused', cluster.nodes)
  const [load] = loads
  for (const each of loads) each.start()
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
  await Promise.all(loads.map((each) => each.end()))
  await cluster.settled()
  await expectOnceFromEveryNode(loads, cluster)
}, 240_000)

test('a rolling restart under load loses nothing, and an SDK with one address for all nodes gives up on nothing', async () => {
  cluster = await ClusterNodes.start(3)
  await cluster.ready()
  const loads = ClusterLoad.ofEverySignal('rolling', cluster.nodes)
  const [load] = loads
  const sdks = await SdkLoad.of('rolling-sdk', cluster.nodes)
  for (const each of [...loads, sdks]) each.start()
  await sdks.warm()
  for (const { name } of cluster.nodes) {
    await load.more(50)
    expect(await cluster.node(name).stop(), name).toBe(0)
    await load.more(50)
    await cluster.restart(name)
    await cluster.ready()
  }
  await Promise.all([...loads, sdks].map((each) => each.end()))
  await expectAllOnceFromEveryNode(loads, sdks, cluster)
  // The exporters over gRPC try nothing a second time (0.223), those over HTTP do.
  expect(sdks.failuresOf(BALANCED.http)).toEqual([])
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
  await expectOnceFromEveryNode([load], cluster)
}, 120_000)
