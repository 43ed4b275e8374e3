/**
 * The OpenTelemetry project's load generator straight into otlake: over gRPC and over HTTP every
 * record that it sends is there, once (I3), as soon as it has ended (I7).
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ServerProcess, temporaryFolder } from '../../testing/server.js'
import { BUILD_TIMEOUT_MS, generate, telemetrygen } from './toolchain.js'

const WORKERS = 2
const TRACES = 500
const CHILDREN = 2
const SPANS = WORKERS * TRACES * (1 + CHILDREN)
const RECORDS = 1_000
const SPANS_PER_SECOND_AND_WORKER = 500

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeAll(async () => {
  await telemetrygen()
  folder = await temporaryFolder()
  server = await ServerProcess.start(folder.path)
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await server?.stop()
  await folder?.remove()
})

describe.each(['grpc', 'http'] as const)('telemetrygen over %s', (transport) => {
  const service = `generated-${transport}`
  const send = async (signal: 'traces' | 'metrics' | 'logs', ...args: string[]) => {
    const { otlpGrpc, otlpHttp } = server.addresses
    const to = transport === 'grpc' ? [otlpGrpc] : [otlpHttp, '--otlp-http']
    const where = ['--otlp-endpoint', ...to, '--otlp-insecure', '--service', service]
    const load = ['--workers', `${WORKERS}`, '--rate', `${SPANS_PER_SECOND_AND_WORKER}`]
    const { complaints } = await generate(signal, [...where, ...load, ...args])
    expect(complaints).toEqual([])
  }
  const count = (what: string, table: string) =>
    server.count(`SELECT count(${what}) FROM ${table} WHERE service_name = $1`, [service])

  test('traces', async () => {
    await send('traces', '--traces', `${TRACES}`, '--child-spans', `${CHILDREN}`)
    expect(await count('*', 'spans')).toBe(SPANS)
    expect(await count('DISTINCT span_id', 'spans')).toBe(SPANS)
    expect(await count('DISTINCT trace_id', 'spans')).toBe(WORKERS * TRACES)
    expect(await count('DISTINCT parent_span_id', 'spans')).toBe(WORKERS * TRACES)
  })

  test('metrics', async () => {
    await send('metrics', '--metrics', `${RECORDS}`)
    expect(await count('*', 'metrics_gauge')).toBe(WORKERS * RECORDS)
  })

  test('logs', async () => {
    await send('logs', '--logs', `${RECORDS}`)
    expect(await count('*', 'logs')).toBe(WORKERS * RECORDS)
  })

  test('what it sent over is what was taken', async () => {
    const metrics = await (await fetch(server.url('/metrics'))).text()
    const pattern = new RegExp(
      `^otlake_requests_total\\{[^}]*transport="${transport}"[^}]*\\} (\\d+)`,
      'gm',
    )
    const taken = [...metrics.matchAll(pattern)].reduce((sum, [, value]) => sum + Number(value), 0)
    expect(taken).toBeGreaterThan(0)
  })
})
