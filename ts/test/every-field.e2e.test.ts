/**
 * Every field of OTLP through a node's sockets (I8): random requests with attributes of every type
 * are sent, flushed, merged, and given back as OTLP as they came, as JSON and as protobuf.
 *
 * `TEST_SEED` gives the same requests again; each run prints its own. It has not the prefix of
 * settings, since the node reads those from the environment.
 */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { randomRequests, records, type Signal } from '../testing/random-otlp.js'
import { MAIN, ServerProcess, temporaryFolder } from '../testing/server.js'

/** Requests of each signal, and flushes that they are spread over. */
const REQUESTS = 90
const FLUSHES = 3

const TABLES = {
  traces: ['spans'],
  logs: ['logs'],
  metrics: ['gauge', 'sum', 'histogram', 'exponential_histogram', 'summary'].map(
    (kind) => `metrics_${kind}`,
  ),
}

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeAll(async () => {
  folder = await temporaryFolder()
  server = await ServerProcess.start(folder.path, [
    ...['--cluster', '127.0.0.1:0'],
    ...['--set', 'jobs.schedule=off'],
  ])
})

afterAll(async () => {
  await server?.kill()
  await folder?.remove()
})

const post = async (signal: Signal, tenant: string, type: string, body: string | Buffer) => {
  const response = await fetch(`http://${server.addresses.otlpHttp}/v1/${signal}`, {
    method: 'POST',
    headers: { 'content-type': type, 'x-scope-orgid': tenant },
    body,
  })
  expect([response.status, (await response.text()).slice(0, 1000)]).toEqual([
    200,
    type === 'application/json' ? '{}' : '',
  ])
}

const exported = async (table: string, tenant: string, format: string): Promise<Buffer> => {
  const query = new URLSearchParams({ query: `SELECT * FROM ${table}`, format })
  const response = await fetch(server.url(`/api/v1/sql?${query}`), {
    // Files alone: what is read has been stored, merged and committed.
    headers: { 'x-scope-orgid': tenant, 'otlake-consistency': 'eventual' },
  })
  const body = Buffer.from(await response.arrayBuffer())
  if (!response.ok) throw new Error(body.toString())
  return body
}

/** The records of a signal's tables, by the lines of OTLP/JSON that the node gives. */
const stored = async (signal: Signal, tenant: string): Promise<string[]> => {
  const found: string[] = []
  for (const table of TABLES[signal]) {
    const lines = (await exported(table, tenant, 'otlp-json')).toString().split('\n')
    expect(lines.pop()).toBe('')
    for (const line of lines) found.push(...records(signal, JSON.parse(line)))
  }
  return found.sort()
}

describe.each(['traces', 'logs', 'metrics'] as const)('%s', (signal) => {
  const sent: string[] = []

  test('I8: return as they came, with every field', async () => {
    const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31)
    console.log(`TEST_SEED=${seed}`)
    const requests = randomRequests(signal, seed, REQUESTS)
    for (const [index, request] of requests.entries()) {
      await post(signal, 'json', 'application/json', JSON.stringify(request))
      sent.push(...records(signal, request))
      if ((index + 1) % (REQUESTS / FLUSHES) === 0) await server.flush()
    }
    const job = [MAIN, 'job', 'run', 'compact', '--url', server.addresses.cluster ?? '']
    await promisify(execFile)(process.execPath, job)
    const metrics = await (await fetch(server.url('/metrics'))).text()
    for (const table of TABLES[signal]) {
      const merged = new RegExp(`^otlake_compacted_files_in_total\\{table="${table}"\\} [1-9]`, 'm')
      expect(metrics).toMatch(merged)
    }
    sent.sort()
    const found = await stored(signal, 'json')
    expect(sent.length).toBeGreaterThan(REQUESTS)
    expect(found.length).toBe(sent.length)
    // One at a time, since the difference of two long lists says nothing.
    for (const [index, record] of found.entries()) expect(record).toBe(sent[index])
  })

  test('I8: what is given back as protobuf can be sent as it is', async () => {
    for (const table of TABLES[signal]) {
      const body = await exported(table, 'json', 'otlp')
      await post(signal, 'protobuf', 'application/x-protobuf', body)
    }
    await server.flush()
    expect(await stored(signal, 'protobuf')).toEqual(sent)
  })
})

test('OTLP is given of whole rows of one table, and of no others', async () => {
  for (const query of ['SELECT name FROM spans', 'SELECT count(*) FROM logs', 'SELECT 1']) {
    const response = await fetch(server.url('/api/v1/sql'), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, format: 'otlp' }),
    })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: 'QUERY_FORMAT' } })
  }
  const none = await exported('spans', 'nobody', 'otlp')
  expect(none.length).toBe(0)
})
