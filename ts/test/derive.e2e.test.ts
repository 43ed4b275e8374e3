/**
 * Derived series through real sockets: spans over OTLP/HTTP, resent and killed in between, and
 * calls, durations and edges read with SQL from the metric tables (I2, I3).
 */

import { afterEach, beforeEach, expect, test } from 'vitest'
import { send } from '../testing/otlp.js'
import { Outbox } from '../testing/outbox.js'
import { ServerProcess, set, temporaryFolder } from '../testing/server.js'

/** Calls of one request; each is between a service and another. */
const CALLS = 10
const CLIENTS = 4
const SERVICES = 5
const START = 1_700_000_000_000_000_000n
const MS = 1_000_000n

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess | undefined

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  const broken = await server?.violations().catch(String)
  await server?.kill()
  await folder.remove()
  expect(broken ?? []).toEqual([])
})

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0')
const text = (key: string, value: string) => ({ key, value: { stringValue: value } })
const client = (call: number) => `client ${call % SERVICES}`
const backend = (call: number) => `server ${call % SERVICES}`

/** Request `number`: the clients of its calls if it is even, and their servers if it is odd. */
function request(number: number): unknown {
  const isClient = number % 2 === 0
  const first = Math.floor(number / 2) * CALLS
  const resourceSpans = Array.from({ length: CALLS }, (_, at) => {
    const call = first + at
    const start = START + BigInt(call) * MS
    const span = {
      traceId: hex(call + 1, 32),
      spanId: hex(2 * call + (isClient ? 2 : 1), 16),
      ...(isClient ? {} : { parentSpanId: hex(2 * call + 2, 16) }),
      name: isClient ? 'ask' : 'answer',
      kind: isClient ? 3 : 2,
      status: { code: call % 10 === 3 && !isClient ? 2 : 0 },
      startTimeUnixNano: String(start),
      endTimeUnixNano: String(start + (isClient ? 50n : 5n) * MS),
      // Whoever lost the server's half would make a virtual node of this.
      attributes: isClient ? [text('peer.service', 'nobody')] : [],
    }
    return {
      resource: { attributes: [text('service.name', isClient ? client(call) : backend(call))] },
      scopeSpans: [{ spans: [span] }],
    }
  })
  return { resourceSpans }
}

interface Row {
  of: string
  n: number
}

/** What is counted, by a label or two. */
async function counted(name: string, ...labels: string[]): Promise<Record<string, number>> {
  const of = labels.map((label) => `coalesce(attributes['${label}'], '')`).join(" || '>' || ")
  const isSum = name.endsWith('_total')
  const rows = await (server as ServerProcess).rows<Row>(
    `SELECT ${of} AS of, sum(${isSum ? 'value_int' : 'count'}) AS n
     FROM ${isSum ? 'metrics_sum' : 'metrics_histogram'} WHERE name = $1 GROUP BY 1 ORDER BY 1`,
    [name],
  )
  return Object.fromEntries(rows.map(({ of, n }) => [of, Number(n)]))
}

const SETTINGS = [
  ...['--set', 'derive.span_metrics=true', '--set', 'derive.service_graph=true'],
  // Deaths fall before, within and after flushes, and halves wait for longer than all of them.
  ...set({ 'flush.interval_ms': 200, 'derive.edge_wait_ms': 3_600_000 }),
]

test('I2 I3: 12 rounds of kill -9 under load, with resends, count each span and each call once', async () => {
  const outbox = new Outbox({
    clients: CLIENTS,
    resendEvery: 3,
    send: (running, number) => send(running, 'traces', request(number)),
  })
  for (let round = 0; round < 12; round++) {
    server = await ServerProcess.start(folder.path, SETTINGS)
    await outbox.load(server, 10 + ((round * 37) % 60))
  }
  server = await ServerProcess.start(folder.path, SETTINGS)
  outbox.fill(2)
  await outbox.settle(server)
  expect(await server.stop()).toBe(0)
  for (let start = 0; start < 2; start++) {
    server = await ServerProcess.start(folder.path, SETTINGS)
    const calls = (outbox.count / 2) * CALLS
    expect(await server.count('SELECT count(*) FROM spans')).toBe(2 * calls)
    const each = calls / SERVICES
    const services = Array.from({ length: SERVICES }, (_, at) => at)
    const spans = Object.fromEntries(
      services.flatMap((at) => [
        [client(at), each],
        [backend(at), each],
      ]),
    )
    expect(await counted('traces_spanmetrics_calls_total', 'service')).toEqual(spans)
    expect(await counted('traces_spanmetrics_latency', 'service')).toEqual(spans)
    expect(
      await counted('traces_spanmetrics_calls_total', 'span_kind', 'span_name', 'status_code'),
    ).toEqual({
      'SPAN_KIND_CLIENT>ask>STATUS_CODE_UNSET': calls,
      'SPAN_KIND_SERVER>answer>STATUS_CODE_ERROR': calls / 10,
      'SPAN_KIND_SERVER>answer>STATUS_CODE_UNSET': (calls * 9) / 10,
    })
    const edges = Object.fromEntries(services.map((at) => [`${client(at)}>${backend(at)}>`, each]))
    const labels = ['client', 'server', 'connection_type']
    const graph = 'traces_service_graph_request'
    expect(await counted(`${graph}_total`, ...labels)).toEqual(edges)
    expect(await counted(`${graph}_client_seconds`, ...labels)).toEqual(edges)
    expect(await counted(`${graph}_server_seconds`, ...labels)).toEqual(edges)
    expect(await counted(`${graph}_failed_total`, ...labels)).toEqual({
      'client 3>server 3>': calls / 10,
    })
    expect(await server.stop()).toBe(0)
  }
})

test('a histogram has durations in seconds, and an exemplar of the longest; nothing without the setting', async () => {
  server = await ServerProcess.start(folder.path, SETTINGS)
  expect(await send(server, 'traces', request(0))).toBe(true)
  expect(await send(server, 'traces', request(1))).toBe(true)
  expect(await server.stop()).toBe(0)
  server = await ServerProcess.start(folder.path)
  const [row] = await server.rows<Record<string, unknown>>(
    `SELECT service_name, scope_name, unit, aggregation_temporality AS temporality,
       CAST(sum * 1000 AS INT) AS ms, min, max, explicit_bounds[1] AS bound,
       exemplars[1]['value'] AS example
     FROM metrics_histogram
     WHERE name = 'traces_spanmetrics_latency' AND attributes['service'] = 'client 1'`,
  )
  expect(row).toEqual({
    service_name: 'client 1',
    scope_name: 'otlake/derive',
    unit: null,
    temporality: 1,
    ms: 100,
    min: 0.05,
    max: 0.05,
    bound: 0.002,
    example: 0.05,
  })
  const before = await server.count('SELECT count(*) FROM metrics_sum')
  expect(await send(server, 'traces', request(2))).toBe(true)
  expect(await server.stop()).toBe(0)
  server = await ServerProcess.start(folder.path)
  expect(await server.count('SELECT count(*) FROM metrics_sum')).toBe(before)
})
