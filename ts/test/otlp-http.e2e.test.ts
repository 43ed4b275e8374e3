/**
 * OTLP's rules as a client meets them on a running node: partial success, refusals that name
 * the field, content types, and the session that an acknowledgement starts.
 */

import { afterAll, beforeAll, expect, test } from 'vitest'
import { traceRequest } from '../testing/otlp.js'
import { ServerProcess, temporaryFolder } from '../testing/server.js'

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeAll(async () => {
  folder = await temporaryFolder()
  server = await ServerProcess.start(folder.path)
})

afterAll(async () => {
  await server?.kill()
  await folder?.remove()
})

const post = (signal: string, body: string | Uint8Array, headers: Record<string, string> = {}) =>
  fetch(`http://${server.addresses.otlpHttp}/v1/${signal}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : Buffer.from(body),
  })

test('a bad span is refused alone, by name, and the rest is stored', async () => {
  const request = traceRequest('partial', 1, 3) as {
    resourceSpans: [{ scopeSpans: [{ spans: { traceId: string }[] }] }]
  }
  const [, second] = request.resourceSpans[0].scopeSpans[0].spans
  if (second) second.traceId = 'abcd'
  const response = await post('traces', JSON.stringify(request))
  expect(response.status).toBe(200)
  const body = (await response.json()) as {
    partialSuccess: { rejectedSpans: string; errorMessage: string }
  }
  expect(body.partialSuccess.rejectedSpans).toBe('1')
  expect(body.partialSuccess.errorMessage).toContain('spans[1].trace_id')
  expect(await server.count(`SELECT count(*) FROM spans WHERE service_name = 'partial'`)).toBe(2)
})

test('an empty request succeeds', async () => {
  for (const signal of ['traces', 'metrics', 'logs']) {
    const response = await post(signal, '{}')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({})
  }
})

test('what is malformed is refused for good, with a status in the request’s content type', async () => {
  const json = await post('traces', '{"resourceSpans": 7}')
  expect(json.status).toBe(400)
  expect(json.headers.get('content-type')).toContain('application/json')
  expect(((await json.json()) as { message: string }).message).toContain('resourceSpans')
  const protobuf = await post('traces', new Uint8Array([10, 200, 1]), {
    'content-type': 'application/x-protobuf',
  })
  expect(protobuf.status).toBe(400)
  expect(protobuf.headers.get('content-type')).toBe('application/x-protobuf')
})

test('an acknowledgement starts a session that reads its own write', async () => {
  const response = await post('traces', JSON.stringify(traceRequest('session', 5, 2)))
  const session = response.headers.get('otlake-session')
  expect(session).toMatch(/^[0-9a-f]{32}:[0-9]+$/)
  const rows = await server.rows(
    `SELECT count(*) AS n FROM spans WHERE service_name = 'session'`,
    [],
    { 'otlake-consistency': 'session', 'otlake-session': session ?? '' },
  )
  expect(rows).toEqual([{ n: 2 }])
  const [stream] = (session ?? '').split(':')
  await expect(
    server.rows('SELECT count(*) FROM spans', [], {
      'otlake-consistency': 'session',
      'otlake-session': `${stream}:999999`,
    }),
  ).rejects.toThrow('QUERY_SESSION')
})

test('tenants do not see each other', async () => {
  const body = JSON.stringify(traceRequest('tenants', 9, 4))
  expect((await post('traces', body, { 'x-scope-orgid': 'blue' })).status).toBe(200)
  expect((await post('traces', body, { 'x-scope-orgid': 'green' })).status).toBe(200)
  const query = `SELECT count(*) AS n FROM spans WHERE service_name = 'tenants'`
  expect(await server.rows(query, [], { 'x-scope-orgid': 'blue' })).toEqual([{ n: 4 }])
  expect(await server.rows(query)).toEqual([{ n: 8 }])
})

/** A counter's value by name and labels, as `/metrics` writes them. */
const counter = async (series: string): Promise<number> => {
  const text = await (await fetch(server.url('/metrics'))).text()
  const line = text.split('\n').find((line) => line.startsWith(`otlake_${series} `))
  return Number(line?.split(' ').at(-1) ?? 0)
}

test('what is rejected, changed, flagged or refused whole counts by its reason (I4)', async () => {
  const request = traceRequest('reasons', 20, 5) as {
    resourceSpans: [{ scopeSpans: [{ spans: Record<string, string>[] }] }]
  }
  const [, bad, cut, backwards, ahead] = request.resourceSpans[0].scopeSpans[0].spans
  Object.assign(bad ?? {}, { traceId: 'no hexadecimal digits at all' })
  // Half of an emoji, as a text ends that was cut in JavaScript.
  Object.assign(cut ?? {}, { name: '😀'.slice(0, 1) })
  Object.assign(backwards ?? {}, { endTimeUnixNano: '1600000000000000000' })
  const later = String(BigInt(Date.now() + 2 * 86_400_000) * 1_000_000n)
  Object.assign(ahead ?? {}, { startTimeUnixNano: later, endTimeUnixNano: later })
  const series = [
    'records_rejected_total{signal="traces",reason="invalid_trace_id"}',
    'records_changed_total{signal="traces",reason="text_replaced"}',
    'records_flagged_total{signal="traces",reason="end_before_start"}',
    'records_flagged_total{signal="traces",reason="time_in_future"}',
    'requests_refused_total{signal="traces",code="OTLP_MALFORMED"}',
    'requests_refused_total{signal="traces",code="OTLP_MEDIA_TYPE"}',
  ]
  const before = await Promise.all(series.map(counter))
  const response = await post('traces', JSON.stringify(request))
  const { partialSuccess } = (await response.json()) as {
    partialSuccess: { rejectedSpans: string; errorMessage: string }
  }
  expect(partialSuccess.rejectedSpans).toBe('1')
  expect(partialSuccess.errorMessage).toMatch(
    /^records refused: invalid_trace_id 1; .*records changed: text_replaced 1$/,
  )
  expect((await post('traces', '{"resourceSpans": 7}')).status).toBe(400)
  expect((await post('traces', '{}', { 'content-type': 'text/plain' })).status).toBe(415)
  const after = await Promise.all(series.map(counter))
  expect(after.map((count, at) => count - (before[at] ?? 0))).toEqual(series.map(() => 1))

  // What was changed is told, though nothing was refused.
  const changed = traceRequest('changed', 30, 1) as typeof request
  Object.assign(changed.resourceSpans[0].scopeSpans[0].spans[0] ?? {}, { name: '\ud83d' })
  const told = await (await post('traces', JSON.stringify(changed))).json()
  const errorMessage = 'records changed: text_replaced 1'
  expect(told).toEqual({ partialSuccess: { rejectedSpans: '0', errorMessage } })
})

test('the ledger adds up: received = acknowledged + rejected (I4)', async () => {
  const text = await (await fetch(server.url('/metrics'))).text()
  const total = (name: string) =>
    text
      .split('\n')
      .filter((line) => line.startsWith(`otlake_${name}_total{`))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  expect(total('records_received')).toBeGreaterThan(0)
  expect(total('records_received')).toBe(total('records_acknowledged') + total('records_rejected'))
  expect(total('invariant_violations')).toBe(0)
  expect(text.trimEnd().endsWith('# EOF')).toBe(true)
})
