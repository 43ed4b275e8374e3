/**
 * A trace that is asked for again and again: what is kept of its answers never hides a span that
 * was acknowledged (I7), shows one that expired, or reaches another tenant.
 */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { traceRequest } from '../testing/otlp.js'
import { MAIN, ServerProcess, set, temporaryFolder } from '../testing/server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess
/** The last span id that was sent. */
let last = 0

const start = (settings: Record<string, number> = {}) => {
  const all = {
    'jobs.schedule': 'off',
    'jobs.vacuum_after_ms': 0,
    'retention.traces_days': 30,
    ...settings,
  }
  return ServerProcess.start(folder.path, ['--cluster', '127.0.0.1:0', ...set(all)])
}

beforeEach(async () => {
  folder = await temporaryFolder()
  server = await start()
})

afterEach(async () => {
  const broken = await server?.violations().catch(String)
  await server?.kill()
  await folder.remove()
  expect(broken ?? []).toEqual([])
})

const TRACE = 7
const hex = (trace: number) => trace.toString(16).padStart(32, '0')

/** Sends so many more spans of the trace, of 2023; resolves when they are acknowledged. */
const sent = async (count: number, tenant = 'default', trace = TRACE) => {
  // Equal spans would be left out as a resend's.
  const request = JSON.stringify(traceRequest('again', trace - 1, count)).replace(
    /"spanId":"\w+"/g,
    () => `"spanId":"${(++last).toString(16).padStart(16, 'a')}"`,
  )
  const response = await fetch(`http://${server.addresses.otlpHttp}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-scope-orgid': tenant },
    body: request,
  })
  expect(response.status).toBe(200)
  return response.headers.get('otlake-session') ?? ''
}

/** How many spans the answer has. */
const spans = async (headers: Record<string, string> = {}, trace = TRACE) => {
  const response = await fetch(server.url(`/api/v1/traces/${hex(trace)}`), { headers })
  if (response.status === 404) return 0
  return (await response.text()).split('"spanId"').length - 1
}

/** How many it has each time: looked up first, known afterwards. */
const again = async (headers: Record<string, string> = {}) => {
  const counts = new Set<number>()
  for (let round = 0; round < 3; round++) counts.add(await spans(headers))
  return [...counts]
}

const job = (name: string) =>
  promisify(execFile)(process.execPath, [
    ...[MAIN, 'job', 'run', name],
    ...['--url', server.addresses.cluster ?? ''],
  ])

test('I7: has every span that was acknowledged before, live, flushed or merged', async () => {
  expect(await again()).toEqual([0])
  let all = 0
  for (const move of ['none', 'flush', 'none', 'flush', 'compact', 'vacuum', 'none', 'flush']) {
    const session = await sent(2)
    all += 2
    expect(await again()).toEqual([all])
    expect(await again({ accept: 'application/json', 'otlake-session': session })).toEqual([all])
    if (move === 'flush') await server.flush()
    else if (move !== 'none') await job(move)
    expect(await again(), `after ${move}`).toEqual([all])
  }
  await server.flush()
  expect(await again({ 'otlake-consistency': 'eventual' })).toEqual([all])
  await sent(1)
  expect(await again({ 'otlake-consistency': 'eventual' })).toEqual([all])
  expect(await again()).toEqual([all + 1])
})

test('is each tenant’s own', async () => {
  await sent(2, 'blue')
  await sent(3, 'green')
  for (const move of ['live', 'flushed']) {
    if (move === 'flushed') await server.flush()
    expect(await again({ 'x-scope-orgid': 'blue' })).toEqual([2])
    expect(await again({ 'x-scope-orgid': 'green' })).toEqual([3])
    expect(await again({ 'x-scope-orgid': 'red' })).toEqual([0])
    expect(await again()).toEqual([5])
  }
})

test('is found in each file, however few filters fit', async () => {
  await server.stop()
  server = await start({ 'query.trace_filters_bytes': 1024 })
  const traces = [...Array(12).keys()].map((number) => TRACE + number * 10)
  for (const trace of traces) {
    await sent(2, 'default', trace)
    await server.flush()
  }
  for (let round = 0; round < 2; round++) {
    for (const trace of traces) expect(await spans({}, trace), `trace ${trace}`).toBe(2)
    expect(await spans({}, TRACE + 5)).toBe(0)
  }
})

test('a span that has expired is not shown from what is known', async () => {
  await sent(4)
  await server.flush()
  expect(await again()).toEqual([4])
  await job('retain')
  expect(await again()).toEqual([0])
})
