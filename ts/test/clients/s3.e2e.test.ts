/**
 * Tables in a bucket, through a real S3 server over its socket: what was acknowledged is found
 * exactly once, whatever the node or the store does; jobs, verify and other readers work there as
 * they do in a folder; and a store that cannot hold tables is refused by what is wrong with it.
 */

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ClusterLoad, count } from '../../testing/cluster/cluster-load.js'
import { ClusterNodes } from '../../testing/cluster/nodes.js'
import { send, traceRequest } from '../../testing/otlp.js'
import { expected, Outbox, SPANS, stored } from '../../testing/outbox.js'
import { MAIN, ServerProcess, set, temporaryFolder } from '../../testing/server.js'
import { BUCKET, ObjectStore } from './object-store.js'
import { BUILD_TIMEOUT_MS, clientFile, python, run } from './toolchain.js'

const TABLES = `s3://${BUCKET}/tables`
const POLL_MS = 100
const KILLS = 3
/** How long files may take where the store fails and requests wait their time. */
const PATIENCE_MS = 120_000

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let store: ObjectStore
let server: ServerProcess | undefined
let cluster: ClusterNodes | undefined

beforeEach(async () => {
  folder = await temporaryFolder()
  store = await ObjectStore.start()
}, BUILD_TIMEOUT_MS)

afterEach(async () => {
  const broken = await server?.violations().catch(String)
  await server?.kill()
  await cluster?.end()
  await store.end()
  await folder.remove()
  server = undefined
  cluster = undefined
  expect(broken ?? []).toEqual([])
})

const arguments_ = (settings: Record<string, string | number> = {}, tables = TABLES) => [
  ...['--cluster', '127.0.0.1:0', '--tables', tables],
  ...set({
    'jobs.schedule': 'off',
    'jobs.vacuum_after_ms': 0,
    'flush.interval_ms': 200,
    ...store.settings,
    ...settings,
  }),
]

const start = async (settings: Record<string, string | number> = {}) => {
  server = await ServerProcess.start(folder.path, arguments_(settings))
  return server
}

/** Runs the command line as a user does; what it printed, or its failure. */
const otlake = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [MAIN, ...args])
    return { code: 0, out: stdout, err: stderr }
  } catch (thrown) {
    const { code, stdout, stderr } = thrown as { code: number; stdout: string; stderr: string }
    return { code, out: stdout, err: stderr }
  }
}

const job = (name: string) => otlake('job', 'run', name, '--url', server?.addresses.cluster ?? '')

const verify = (dataDir: string) =>
  otlake('verify', '--data-dir', dataDir, '--tables', TABLES, ...set(store.settings))

/** Resolves when so many spans are in committed files. */
async function inFiles(node: ServerProcess, service: string, spans: number): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS
  for (let found = -1; found !== spans; await pause(POLL_MS)) {
    const [row] = await node.rows<{ n: number }>(
      'SELECT count(*) AS n FROM spans WHERE service_name = $1',
      [service],
      { 'otlake-consistency': 'eventual' },
    )
    found = Number(row?.n)
    if (performance.now() > deadline) throw new Error(`${found} of ${spans} spans are in files`)
  }
}

test('I2 I3: what was acknowledged is in the bucket once after kill -9, and jobs work there', {
  timeout: 300_000,
}, async () => {
  const outbox = new Outbox()
  for (let kills = 0; kills < KILLS; kills++) await outbox.load(await start(), 60)
  const node = await start()
  await outbox.settle(node)
  expect(await stored(node)).toEqual(expected(outbox))
  await node.flush()
  await inFiles(node, 'load', outbox.acknowledged.length * SPANS)
  expect(await stored(node)).toEqual(expected(outbox))

  // How many files the load came to is a matter of its pace; these are one each.
  for (let number = 0; number <= KILLS; number++) {
    expect(await send(node, 'traces', traceRequest('more', number, 1))).toBe(true)
    await node.flush()
    await inFiles(node, 'more', number + 1)
  }
  const data = (key: string) => key.includes('tenant=') && key.endsWith('.parquet')
  const before = (await store.keys('tables/spans/')).filter(data)
  expect(before.length).toBeGreaterThan(1 + KILLS)
  for (const name of ['compact', 'vacuum']) {
    expect(await job(name), name).toMatchObject({ code: 0 })
  }
  // What a kill left behind its upload and before its commit is deleted once it is a day old.
  const after = (await store.keys('tables/spans/')).filter(data)
  expect(after.length).toBeLessThanOrEqual(1 + KILLS)
  expect(after.length).toBeLessThan(before.length)
  expect(await stored(node)).toEqual(expected(outbox))
  const trace = await fetch(node.url(`/api/v1/traces/${'1'.padStart(32, '0')}`))
  expect(trace.status).toBe(200)

  const verified = await verify(folder.path)
  expect(verified, verified.out + verified.err).toMatchObject({ code: 0 })
  expect(verified.out).toContain('nothing is damaged')
  const metrics = await (await fetch(node.url('/metrics'))).text()
  expect(metrics).toMatch(/otlake_bucket_requests_total\{operation="put",outcome="ok"\} [1-9]/)

  // Nothing of the probes is left, and nothing is written below another prefix.
  const keys = await store.keys('')
  expect(keys.filter((key) => !/^tables\/[a-z_]+\//.test(key))).toEqual([])
})

test('a file of several parts is uploaded whole, and leaves no upload behind', async () => {
  const node = await start({ 'flush.interval_ms': 60_000 })
  // What no compression makes smaller.
  const noise = (number: number) => {
    let text = ''
    for (let at = 0; text.length < 200_000; at++) {
      text += createHash('sha512').update(`${number} ${at}`).digest('base64')
    }
    return text
  }
  for (let number = 0; number < 80; number++) {
    const request = traceRequest('large', number, 1) as {
      resourceSpans: [{ scopeSpans: [{ spans: [{ attributes: unknown[] }] }] }]
    }
    request.resourceSpans[0].scopeSpans[0].spans[0].attributes.push({
      key: 'noise',
      value: { stringValue: noise(number) },
    })
    expect(await send(node, 'traces', request)).toBe(true)
  }
  await node.flush()
  await inFiles(node, 'large', 80)
  const metrics = await (await fetch(node.url('/metrics'))).text()
  expect(metrics).toMatch(/otlake_bucket_requests_total\{operation="put_part",outcome="ok"\} [2-9]/)
  expect(await store.uploads()).toBe(0)
  expect((await verify(folder.path)).code).toBe(0)
  expect(await node.count('SELECT count(DISTINCT attributes) FROM spans')).toBe(80)
})

test('I2 I3: a store that fails, loses answers, stands still and goes away costs no span', {
  timeout: 400_000,
}, async () => {
  const node = await start()
  let acknowledged = 0
  const load = async (requests: number) => {
    for (let number = 0; number < requests; number++) {
      expect(await send(node, 'traces', traceRequest('load', acknowledged, SPANS))).toBe(true)
      acknowledged++
      await pause(20)
    }
  }
  await load(20)
  await store.faults({ status: 503, share: 0.3 })
  await load(60)
  await store.faults({ status: 500, share: 0.1, lost: 0.3 })
  await load(60)
  await store.faults()
  store.pause()
  await load(40)
  await pause(3000)
  store.resume()
  await load(20)
  await store.relay.cut()
  await load(40)
  await store.relay.mend()
  await load(20)
  await node.flush()
  await inFiles(node, 'load', acknowledged * SPANS)
  const [row] = await node.rows<{ n: number; ids: number }>(
    'SELECT count(*) AS n, count(DISTINCT span_id) AS ids FROM spans',
  )
  expect(row).toEqual({ n: acknowledged * SPANS, ids: acknowledged * SPANS })
  expect((await verify(folder.path)).code).toBe(0)
})

test('I5 I10: without its store a node takes what its log holds, then refuses, and recovers', {
  timeout: 300_000,
}, async () => {
  const node = await start({ 'log.segment_bytes': 65_536, 'log.max_bytes': 262_144 })
  await store.relay.cut()
  let acknowledged = 0
  const sent = (number: number) =>
    fetch(`http://${node.addresses.otlpHttp}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(traceRequest('load', number, 100)),
    })
  let refusal: Response | undefined
  for (let number = 0; number < 1000 && refusal === undefined; number++) {
    const response = await sent(number)
    await response.arrayBuffer()
    if (response.ok) acknowledged++
    else refusal = response
  }
  expect(acknowledged).toBeGreaterThan(5)
  expect(refusal?.status).toBe(503)
  expect(Number(refusal?.headers.get('retry-after'))).toBeGreaterThan(0)
  // What is live is still read.
  expect(await node.count('SELECT count(*) FROM spans')).toBe(acknowledged * 100)
  await store.relay.mend()
  for (let taken = false; !taken; await pause(POLL_MS)) {
    const response = await sent(acknowledged)
    await response.arrayBuffer()
    taken = response.ok
  }
  acknowledged++
  await node.flush()
  await inFiles(node, 'load', acknowledged * 100)
})

test('a store that cannot hold tables is refused at the start, with the fix', async () => {
  const refused = async (tables: string, settings: Record<string, string> = {}) => {
    const args = ['serve', '--data-dir', join(folder.path, 'refused'), '--http', '127.0.0.1:0']
    const off = ['--otlp-grpc', 'off', '--otlp-http', 'off', '--flight', 'off']
    const { code, err, out } = await otlake(...args, ...off, ...arguments_(settings, tables))
    expect(code, out + err).not.toBe(0)
    return err
  }
  await store.faults({ conditional: false })
  expect(await refused(TABLES)).toMatch(/BUCKET_UNUSABLE.*If-None-Match/s)
  await store.faults({ denied: true })
  expect(await refused(TABLES)).toMatch(/BUCKET_UNUSABLE.*s3:ListBucket/s)
  await store.faults()
  expect(await refused('s3://nowhere/tables')).toMatch(/BUCKET_UNUSABLE.*no such bucket/s)
  expect(await refused(TABLES, { 'storage.s3.allow_http': 'false' })).toMatch(/CONFIG_INVALID/)
  expect(await refused('s3://x')).toMatch(/CONFIG_INVALID.*s3:\/\/bucket\/prefix/s)
  expect(await refused('gs://lake/tables')).toMatch(/CONFIG_INVALID.*gs:\/\//s)
  expect(await store.keys('')).toEqual([])
  const copied = await otlake(
    ...['backup', '--data-dir', folder.path, '--tables', TABLES, '--to', join(folder.path, 'copy')],
  )
  expect(copied).toMatchObject({ code: 2 })
  expect(copied.err).toContain('versioning')
})

test('deltalake and Polars read the bucket', { timeout: BUILD_TIMEOUT_MS }, async () => {
  const node = await start()
  for (let number = 0; number < 5; number++) {
    expect(await send(node, 'traces', traceRequest('load', number, SPANS))).toBe(true)
  }
  await node.flush()
  await inFiles(node, 'load', 5 * SPANS)
  const args = [clientFile('python/tables.py'), `${TABLES}/spans`]
  const printed = await run(await python(), args, { env: store.variables })
  expect(printed.trim()).toBe(`${5 * SPANS} ${5 * SPANS}`)
})

test('I2 I3 I9: a cluster without a shared folder loses and doubles nothing', {
  timeout: 400_000,
}, async () => {
  cluster = await ClusterNodes.start(3, {
    tables: TABLES,
    settings: { ...store.settings, 'flush.interval_ms': 500, 'jobs.vacuum_after_ms': 0 },
  })
  await cluster.ready()
  const load = new ClusterLoad('bucket', cluster.nodes)
  load.start()
  await load.more(100)
  await store.faults({ status: 503, share: 0.1, lost: 0.2 })
  await load.more(150)
  await cluster.node('n2').kill()
  await load.more(150)
  await store.faults()
  await cluster.restart('n2')
  await cluster.ready()
  await load.more(100)
  await load.end()
  const nodes = cluster
  const each = async () => {
    for (const node of nodes.running) {
      const counted = await count(node, 'bucket')
      expect(counted, node.name).toEqual({ rows: load.records, records: load.records })
    }
  }
  await each()
  for (const node of nodes.nodes) await otlake('flush', '--url', node.cluster)
  for (const node of nodes.nodes) await inFiles(node.process, 'bucket', load.records)
  for (const name of ['compact', 'vacuum']) {
    const runs = await Promise.all(
      nodes.nodes.map((node) => otlake('job', 'run', name, '--url', node.cluster)),
    )
    const done = runs.filter(({ code }) => code === 0)
    expect(done.length, `${name}: ${JSON.stringify(runs)}`).toBeGreaterThanOrEqual(1)
  }
  await each()
  expect(await nodes.violations()).toEqual([])
  const verified = await verify(nodes.node('n1').dataDir)
  expect(verified, verified.out + verified.err).toMatchObject({ code: 0 })
})
