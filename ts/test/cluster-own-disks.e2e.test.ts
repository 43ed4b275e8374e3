/**
 * Real nodes as processes that have nothing in common but their connections: no shared folder, no
 * bucket. A node's disk is lost with all that it held, and nothing that was acknowledged is; files get
 * their copies again; the regular jobs work on them; and one node is backed up and verified for all.
 */

import { execFile } from 'node:child_process'
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, expect, test } from 'vitest'
import type { Finding } from '../node/verify.js'
import { ClusterLoad, count } from '../testing/cluster/cluster-load.js'
import { type ClusterNode, ClusterNodes, member } from '../testing/cluster/nodes.js'
import { MAIN, ServerProcess } from '../testing/server.js'

const PATIENCE = { timeout: 90_000, interval: 200 }

let cluster: ClusterNodes | undefined
let copy: ServerProcess | undefined

afterEach(async () => {
  await copy?.kill()
  copy = undefined
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
    expect(counted, node.name).toEqual({ rows: load.records, records: load.records })
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
    expect(await count(node, 'jobs'), node.name).toEqual({ rows: 0, records: 0 })
  }
  await otlake(first, 'job', 'run', 'vacuum')
  for (const node of cluster.nodes) {
    await expect.poll(() => copies(node), PATIENCE).toEqual([])
  }
}, 300_000)

interface Ran {
  code: number
  stdout: string
  stderr: string
}

/** Runs a command that may fail. */
async function ran(...args: string[]): Promise<Ran> {
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [MAIN, ...args])) }
  } catch (error) {
    return error as Ran
  }
}

const backup = (node: ClusterNode, to: string) =>
  ran('backup', '--data-dir', node.dataDir, '--to', to, '--url', node.control)

/** What `otlake verify` finds on a node's disk, beside it; `how` may have it ask a node. */
async function verify(node: ClusterNode, ...how: string[]) {
  const { code, stdout } = await ran('verify', '--data-dir', node.dataDir, '--json', ...how)
  const lines = stdout.split('\n').filter((line) => line !== '')
  const found = lines.map((line) => JSON.parse(line) as Finding)
  const of = (outcome: Finding['outcome']) =>
    found.filter((finding) => finding.outcome === outcome).map(({ path }) => path)
  return { code, of }
}

test('i2 i3 i6 one node is backed up and verified for all, with files that it lacks or has damaged', async () => {
  cluster = await start({ 'cluster.copies.spans': 2 })
  await cluster.ready()
  const [n1, n2, n3] = cluster.nodes as [ClusterNode, ClusterNode, ClusterNode]
  const load = new ClusterLoad('backup', cluster.nodes)
  load.start()
  for (let flushes = 0; flushes < 3; flushes++) {
    await load.more(30)
    await flush(cluster)
  }
  await n3.kill()
  await cluster.until('n1', (status) => member(status, 'n3').status === 'dead')
  for (let flushes = 0; flushes < 3; flushes++) {
    await load.more(30)
    await flush(cluster)
  }
  await load.end()
  await cluster.ready()
  await expectOnceFromEveryNode(load, cluster, 'backup')
  await flush(cluster)

  // What the third of them wrote, and the others did not get, is on none of these two disks alone.
  const whole = await verify(n1)
  expect(whole.code).toBe(0)
  expect(whole.of('damaged')).toEqual([])

  // A byte is flipped, and another file is gone, on the disk of the node that is backed up.
  const others = await copies(n2)
  const both = (await copies(n1)).filter((name) => others.includes(name))
  expect(both.length).toBeGreaterThan(2)
  const [flipped, lost, nowhere] = both as [string, string, string]
  const at = (node: ClusterNode, name: string) => join(node.dataDir, 'files/tables/spans', name)
  const path = (name: string) => `files/tables/spans/${name}`
  const bytes = await readFile(at(n1, flipped))
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 4
  await writeFile(at(n1, flipped), bytes)
  await rm(at(n1, lost))
  const alone = await verify(n1)
  expect(alone.code).toBe(1)
  expect(alone.of('damaged')).toEqual([path(flipped)])
  expect(alone.of('elsewhere')).toContain(path(lost))
  const asked = await verify(n1, '--url', n1.control)
  expect(asked.code).toBe(1)
  expect(asked.of('damaged')).toEqual([path(flipped)])
  expect(asked.of('missing')).toEqual([])
  expect(asked.of('under_replicated')).toEqual(expect.arrayContaining([path(flipped), path(lost)]))
  const report = await ran('verify', '--data-dir', n1.dataDir, '--url', n1.control)
  expect(report.code).toBe(1)
  expect(report.stdout).toContain('1 damaged file(s)')
  expect(report.stdout).toContain('too few copies')

  // The copy has both, from the other node, and every row once.
  const to = join(cluster.folder, 'copy')
  const made = await backup(n1, to)
  expect(made.code, made.stderr).toBe(0)
  expect((await ran('verify', '--data-dir', to)).code).toBe(0)
  copy = await ServerProcess.start(to)
  const rows = await copy.rows<{ rows: number; spans: number }>(
    `SELECT count(*) AS rows, count(DISTINCT span_id) AS spans FROM spans
     WHERE service_name = 'backup'`,
  )
  expect(rows.map((row) => [Number(row.rows), Number(row.spans)])).toEqual([
    [load.records, load.records],
  ])
  expect(await copy.violations()).toEqual([])
  await expectOnceFromEveryNode(load, cluster, 'backup')

  // What no disk has that can be asked is missing; a backup says so, and makes none.
  for (const node of [n1, n2]) await rm(at(node, nowhere), { force: true })
  const gone = await verify(n1, '--url', n1.control)
  expect(gone.code).toBe(1)
  expect(gone.of('missing')).toEqual([path(nowhere)])
  const failed = await backup(n1, join(cluster.folder, 'second'))
  expect(failed.code).toBe(1)
  expect(failed.stderr).toContain(`table spans: the file ${nowhere}`)
  expect(failed.stderr).toContain('Start the nodes that are away')
  await expect(stat(join(cluster.folder, 'second'))).rejects.toThrow('ENOENT')

  // Without the node there is its own disk alone.
  await n1.stop()
  const stopped = await backup(n1, join(cluster.folder, 'third'))
  expect(stopped.code).toBe(1)
  expect(stopped.stderr).toMatch(/TABLE_IO: table spans: the file .*: start it, or back up a node/)
  await expect(stat(join(cluster.folder, 'third'))).rejects.toThrow('ENOENT')
}, 300_000)
