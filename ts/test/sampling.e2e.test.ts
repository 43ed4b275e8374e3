/**
 * Tail sampling through real sockets: spans over OTLP/HTTP, resent and killed in between, and what
 * is kept of them read with SQL (I2, I3).
 */

import { afterEach, beforeEach, expect, test } from 'vitest'
import { send } from '../testing/otlp.js'
import { Outbox } from '../testing/outbox.js'
import { ServerProcess, set, temporaryFolder } from '../testing/server.js'

/** Traces of one request, which has one span of each. */
const TRACES = 10
/** Requests that send spans of the same traces, one after the other. */
const PARTS = 3
const CLIENTS = 4
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
/** Every fifth trace fails, which one of its spans says. */
const fails = (trace: number) => trace % 5 === 3
/** Every second trace has the highest randomness, the others next to none. */
const traceId = (trace: number) =>
  hex(trace + 1, 18) + (trace % 2 === 0 ? 'ffffffffffffff' : '00000000000001')

function span(trace: number, part: number, code: number): unknown {
  const start = START + BigInt(trace) * MS
  return {
    traceId: traceId(trace),
    spanId: hex(trace * PARTS + part + 1, 16),
    name: 'work',
    kind: 2,
    status: { code },
    traceState: 'vendor=x',
    startTimeUnixNano: String(start),
    endTimeUnixNano: String(start + 5n * MS),
  }
}

/** Request `number`: of ten traces the first, second or third span. */
function request(number: number): unknown {
  const part = number % PARTS
  const first = Math.floor(number / PARTS) * TRACES
  const spans = Array.from({ length: TRACES }, (_, at) =>
    span(first + at, part, fails(first + at) && part === 1 ? 2 : 0),
  )
  return { resourceSpans: [{ scopeSpans: [{ spans }] }] }
}

const policies = (list: unknown[]) => ['--set', `sampling.policies=${JSON.stringify(list)}`]

interface Row {
  parts: number
  traces: number
  kinds: number
}

/** By how many spans of a trace are stored, how many such traces there are. */
async function traces(where: string): Promise<Row[]> {
  const rows = await (server as ServerProcess).rows<Row>(
    `SELECT parts, count(*) AS traces, max(kinds) AS kinds FROM (
       SELECT trace_id, count(*) AS parts, count(DISTINCT span_id) AS kinds
       FROM spans WHERE ${where} GROUP BY trace_id) GROUP BY parts ORDER BY parts`,
  )
  return rows.map(({ parts, traces, kinds }) => ({
    parts: Number(parts),
    traces: Number(traces),
    kinds: Number(kinds),
  }))
}

test('I2 I3: rounds of kill -9 under load, with resends, keep whole traces, each span once', async () => {
  // By randomness alone, so what is kept does not depend on which spans are there when it is decided.
  const settings = [
    ...policies([{ name: 'half', probability: 0.5 }]),
    ...set({ 'flush.interval_ms': 200, 'sampling.decision_wait_ms': 100 }),
  ]
  const outbox = new Outbox({
    clients: CLIENTS,
    resendEvery: 4,
    send: (running, number) => send(running, 'traces', request(number)),
  })
  for (let round = 0; round < 8; round++) {
    server = await ServerProcess.start(folder.path, settings)
    await outbox.load(server, 10 + ((round * 37) % 60))
  }
  server = await ServerProcess.start(folder.path, settings)
  outbox.fill(PARTS)
  await outbox.settle(server)
  expect(await server.stop()).toBe(0)
  const half = ((outbox.count / PARTS) * TRACES) / 2
  for (let start = 0; start < 2; start++) {
    server = await ServerProcess.start(folder.path, settings)
    expect(await traces('true')).toEqual([{ parts: PARTS, traces: half, kinds: PARTS }])
    expect(await server.rows('SELECT DISTINCT trace_state AS state FROM spans')).toEqual([
      { state: 'ot=th:8,vendor=x' },
    ])
    const sent = 'SELECT sum(adjusted_count(trace_state)) FROM spans'
    expect(await server.count(sent)).toBe(2 * half * PARTS)
    expect(await server.stop()).toBe(0)
  }
})

test('failed traces are kept whole, late spans follow after kill -9, and dropped ones never come back', async () => {
  const settings = [
    ...policies([{ name: 'errors', status: 'error' }]),
    ...set({ 'flush.interval_ms': 100, 'sampling.decision_wait_ms': 4_000 }),
  ]
  server = await ServerProcess.start(folder.path, settings)
  for (const number of [0, 1]) expect(await send(server, 'traces', request(number))).toBe(true)
  expect(await server.count('SELECT count(*) FROM spans')).toBe(2 * TRACES)
  // Decided when their wait is over; nobody asks for it.
  const kept = Array.from({ length: TRACES }, (_, at) => at).filter(fails).length
  for (let rows = -1; rows !== 2 * kept; ) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    rows = await server.count('SELECT count(*) FROM spans')
  }
  await server.kill()
  server = await ServerProcess.start(folder.path, settings)
  expect(await send(server, 'traces', request(0))).toBe(true)
  expect(await send(server, 'traces', request(2))).toBe(true)
  await server.kill()
  server = await ServerProcess.start(folder.path, settings)
  expect(await server.stop()).toBe(0)
  server = await ServerProcess.start(folder.path, settings)
  expect(await traces('true')).toEqual([{ parts: PARTS, traces: kept, kinds: PARTS }])
  expect(await server.rows('SELECT DISTINCT trace_state AS state FROM spans')).toEqual([
    { state: 'vendor=x' },
  ])
  const metrics = await (await fetch(server.url('/metrics'))).text()
  expect(metrics).toContain('otlake_sampling_traces_total{outcome="kept",policy="errors"}')
})

test('policies that cannot be used end the start with their name and the fix', async () => {
  const start = (list: unknown[]) =>
    ServerProcess.start(folder.path, policies(list)).then(
      () => 'it started',
      (error: Error) => error.message,
    )
  expect(await start([{ name: 'odd', attribute: { key: 'a', matches: '(' } }])).toMatch(
    /CONFIG_INVALID[\s\S]*`odd`[\s\S]*regular expression to correct/,
  )
  expect(await start([{ name: 'two', status: 'error', probability: 1 }])).toContain(
    'has status and probability; give it one of',
  )
})
