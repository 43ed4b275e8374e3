/**
 * Queries that real nodes share: every node answers alike, under load, and while a node is killed in the
 * middle of them.
 */

import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../base/clock.js'
import { ClusterLoad } from '../testing/cluster/cluster-load.js'
import { type ClusterNode, ClusterNodes, member } from '../testing/cluster/nodes.js'
import { RECORDS } from '../testing/cluster/signals.js'

let cluster: ClusterNodes | undefined

afterEach(async () => {
  await cluster?.end()
  cluster = undefined
})

const SETTINGS = { 'query.distribute_bytes': 0, 'flush.interval_ms': 500 }

type Row = Record<string, unknown>

interface Answer {
  status: number
  code: string
  rows: Row[]
}

async function ask(node: ClusterNode, query: string, patienceMs = 30_000): Promise<Answer> {
  const response = await fetch(`http://${node.addresses.http}/api/v1/sql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, format: 'json' }),
    signal: AbortSignal.timeout(patienceMs),
  })
  const body = (await response.json()) as { rows?: Row[]; error?: { code: string }; code?: string }
  return {
    status: response.status,
    code: body.error?.code ?? body.code ?? '',
    rows: body.rows ?? [],
  }
}

async function rows(node: ClusterNode, query: string): Promise<Row[]> {
  const answer = await ask(node, query)
  expect(answer.status, `${node.name}: ${query}: ${answer.code}`).toBe(200)
  return answer.rows
}

async function metric(node: ClusterNode, name: string): Promise<number> {
  const response = await fetch(node.process.url('/metrics'))
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith(name))
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}

const of = (service: string) => `FROM spans WHERE service_name = '${service}'`

/** Statements whose answers have one order. */
const statements = (service: string) => [
  `SELECT count(*) AS n, count(DISTINCT span_id) AS spans ${of(service)}`,
  `SELECT name, kind, count(*) AS n, min(start_time_unix_nano) AS first ${of(service)} GROUP BY 1, 2 ORDER BY 1, 2`,
  `SELECT hex(span_id) AS id, duration_ns ${of(service)} ORDER BY 1 LIMIT 50`,
  `SELECT count(*) AS n FROM (SELECT trace_id ${of(service)}) a JOIN (SELECT trace_id ${of(service)}) b ON a.trace_id = b.trace_id`,
  `SELECT n, count(*) AS traces FROM (SELECT trace_id, count(*) AS n ${of(service)} GROUP BY 1) GROUP BY 1 ORDER BY 1`,
]

test('i7 every node gives the same answer, and the nodes have shared the work', async () => {
  cluster = await ClusterNodes.start(3, { settings: SETTINGS })
  await cluster.ready()
  const load = new ClusterLoad('shared', cluster.nodes)
  load.start()
  await load.more(200)
  // While records come in, each read sees at least what was acknowledged before it, each once.
  for (let round = 0; round < 6; round++) {
    const known = load.records
    const node = cluster.nodes[round % 3] as ClusterNode
    const [row] = await rows(node, statements('shared')[0] as string)
    expect(row?.n, node.name).toBe(row?.spans)
    expect(Number(row?.n), node.name).toBeGreaterThanOrEqual(known)
  }
  await load.end()
  for (const query of statements('shared')) {
    const [first, ...others] = await Promise.all(cluster.nodes.map((node) => rows(node, query)))
    for (const other of others) expect(other, query).toEqual(first)
  }
  const [counted] = await rows(cluster.node('n2'), statements('shared')[0] as string)
  expect(counted).toEqual({ n: load.records, spans: load.records })
  for (const node of cluster.nodes) {
    expect(await metric(node, 'otlake_distributed_queries_total'), node.name).toBeGreaterThan(0)
    expect(await metric(node, 'otlake_distributed_tasks_total'), node.name).toBeGreaterThan(0)
    expect(await metric(node, 'otlake_distributed_received_bytes_total')).toBeGreaterThan(0)
  }
  const explained = await rows(cluster.node('n1'), `EXPLAIN ${statements('shared')[1]}`)
  expect(JSON.stringify(explained)).toContain('DistributedExec')
  expect(await cluster.violations()).toEqual([])
}, 240_000)

test('i2 a node that is killed while queries run costs no row of any answer', async () => {
  cluster = await ClusterNodes.start(3, { settings: SETTINGS })
  await cluster.ready()
  const load = new ClusterLoad('killed', cluster.nodes)
  load.start()
  await load.more(150)
  await load.end()
  const expected = load.records
  // All of it into files, so that the dead node's rows need no recovery to be read.
  const inFiles = async () => {
    const asked = `SELECT count(*) AS n ${of('killed')}`
    const eventual = await fetch(`http://${cluster?.node('n1').addresses.http}/api/v1/sql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'otlake-consistency': 'eventual' },
      body: JSON.stringify({ query: asked, format: 'json' }),
    })
    return ((await eventual.json()) as { rows: Row[] }).rows[0]?.n
  }
  for (let look = 0; look < 200 && (await inFiles()) !== expected; look++) {
    await systemClock.sleep(100)
  }
  expect(await inFiles()).toBe(expected)

  let isEnding = false
  const seen = { whole: 0, refused: 0 }
  const askers = ['n1', 'n3'].map(async (name) => {
    const node = cluster?.node(name) as ClusterNode
    for (let at = 0; !isEnding; at++) {
      const query = statements('killed')[at % 2 === 0 ? 0 : 4] as string
      const answer = await ask(node, query)
      if (answer.status === 200) {
        seen.whole++
        const counted = answer.rows.map(({ n, traces }) => Number(n) * Number(traces ?? 1))
        expect(
          counted.reduce((sum, n) => sum + n, 0),
          `${name}: ${JSON.stringify(answer.rows)}`,
        ).toBe(expected)
      } else {
        // Nobody knows yet what the dead node had: to be asked again, and never a shorter answer.
        expect([503, 429], answer.code).toContain(answer.status)
        seen.refused++
      }
    }
  })
  const enough = async (count: number) => {
    const until = seen.whole + count
    for (let look = 0; look < 600 && seen.whole < until; look++) await systemClock.sleep(50)
    expect(seen.whole).toBeGreaterThanOrEqual(until)
  }
  await enough(10)
  await cluster.node('n2').kill()
  await cluster.until('n1', (status) => member(status, 'n2').status === 'dead')
  await enough(20)
  isEnding = true
  await Promise.all(askers)
  await cluster.restart('n2')
  await cluster.ready()
  const [row] = await rows(cluster.node('n2'), statements('killed')[0] as string)
  expect(row).toEqual({ n: expected, spans: expected })
  expect(expected % RECORDS).toBe(0)
  expect(await cluster.violations()).toEqual([])
  const retries = await Promise.all(
    ['n1', 'n3'].map((name) =>
      metric((cluster as ClusterNodes).node(name), 'otlake_distributed_retries_total'),
    ),
  )
  process.stderr.write(
    `killed: ${seen.whole} whole answers, ${seen.refused} refused, retries ${retries.join(' and ')}\n`,
  )
}, 240_000)
