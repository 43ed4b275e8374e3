/**
 * Real nodes as processes that have nothing in common but their connections: no shared folder, no
 * bucket. A node's disk is lost with all that it held, and nothing that was acknowledged is; files get
 * their copies again; and the regular jobs work on them.
 */

import { execFile } from 'node:child_process'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, expect, test } from 'vitest'
import { ClusterLoad, count } from '../testing/cluster/cluster-load.js'
import { type ClusterNode, ClusterNodes, member } from '../testing/cluster/nodes.js'
import { MAIN } from '../testing/server.js'

const PATIENCE = { timeout: 90_000, interval: 200 }

let cluster: ClusterNodes | undefined

afterEach(async () => {
  await cluster?.end()
  cluster = undefined
})

const start = (settings: Record<string, string | number> = {}) =>
  ClusterNodes.start(3, {
    tables: 'cluster',
    settings: {
      'flush.interval_ms': 500,
      'jobs.schedule': 'off',
      'jobs.vacuum_after_ms': 0,
      ...settings,
    },
  })

/** Runs a command as a user does; what it printed. */
const otlake = async (node: ClusterNode, ...args: string[]): Promise<string> => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    MAIN,
    ...args,
    '--url',
    node.control,
  ])
  return stdout
}

async function expectOnceFromEveryNode(load: ClusterLoad, nodes: ClusterNodes, service: string) {
  for (const node of nodes.running) {
    const counted = await count(node, service, { 'otlake-consistency': 'strong' })
    expect(counted, node.name).toEqual({ rows: load.spans, spans: load.spans })
  }
  expect(await nodes.violations()).toEqual([])
}

/** The data files of a table that a node has on its own disk. */
async function copies(node: ClusterNode, table = 'spans'): Promise<string[]> {
  const folder = join(node.dataDir, 'files', 'tables', table)
  const names = await readdir(folder, { recursive: true }).catch(() => [])
  return names.filter((name) => /^tenant=.*\/[0-9a-f-]{36}\.parquet$/.test(name)).sort()
}

/** A figure of a node's metrics, over all labels. */
async function figure(node: ClusterNode, name: string): Promise<number> {
  const text = await (await fetch(node.process.url('/metrics'))).text()
  const lines = text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
}

const flush = async (nodes: ClusterNodes) => {
  for (const node of nodes.running) await otlake(node, 'flush')
}

test('i2 nodes without a common folder lose nothing acknowledged with one node and its whole disk', async () => {
  cluster = await start()
  await cluster.ready()
  const load = new ClusterLoad('own-disks', cluster.nodes)
  load.start()
  await load.more(150)
  await cluster.node('n2').kill()
  await rm(cluster.node('n2').dataDir, { recursive: true })
  await load.more(150)
  await cluster.until('n1', (status) => member(status, 'n2').status === 'dead')
  await load.more(100)
  await load.end()
  await expectOnceFromEveryNode(load, cluster, 'own-disks')
  await flush(cluster)
  await expectOnceFromEveryNode(load, cluster, 'own-disks')

  // A machine with an empty disk takes the place of the one that is gone.
  const added = await cluster.add()
  await otlake(cluster.node('n1'), 'cluster', 'remove', 'n2')
  await cluster.ready()
  await expectOnceFromEveryNode(load, cluster, 'own-disks')
  const others = [cluster.node('n1'), cluster.node('n3')]
  await expect
    .poll(async () => {
      const held = await Promise.all([...others, added].map((node) => copies(node)))
      return held.map((names) => names.join())
    }, PATIENCE)
    .toSatisfy((held: string[]) => held[0] !== '' && new Set(held).size === 1)
  for (const node of cluster.running) {
    await expect.poll(() => figure(node, 'otlake_files_under_replicated'), PATIENCE).toBe(0)
  }
  expect(await figure(added, 'otlake_files_fetched_bytes_total')).toBeGreaterThan(0)

  // So the next one may be lost.
  await cluster.node('n3').kill()
  await rm(cluster.node('n3').dataDir, { recursive: true })
  await cluster.until('n1', (status) => member(status, 'n3').status === 'dead')
  const more = new ClusterLoad('after', cluster.running)
  more.start()
  await more.more(30)
  await more.end()
  await expectOnceFromEveryNode(load, cluster, 'own-disks')
  await expectOnceFromEveryNode(more, cluster, 'after')
}, 300_000)

test('jobs merge, expire and delete files on every node, and each reads the same', async () => {
  cluster = await start()
  await cluster.ready()
  const load = new ClusterLoad('jobs', cluster.nodes)
  load.start()
  for (let flushes = 0; flushes < 6; flushes++) {
    await load.more(20)
    await flush(cluster)
  }
  await load.end()
  await flush(cluster)
  const [first] = cluster.nodes as [ClusterNode]
  const before = await copies(first)
  expect(before.length).toBeGreaterThan(5)
  expect(await otlake(first, 'job', 'run', 'compact')).toMatch(/^spans /m)
  await expectOnceFromEveryNode(load, cluster, 'jobs')
  await otlake(first, 'job', 'run', 'vacuum')
  // What was merged is gone from every disk, and what it was merged into is on each.
  await expect
    .poll(async () => {
      const held = await Promise.all((cluster as ClusterNodes).nodes.map((node) => copies(node)))
      return held.map((names) => names.filter((name) => before.includes(name)).length)
    }, PATIENCE)
    .toEqual([0, 0, 0])
  for (const node of cluster.nodes) {
    await expect.poll(async () => (await copies(node)).length, PATIENCE).toBeGreaterThan(0)
  }
  await expectOnceFromEveryNode(load, cluster, 'jobs')

  // All stop at once, and start again with what each has.
  await Promise.all(cluster.nodes.map((node) => node.kill()))
  const kept = ['--set', 'retention.traces_days=30']
  await Promise.all(cluster.nodes.map((node) => node.start(kept)))
  await cluster.ready()
  await expectOnceFromEveryNode(load, cluster, 'jobs')

  // The spans are of 2023.
  expect(await otlake(first, 'job', 'run', 'retain')).toMatch(/^spans /m)
  for (const node of cluster.nodes) {
    expect(await count(node, 'jobs'), node.name).toEqual({ rows: 0, spans: 0 })
  }
  await otlake(first, 'job', 'run', 'vacuum')
  for (const node of cluster.nodes) {
    await expect.poll(() => copies(node), PATIENCE).toEqual([])
  }
}, 300_000)
