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
