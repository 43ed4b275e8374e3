/**
 * The clients that Jaeger and Tempo have for their own APIs, in Go and from their own modules, get of otlake
 * what was sent: jaeger.api_v3.QueryService, tempopb.StreamingQuerier, and a trace by its id in Tempo's
 * protobuf. Some traces are in files and some in memory.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { send } from '../../testing/otlp.js'
import { ServerProcess, set, temporaryFolder } from '../../testing/server.js'
import { askJaeger, askTempo, BUILD_TIMEOUT_MS, run } from './toolchain.js'

const SECOND = 1_000_000_000n
const MILLISECOND = 1_000_000n
/** A whole minute, so that steps begin with it; recent, because Jaeger's services are those of some days. */
const START = (BigInt(Date.now()) / 60_000n - 10n) * 60n * SECOND
const RANGE_S = 120n
const TRACES = 5

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeAll(async () => {
  await askJaeger()
  await askTempo()
  folder = await temporaryFolder()
  // gRPC on the HTTP port needs the adapter that can tell it apart.
  const adapter = set({ 'http.adapter': 'node' })
  server = await ServerProcess.start(folder.path, ['--cluster', '127.0.0.1:0', ...adapter])
  for (let number = 1; number <= TRACES; number++) {
    expect(await send(server, 'traces', trace(number))).toBe(true)
    if (number === 3) await server.flush()
  }
}, BUILD_TIMEOUT_MS)

afterAll(async () => {
  await server?.kill()
  await folder?.remove()
})

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0')
const idOf = (number: number) => `${hex(number, 16)}${hex(7, 16)}`
const spanIds = (number: number) => [hex(number * 2, 16), hex(number * 2 + 1, 16)]
const startOf = (number: number) => START + BigInt(number) * SECOND

/** A shop that takes so many tenths of a second and calls a cart, in which the last call fails. */
function trace(number: number): unknown {
  const resource = (service: string, span: unknown) => {
    const attributes = [{ key: 'service.name', value: { stringValue: service } }]
    return { resource: { attributes }, scopeSpans: [{ scope: { name: 'lib' }, spans: [span] }] }
  }
  const [shop, cart] = spanIds(number)
  const times = (from: bigint, milliseconds: bigint) => ({
    startTimeUnixNano: String(from),
    endTimeUnixNano: String(from + milliseconds * MILLISECOND),
  })
  const root = {
    ...{ traceId: idOf(number), spanId: shop, name: 'GET /', kind: 2 },
    ...times(startOf(number), BigInt(number) * 100n),
    attributes: [{ key: 'number', value: { intValue: String(number) } }],
  }
  const child = {
    ...{ traceId: idOf(number), spanId: cart, parentSpanId: shop, name: 'add', kind: 3 },
    ...times(startOf(number) + 1000n, 50n),
    ...(number === TRACES ? { status: { code: 2, message: 'full' } } : {}),
    ...(number === TRACES
      ? { events: [{ timeUnixNano: String(startOf(number)), name: 'exception' }] }
      : {}),
  }
  return { resourceSpans: [resource('shop', root), resource('cart', child)] }
}

/** What of a trace's spans Jaeger's client tells. */
function told(number: number): unknown[] {
  const [shop, cart] = spanIds(number)
  const isLast = number === TRACES
  const start = startOf(number)
  return [
    {
      ...{ traceId: idOf(number), spanId: shop, service: 'shop', name: 'GET /', kind: 'Server' },
      ...{ status: 'Unset', events: 0, attributes: { number } },
      ...{ start: String(start), end: String(start + BigInt(number) * 100n * MILLISECOND) },
    },
    {
      ...{ traceId: idOf(number), spanId: cart, service: 'cart', name: 'add', kind: 'Client' },
      ...{ status: isLast ? 'Error' : 'Unset', events: isLast ? 1 : 0, attributes: {} },
      ...{ start: String(start + 1000n), end: String(start + 1000n + 50n * MILLISECOND) },
    },
  ]
}

describe('Jaeger’s own client over gRPC', () => {
  test.each([2, TRACES])(
    'services, operations, trace %i, searches, and an id that is not there',
    async (number) => {
      const iso = (nanoseconds: bigint) => new Date(Number(nanoseconds / MILLISECOND)).toISOString()
      const range = [iso(START), iso(START + RANGE_S * SECOND)]
      const program = await askJaeger()
      const args = [server.addresses.http, '', 'shop', idOf(number), ...range]
      expect(JSON.parse(await run(program, args))).toEqual({
        services: ['cart', 'shop'],
        operations: ['GET / server'],
        trace: told(number),
        found: told(3),
        slow: [...told(4), ...told(5)],
        absent: 'NotFound',
      })
    },
  )

  test('of another tenant there is nothing', async () => {
    const range = ['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z']
    const args = [server.addresses.http, 'nobody', 'shop', idOf(2), ...range]
    await expect(run(await askJaeger(), args)).rejects.toThrow('NotFound')
  })
})

describe('Tempo’s own messages and client', () => {
  const ask = async (number: number, seconds: bigint) => {
    const start = START / SECOND
    const [query, metrics] = [
      '{ resource.service.name = "shop" } >> { status = error }',
      '{ } | count_over_time() by (resource.service.name)',
    ]
    const range = [String(start), String(start + seconds)]
    const { http } = server.addresses
    const args = [http, query, metrics, 'resource.service.name', idOf(number), ...range]
    return JSON.parse(await run(await askTempo(), args)) as Record<string, unknown>
  }

  test.each([2, TRACES])(
    'trace %i by its id, a search, tags, values and series',
    async (number) => {
      const { tags, ...answers } = await ask(number, RANGE_S)
      expect(answers).toEqual({
        trace: spanIds(number),
        absentStatus: 404,
        traces: { [idOf(TRACES)]: 1 },
        values: ['cart', 'shop'],
        series: { 'resource.service.name=cart': TRACES, 'resource.service.name=shop': TRACES },
      })
      expect(tags).toMatchObject({ resource: ['service.name'], span: ['number'] })
    },
  )
})
