/**
 * Whole nodes on real sockets, with the native side in memory: they meet on one port, one begins the
 * metadata group, all become ready, and a node that stops gives away what it has first.
 */

import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { run } from '../cli/main.js'
import { type ClusterStatus, clusterStatus, type MemberStatus } from '../node/cluster/status.js'
import { CLUSTER_PORT, FakeNodes } from '../testing/cluster/fake-nodes.js'

const PATIENCE = { timeout: 90_000, interval: 50 }
const NAMES = ['n1', 'n2', 'n3']
const at = (index: number) => `127.0.0.${index}:${CLUSTER_PORT}`
const LIST = [1, 2, 3].map(at).join(',')

let nodes = new FakeNodes()
let out: string

beforeEach(() => {
  out = ''
  const print = (line: unknown) => {
    out += `${line}\n`
  }
  vi.spyOn(console, 'log').mockImplementation(print)
  vi.spyOn(console, 'error').mockImplementation(print)
})

afterEach(async () => {
  vi.restoreAllMocks()
  await nodes.stop()
  nodes = new FakeNodes()
})

const status = async (name: string) =>
  (await nodes.get(name, '/api/v1/cluster')).body as ClusterStatus
const member = async (of: string, name: string): Promise<MemberStatus | undefined> =>
  (await status(of)).members.find((each) => each.name === name)
const ready = async (name: string) => (await nodes.get(name, '/ready')).status

/** Runs a command against the control port of a node; what it printed. */
async function otlake(index: number, ...args: string[]): Promise<{ code: number; text: string }> {
  out = ''
  const code = await run([...args, '--url', at(index)])
  return { code, text: out }
}

const start = (index: number, settings = {}) =>
  nodes.start(`n${index}`, index, { 'cluster.join': LIST, ...settings })

/** Three nodes that were given the same list, are ready and have their shares. */
async function three(settings = {}): Promise<void> {
  await Promise.all([1, 2, 3].map((index) => start(index, settings)))
  for (const name of NAMES) {
    await expect.poll(() => ready(name), PATIENCE).toBe(200)
    await expect
      .poll(async () => (await status(name)).members.filter((each) => each.shards > 0), PATIENCE)
      .toHaveLength(3)
    await expect.poll(async () => (await status(name)).shards.left, PATIENCE).toBe(0)
  }
}

test('three nodes with one list become one cluster, begun by the first of it', async () => {
  await three({ 'cluster.zone': 'a', 'cluster.weight': 2 })
  expect(nodes.group.voters.toSorted()).toEqual(NAMES)
  const seen = await status('n2')
  expect(seen).toMatchObject({ node: 'n2', cluster: 'otlake', state: 'ready', ready: true })
  expect(seen.members.map(({ name, status: is }) => [name, is])).toEqual(
    NAMES.map((name) => [name, 'alive']),
  )
  expect(seen.members.reduce((sum, { shards }) => sum + shards, 0)).toBe(1000)
  expect(seen.problems).toEqual([])
  expect(await member('n3', 'n1')).toMatchObject({
    address: at(1),
    zone: 'a',
    weight: 2,
    wire: '1-1',
    version: expect.stringMatching(/^\d/),
    roles: ['gateway', 'processor', 'storage', 'query'],
    addresses: {
      peer: nodes.native('n1').address,
      http: nodes.nodes.get('n1')?.addresses.http,
    },
    voter: true,
    ready: true,
  })
  const owners = (name: string) => nodes.native(name).views.at(-1)?.owners
  for (const name of NAMES) expect(owners(name)).toEqual(owners('n1'))
  expect(nodes.native('n1').views.at(-1)?.followers.spans.toSorted()).toEqual(['n2', 'n3'])
})

test('with keys the nodes meet as well, and prove the same secret', async () => {
  const key = Buffer.alloc(32, 5).toString('base64')
  await three({ 'cluster.keys': key })
  const secrets = NAMES.map((name) => nodes.native(name).config.secret)
  expect(secrets[0]).toHaveLength(32)
  expect(secrets[0]).not.toEqual(Buffer.alloc(32, 5))
  expect(secrets[1]).toEqual(secrets[0])
  expect(secrets[2]).toEqual(secrets[0])
})

test('a node that waits for the others is there all the same, and says what it waits for', async () => {
  await start(2)
  expect(await ready('n2')).toBe(503)
  const answer = (await nodes.get('n2', '/ready')).body as { cluster: string; problems: string[] }
  expect(answer.cluster).toBe('waiting')
  expect(answer.problems.join()).toContain(`${at(1)} has to begin it`)
  await start(1)
  expect(
    ((await nodes.get('n1', '/ready')).body as { problems: string[] }).problems.join(),
  ).toContain(`${at(3)} did not answer`)
  expect(nodes.group.id).toBe('')
  await start(3)
  await expect.poll(() => ready('n2'), PATIENCE).toBe(200)
  await expect.poll(() => ready('n1'), PATIENCE).toBe(200)
})

test('one that is told to begins the group alone, and one that comes later joins it', async () => {
  await nodes.start('n1', 1, { 'cluster.bootstrap': true })
  expect(await ready('n1')).toBe(200)
  const { id } = nodes.group
  await nodes.start('n2', 2, { 'cluster.join': at(1), 'cluster.bootstrap': true })
  await expect.poll(() => ready('n2'), PATIENCE).toBe(200)
  expect(nodes.group.id).toBe(id)
  expect((await status('n2')).group).toBe(id)
})

test('a node that stops is told of, gives its shards away, seals its stream, and has left', async () => {
  // Longer than a busy machine takes for the others to see it.
  await three({ grace_ms: 60_000 })
  const native = nodes.native('n3')
  // What another node has heard, and makes of it, at each piece of news, before it acts on that.
  const told: string[] = []
  const first = nodes.nodes.get('n1')?.cluster
  first?.membership.prependListener('updated', ({ name }) => {
    if (name !== 'n3') return
    const seen = clusterStatus(first, 'otlake').members.find((each) => each.name === name)
    told.push(`${seen?.draining ? 'draining' : 'staying'} ${seen?.shards === 0 ? 'none' : 'some'}`)
  })
  // Its stream is sealed once this test lets it be, and by then nothing belongs to it.
  const seal = native.drain.bind(native)
  const owned: number[] = []
  let letSeal = (): void => undefined
  const sealing = new Promise<void>((resolve) => {
    letSeal = resolve
  })
  native.drain = async () => {
    const owners = Object.values(native.views.at(-1)?.owners ?? {}).flat()
    owned.push(owners.filter((owner) => owner === 'n3').length)
    await sealing
    await seal()
  }
  const stopping = nodes.nodes.get('n3')?.stop()
  try {
    await expect.poll(() => owned, PATIENCE).toEqual([0])
    const { cluster } = (await nodes.get('n3', '/ready')).body as { cluster: string }
    expect(cluster).toBe('draining')
    await expect
      .poll(() => member('n1', 'n3'), PATIENCE)
      .toMatchObject({ status: 'alive', draining: true, shards: 0 })
    expect(told).toContain('draining some')
    expect(native.drained).toBe(false)
  } finally {
    letSeal()
  }
  await stopping
  expect(native.drained).toBe(true)
  expect(await member('n1', 'n3')).toMatchObject({ status: 'left', shards: 0 })
  await expect.poll(async () => (await status('n1')).problems, PATIENCE).toEqual([])
  expect(nodes.group.streams.get(native.stream)?.state).toBe('sealed')
  // It keeps its vote: a restart is no reason to change the group.
  expect(nodes.group.voters.toSorted()).toEqual(NAMES)
  await start(3)
  await expect.poll(async () => (await member('n1', 'n3'))?.ready, PATIENCE).toBe(true)
})

test('the stream of a node that dies is recovered once, and again where that fails', async () => {
  await three()
  const lost = nodes.native('n3')
  let failures = 1
  for (const name of ['n1', 'n2']) {
    nodes.native(name).recovery = async (stream) => {
      if (failures-- > 0) throw new Error('not now')
      return { stream, complete: true, records: 7, missingFrom: [] }
    }
  }
  await nodes.kill('n3')
  await expect.poll(async () => (await member('n1', 'n3'))?.status, PATIENCE).toBe('dead')
  await expect.poll(() => nodes.group.streams.get(lost.stream)?.state, PATIENCE).toBe('sealed')
  const tries = ['n1', 'n2'].flatMap((name) => nodes.native(name).recovered)
  expect(tries).toEqual([lost.stream, lost.stream])
  const { code, text } = await otlake(1, 'cluster', 'remove', 'n3')
  expect([code, text.trim()]).toEqual([0, 'n3 is removed; a new start of it joins again'])
  await expect
    .poll(
      () =>
        nodes
          .native('n1')
          .views.at(-1)
          ?.members.map(({ name }) => name),
      PATIENCE,
    )
    .toEqual(['n1', 'n2'])
})

test('a node whose stream others took over says so, and ends without draining', async () => {
  await three()
  const native = nodes.native('n3')
  const node = nodes.nodes.get('n3')
  const own = nodes.group.streams.get(native.stream)
  Object.assign(own ?? {}, { state: 'fenced', by: 'n1', epoch: 2 })
  expect(await node?.ended).toBe('fenced')
  const { status: code, body } = await nodes.get('n3', '/ready')
  expect(code).toBe(503)
  expect((body as { problems: string[] }).problems.join()).toContain('it starts anew')
  await expect.poll(async () => (await member('n1', 'n3'))?.shards, PATIENCE).toBe(0)
  await node?.stop()
  expect(native.drained).toBe(false)
  await start(3)
  await expect.poll(async () => (await member('n1', 'n3'))?.ready, PATIENCE).toBe(true)
})

test('the commands tell and change what every node knows, over the port that gossip has', async () => {
  await three()
  const shown = await otlake(2, 'cluster', 'status')
  expect(shown.code).toBe(0)
  for (const word of ['n1', 'n2', 'n3', 'leader n1', 'follower', 'ready']) {
    expect(shown.text).toContain(word)
  }
  const listed = await otlake(2, 'cluster', 'members', '--json')
  expect(
    listed.text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).name),
  ).toEqual(NAMES)

  expect((await otlake(2, 'shard', 'pin', 'service.name=shop', '--nodes', 'n1,n2')).code).toBe(0)
  expect((await otlake(2, 'shard', 'weight', 'n3', '0.5')).code).toBe(0)
  // Another node tells it at once where it is asked to.
  expect((await otlake(1, 'shard', 'list', '--latest')).text).toMatch(/n3 +0\.5 /)
  await expect
    .poll(() => nodes.native('n3').views.at(-1)?.rules, PATIENCE)
    .toEqual([{ attribute: 'service.name', value: 'shop', nodes: ['n1', 'n2'] }])
  await expect.poll(async () => (await member('n1', 'n3'))?.shards, PATIENCE).toBeLessThan(280)
  const shards = await otlake(1, 'shard', 'list')
  expect(shards.text).toContain('service.name=shop')
  expect(shards.text).toMatch(/n3 +0\.5 /)
  const numbers = JSON.parse((await otlake(1, 'shard', 'list', '--json')).text) as {
    owners: { spans: number[] }[]
  }
  expect(numbers.owners.flatMap(({ spans }) => spans).sort((a, b) => a - b)).toEqual(
    Array.from({ length: 500 }, (_, number) => number),
  )
  expect((await otlake(3, 'shard', 'unpin', 'service.name=shop')).code).toBe(0)
  await expect.poll(() => nodes.native('n2').views.at(-1)?.rules, PATIENCE).toEqual([])
  expect((await otlake(3, 'shard', 'rebalance')).code).toBe(0)

  for (const wrong of [
    ['cluster', 'remove', 'n3'],
    ['cluster', 'remove', 'n9'],
    ['cluster', 'recover', 'nothing'],
    ['cluster', 'drain', 'n9'],
    ['shard', 'pin', 'service.name', '--nodes', 'n1'],
    ['shard', 'pin', 'service.name=shop', '--nodes', 'n9'],
    ['shard', 'unpin', 'service.name=other'],
    ['shard', 'weight', 'n3', 'much'],
    ['shard', 'weight', 'n3', '17'],
  ]) {
    const { code, text } = await otlake(1, ...wrong)
    expect(code, wrong.join(' ')).toBe(2)
    expect(text, wrong.join(' ')).toMatch(/CONFIG_INVALID|CLI_USAGE/)
  }
  expect((await otlake(1, 'cluster', 'recover')).text.trim()).toBe('there is nothing to recover')
})

test('drain by name reaches that node, which stays; leave ends it', async () => {
  await three()
  expect((await otlake(1, 'cluster', 'drain', 'n3')).code).toBe(0)
  expect(nodes.native('n3').drained).toBe(true)
  expect(await ready('n3')).toBe(503)
  await expect
    .poll(async () => await member('n1', 'n3'), PATIENCE)
    .toMatchObject({ status: 'alive', draining: true, shards: 0 })
  const node = nodes.nodes.get('n2')
  expect((await otlake(1, 'cluster', 'leave', 'n2')).code).toBe(0)
  expect(await node?.ended).toBe('left')
  await node?.stop()
  await expect.poll(async () => (await member('n1', 'n2'))?.status, PATIENCE).toBe('left')
})

test('the metrics of a cluster’s node are those of the page, with its labels and values', async () => {
  await three()
  const page = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8')
  const section = page.split('## Of a cluster\n')[1]?.split('\n## ')[0] ?? ''
  const cells = section.split('\n').map((line) => line.split('|').map((cell) => cell.trim()))
  const coded = (cell = '') => [...cell.matchAll(/`([^`]+)`/g)].map((found) => found[1] as string)
  const described = cells.filter(([, name]) => name?.startsWith('`otlake_'))
  const text = await (await fetch(`http://${nodes.nodes.get('n1')?.addresses.http}/metrics`)).text()
  const lines = text.split('\n').filter((line) => /(^|# TYPE )otlake_cluster_/.test(line))
  const told = lines.flatMap((line) => /^# TYPE (\S+) (\S+)$/.exec(line)?.slice(1).join(' ') ?? [])
  expect(told.sort()).toEqual(
    described.map(([, name, type]) => `${coded(name)[0]?.replace(/_total$/, '')} ${type}`).sort(),
  )
  const values = cells.filter(([, label]) => /^`[a-z]+`$/.test(label ?? ''))
  for (const line of lines.filter((each) => !each.startsWith('#'))) {
    const [, name = '', labels = ''] = /^(\w+)(?:\{(.*)\})? /.exec(line) ?? []
    for (const [, label, value] of labels.matchAll(/(\w+)="([^"]*)"/g)) {
      const known = values.find(
        ([, is, of]) => coded(is)[0] === label && (of === 'any' || coded(of).includes(name)),
      )
      expect(coded(known?.[3]), line).toContain(value)
    }
  }
  const value = (start: string) =>
    Number(lines.find((line) => line.startsWith(`${start} `))?.split(' ')[1])
  expect(value('otlake_cluster_members{status="alive"}')).toBe(3)
  expect(value('otlake_cluster_shards_owned')).toBeGreaterThan(200)
  expect(value('otlake_cluster_ready')).toBe(1)
  expect(value('otlake_cluster_problems')).toBe(0)
  expect(value('otlake_cluster_gossip_bytes_total{direction="received"}')).toBeGreaterThan(1000)
})

test('what only one node may do is done by the one that leads, under a lock', async () => {
  await three()
  const done: string[] = []
  const attempt = (name: string, work = async () => {}) =>
    nodes.nodes.get(name)?.cluster?.alone('jobs', async () => {
      done.push(name)
      await work()
    })
  const inside = async () => {
    // Another that believes to lead does not get the lock meanwhile.
    await expect(nodes.native('n2').lock('jobs')).rejects.toThrow()
  }
  await Promise.all([attempt('n1', inside), attempt('n2'), attempt('n3')])
  expect(done).toEqual(['n1'])
  await expect(nodes.native('n2').lock('jobs')).resolves.toBeTypeOf('bigint')
  await attempt('n1')
  expect(done).toEqual(['n1'])
})

test('with tokens the cluster’s calls and its page need one', async () => {
  const { createHash } = await import('node:crypto')
  const sha256 = createHash('sha256').update('secret').digest('hex')
  const tokens = [{ sha256, tenant: 'blue' }]
  await nodes.start('n1', 1, { 'cluster.bootstrap': true, 'auth.tokens': tokens })
  expect((await nodes.get('n1', '/api/v1/cluster')).status).toBe(401)
  expect((await otlake(1, 'cluster', 'status')).code).toBe(1)
  expect((await otlake(1, 'cluster', 'status', '--token', 'secret')).code).toBe(0)
})

test('a node by itself says that it is in no cluster', async () => {
  await nodes.start('n1', 1)
  expect((await nodes.get('n1', '/api/v1/cluster')).status).toBe(400)
  expect(await ready('n1')).toBe(200)
  const { code, text } = await otlake(1, 'cluster', 'status')
  expect(code).toBe(1)
  expect(text).toContain('NODE_STATE')
  expect(text).toContain('--join')
})
