/**
 * Tenants that ask for different quorums of one cluster of real nodes: each is refused by its own, waits
 * for its own, and holds up nobody who asks for less; and each span is found once.
 */

import { afterEach, expect, test } from 'vitest'
import { systemClock, systemMonotonic } from '../base/clock.js'
import { count } from '../testing/cluster/cluster-load.js'
import { type ClusterNode, ClusterNodes, member } from '../testing/cluster/nodes.js'
import { grpcExport, grpcSession, spansRequest } from '../testing/load.js'

const SETTINGS = {
  'cluster.tenants': JSON.stringify([
    { tenant: 'strict', signal: 'spans', acks: 3, timeout_ms: 1500 },
    { tenant: 'lax', signal: 'spans', acks: 1 },
  ]),
}
/** Spans of one request, of one trace and so of one owner. */
const SPANS = 5
/** As the gRPC code has it. */
const UNAVAILABLE = 14
const PAUSE_MS = 100
const PATIENCE_MS = 60_000

let cluster: ClusterNodes | undefined

afterEach(async () => {
  await cluster?.end()
  cluster = undefined
})

/** Sends request `number` of a tenant once; its code, and whether it names a time to come again at. */
async function send(node: ClusterNode, tenant: string, number: number) {
  const session = grpcSession(node.process)
  try {
    const body = spansRequest(tenant, number, SPANS, 10)
    const { code, details } = await grpcExport(session, body, { tenant })
    return { code, isRetryable: details.includes('google.rpc.RetryInfo') }
  } finally {
    session.destroy()
  }
}

/** Sends it until it is acknowledged. */
async function deliver(node: ClusterNode, tenant: string, number: number): Promise<void> {
  const until = systemMonotonic.monotonic() + PATIENCE_MS
  for (;;) {
    const { code, isRetryable } = await send(node, tenant, number)
    if (code === 0) return
    expect([code, isRetryable]).toEqual([UNAVAILABLE, true])
    if (systemMonotonic.monotonic() > until) throw new Error(`${tenant} ${number} is never taken`)
    await systemClock.sleep(PAUSE_MS)
  }
}

/** The sum of a counter's series over nodes. */
async function counted(nodes: readonly ClusterNode[], series: RegExp): Promise<number> {
  let sum = 0
  for (const node of nodes) {
    const text = await (await fetch(node.process.url('/metrics'))).text()
    for (const line of text.split('\n')) {
      if (series.test(line)) sum += Number(line.split(' ').at(-1))
    }
  }
  return sum
}

async function expectOnce(nodes: ClusterNodes, requests: Record<string, number>) {
  for (const node of nodes.running) {
    for (const [tenant, sent] of Object.entries(requests)) {
      const found = await count(node, tenant, { 'x-scope-orgid': tenant })
      expect(found, `${tenant} at ${node.name}`).toEqual({
        rows: sent * SPANS,
        records: sent * SPANS,
      })
    }
  }
  expect(await nodes.violations()).toEqual([])
}

test('a tenant is refused by its own quorum while others go on, and taken when it is there again', async () => {
  cluster = await ClusterNodes.start(3, { settings: SETTINGS })
  await cluster.ready()
  const n1 = cluster.node('n1')
  const others = ['default', 'lax']
  for (const tenant of ['strict', ...others]) {
    for (let number = 0; number < 10; number++) await deliver(n1, tenant, number)
  }
  await cluster.node('n3').kill()
  await cluster.until('n1', (status) => member(status, 'n3').status === 'dead')
  for (const tenant of others) {
    for (let number = 10; number < 30; number++) await deliver(n1, tenant, number)
  }
  const refusals = /^otlake_requests_refused_total\{.*CLUSTER_QUORUM/
  const before = await counted(cluster.running, refusals)
  for (let number = 10; number < 20; number++) {
    const refused = await send(n1, 'strict', number)
    expect(refused).toEqual({ code: UNAVAILABLE, isRetryable: true })
  }
  expect(await counted(cluster.running, refusals)).toBeGreaterThanOrEqual(before + 10)
  await cluster.until('n1', ({ problems }) =>
    problems.some((problem) => problem.startsWith('spans of tenant strict are refused')),
  )
  await cluster.restart('n3')
  await cluster.ready()
  for (let number = 10; number < 20; number++) await deliver(n1, 'strict', number)
  await expectOnce(cluster, { strict: 20, default: 30, lax: 30 })
}, 240_000)

test('what waits for a node that stands still holds up nobody who asks for less, and is stored once', async () => {
  cluster = await ClusterNodes.start(3, { settings: SETTINGS })
  await cluster.ready()
  const n1 = cluster.node('n1')
  for (const tenant of ['strict', 'default']) await deliver(n1, tenant, 0)
  cluster.node('n3').pause()
  // Its connections stand, so that what is sent to the other two is begun and lacks its third copy.
  const begun = Array.from({ length: 20 }, (_, index) => send(n1, 'strict', 1 + index))
  for (const { code } of await Promise.all(begun)) expect(code).toBe(UNAVAILABLE)
  for (let number = 1; number < 30; number++) await deliver(n1, 'default', number)
  const two = [n1, cluster.node('n2')]
  expect(await counted(two, /^otlake_replica_overdue_records_total\{/)).toBeGreaterThan(0)
  cluster.node('n3').resume()
  await cluster.ready()
  for (let number = 1; number <= 20; number++) await deliver(n1, 'strict', number)
  await expectOnce(cluster, { strict: 21, default: 30 })
}, 240_000)
