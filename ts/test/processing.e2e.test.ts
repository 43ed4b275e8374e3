/**
 * Rules on the way in through real sockets: OTLP/HTTP from clients that resend, kill -9 in between, and
 * rows read with SQL that are those that the rules leave (I2, I3).
 */

import { createHash, createHmac } from 'node:crypto'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { send } from '../testing/otlp.js'
import { Outbox } from '../testing/outbox.js'
import { ServerProcess, set, temporaryFolder } from '../testing/server.js'

/** Records of one request. */
const RECORDS = 10
const CLIENTS = 4
const START = 1_700_000_000_000_000_000n
const KEY = 'a key of the tests'

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
const mail = (at: number) => `user${at % 7}@example.org`

const RULES = [
  { name: 'health checks', signal: 'traces', when: "http_route = '/healthz'", drop: true },
  { name: 'debug logs', signal: 'logs', when: 'severity_number < 9', drop: true },
  { name: 'idle', tables: ['metrics_gauge'], when: 'value = 0', drop: true },
  { name: 'mail', signal: 'traces', redact: ["attributes['user.mail']"], hash: 'sha256' },
  {
    name: 'mail of logs',
    signal: 'logs',
    redact: ["attributes['user.mail']"],
    hash: 'hmac-sha256',
  },
  { name: 'secrets', signal: 'traces', redact: ["events.attributes['secret.*']"], text: '***' },
  { name: 'pods', signal: 'metrics', redact: ["attributes['pod']"], remove: true },
  {
    name: 'bodies',
    signal: 'logs',
    set: { body: "regexp_replace(body, 'token=[a-z0-9]+', 'token=***')" },
  },
  {
    name: 'conventions',
    tables: ['spans', 'logs'],
    rename: { "attributes['http.method']": 'http.request.method' },
  },
  {
    name: 'tiers',
    tables: ['spans', 'logs', 'metrics_gauge'],
    set: {
      "resource_attributes['tier']":
        "CASE service_name WHEN 'shop' THEN 'gold' WHEN 'blog' THEN 'silver' END",
    },
  },
  {
    name: 'fails',
    signal: 'traces',
    when: "CAST(attributes['count'] AS BIGINT) > 5",
    set: { "attributes['many']": true },
  },
]

async function settings(rules: unknown[] = RULES, more: object = {}): Promise<string[]> {
  const path = join(folder.path, 'otlake.yaml')
  await writeFile(path, stringify({ processing: { rules, hash_key: KEY }, ...more }))
  return ['--config', path, ...set({ 'flush.interval_ms': 200 })]
}

/** Request `number` of a signal; a record's number is that of all records of its signal. */
function request(signal: string, number: number): unknown {
  const resource = { attributes: [text('service.name', number % 2 === 0 ? 'shop' : 'blog')] }
  const numbers = Array.from({ length: RECORDS }, (_, index) => number * RECORDS + index)
  const time = (at: number) => String(START + BigInt(at) * 1000n)
  if (signal === 'traces') {
    const spans = numbers.map((at) => ({
      traceId: hex(at + 1, 32),
      spanId: hex(at + 1, 16),
      name: `span ${at}`,
      kind: 2,
      startTimeUnixNano: time(at),
      endTimeUnixNano: time(at + 1),
      attributes: [
        text('http.method', 'GET'),
        text('http.route', at % 5 === 0 ? '/healthz' : '/cart'),
        text('user.mail', mail(at)),
        text('count', at % 10 === 3 ? 'three' : String(at % 10)),
      ],
      events: [{ timeUnixNano: time(at), name: 'login', attributes: [text('secret.key', 'abc')] }],
    }))
    return { resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }
  }
  if (signal === 'logs') {
    const logRecords = numbers.map((at) => ({
      timeUnixNano: time(at),
      severityNumber: at % 5 === 0 ? 5 : 9,
      body: { stringValue: `asked with token=${hex(at, 8)} for it` },
      attributes: [text('user.mail', mail(at)), text('http.method', 'PUT')],
    }))
    return { resourceLogs: [{ resource, scopeLogs: [{ logRecords }] }] }
  }
  const dataPoints = numbers.map((at) => ({
    timeUnixNano: time(at),
    asInt: at % 5,
    attributes: [text('pod', `pod-${at}`), text('zone', 'a')],
  }))
  const metrics = [{ name: 'load', gauge: { dataPoints } }]
  return { resourceMetrics: [{ resource, scopeMetrics: [{ metrics }] }] }
}

const SIGNALS = ['traces', 'logs', 'metrics']

/**
 * Clients send in 6 rounds, each of which kill -9 ends, and send again what was not answered, and some of
 * what was. Gives how many records of each signal are acknowledged in the end, by a node that was
 * started with `last`.
 */
async function storm(
  args: string[],
  last: string[],
  headers: Record<string, string> = {},
): Promise<{ running: ServerProcess; records: number }> {
  const sent = async (running: ServerProcess, number: number) => {
    const signal = SIGNALS[number % SIGNALS.length] as string
    const of = request(signal, Math.floor(number / SIGNALS.length))
    return send(running, signal, of, headers)
  }
  const outbox = new Outbox({ clients: CLIENTS, resendEvery: 3, send: sent })
  for (let round = 0; round < 6; round++) {
    server = await ServerProcess.start(folder.path, args)
    await outbox.load(server, 20 + ((round * 37) % 60))
  }
  outbox.fill(2 * SIGNALS.length)
  const running = await ServerProcess.start(folder.path, last)
  server = running
  await outbox.settle(running)
  return { running, records: (outbox.count / SIGNALS.length) * RECORDS }
}

test('I2 I3: 6 rounds of kill -9 under load, with resends, leave the rows that the rules leave, each once', async () => {
  const args = await settings()
  const { running, records } = await storm(args, args)
  await check(running, records)
  const metrics = await (await fetch(running.url('/metrics'))).text()
  expect(metrics).toMatch(/otlake_rule_rows_total\{rule="mail",outcome="changed"\} [1-9]/)
  expect(metrics).toMatch(/otlake_rule_failed_rows_total\{rule="fails"\} [1-9]/)
  expect(await running.stop()).toBe(0)
  // The same of files alone.
  server = await ServerProcess.start(folder.path, args)
  await check(server, records)
  expect(await server.stop()).toBe(0)
})

async function check(running: ServerProcess, records: number): Promise<void> {
  const kept = Array.from({ length: records }, (_, at) => at).filter((at) => at % 5 !== 0)
  const tier = (at: number) => (Math.floor(at / RECORDS) % 2 === 0 ? 'gold' : 'silver')

  const spans = await running.rows(
    `SELECT name, attributes['user.mail'] AS mail, attributes['http.method'] AS method,
       http_request_method AS hot, resource_attributes['tier'] AS tier,
       attr_bool(attributes, 'many') AS many, events[1]['attributes'] AS event
     FROM spans ORDER BY start_time_unix_nano`,
  )
  expect(spans).toEqual(
    kept.map((at) => ({
      name: `span ${at}`,
      mail: createHash('sha256').update(mail(at)).digest('hex'),
      method: null,
      hot: 'GET',
      tier: tier(at),
      // What cannot be told stays as it is.
      many: at % 10 > 5 ? true : null,
      event: '{"secret.key":"***"}',
    })),
  )

  const logs = await running.rows(
    `SELECT body, attributes, resource_attributes['tier'] AS tier FROM logs ORDER BY time_unix_nano`,
  )
  const keyed = (at: number) => createHmac('sha256', KEY).update(mail(at)).digest('hex')
  expect(logs).toEqual(
    kept.map((at) => ({
      body: 'asked with token=*** for it',
      attributes: `{"user.mail":"${keyed(at)}","http.request.method":"PUT"}`,
      tier: tier(at),
    })),
  )

  const points = await running.rows<{ service: string; series: number; points: number }>(
    `SELECT service_name AS service, count(DISTINCT series_id) AS series, count(*) AS points,
       min(attributes) AS least, max(attributes) AS most
     FROM metrics_gauge GROUP BY 1 ORDER BY 1`,
  )
  const each = { series: 1, points: kept.length / 2, least: '{"zone":"a"}', most: '{"zone":"a"}' }
  expect(points).toEqual([
    { service: 'blog', ...each },
    { service: 'shop', ...each },
  ])
}

/** Every fifth record goes to the archive, as do all logs of one service, and there has no addresses. */
const ROUTES = [
  { name: 'cold spans', signal: 'traces', when: "http_route = '/healthz'" },
  { name: 'cold logs', signal: 'logs', when: "severity_number < 9 OR service_name = 'blog'" },
  { name: 'cold points', tables: ['metrics_gauge'], when: 'value = 0' },
].map((rule) => ({ ...rule, route: { tenant: 'archive' } }))
const OF_ARCHIVE = {
  name: 'addresses in the archive',
  tables: ['spans', 'logs'],
  when: "tenant = 'archive'",
  redact: ["attributes['user.mail']"],
  text: 'none',
}
const TENANTS = ['shop', 'archive'] as const
type Tenant = (typeof TENANTS)[number]
const token = (tenant: Tenant) => `secret-of-${tenant}`
const bearer = (tenant: Tenant) => ({ authorization: `Bearer ${token(tenant)}` })

/** Whose a record is that the shop has sent. */
function routed(signal: string, at: number): Tenant {
  const isBlog = Math.floor(at / RECORDS) % 2 === 1
  return at % 5 === 0 || (signal === 'logs' && isBlog) ? 'archive' : 'shop'
}

test('I2 I3: after 6 rounds of kill -9 rows are once the tenant’s that rules route them to', async () => {
  const tokens = TENANTS.map((tenant) => ({
    sha256: createHash('sha256').update(token(tenant)).digest('hex'),
    tenant,
  }))
  const args = await settings([...ROUTES, OF_ARCHIVE], { auth: { tokens } })
  // What the log brings back stays in memory, so that both are read: that, and files.
  const last = [...args, ...set({ 'flush.interval_ms': 3_600_000 })]
  const { running, records } = await storm(args, last, bearer('shop'))
  await checkTenants(running, records)
  const metrics = await (await fetch(running.url('/metrics'))).text()
  expect(metrics).toMatch(/otlake_rule_rows_total\{rule="cold logs",outcome="routed"\} [1-9]/)

  // Whoever follows is told its own alone, of a request that is both's.
  const follows = TENANTS.map(async (tenant) => ({ tenant, next: await follow(running, tenant) }))
  const followers = await Promise.all(follows)
  const number = records / RECORDS
  expect(await send(running, 'traces', request('traces', number), bearer('shop'))).toBe(true)
  for (const { tenant, next } of followers) {
    const own = numbersOf('traces', records, records + RECORDS, tenant)
    expect((await next(own.length)).sort()).toEqual(own.map((at) => `span ${at}`).sort())
  }
  expect(await send(running, 'logs', request('logs', number), bearer('shop'))).toBe(true)
  expect(await send(running, 'metrics', request('metrics', number), bearer('shop'))).toBe(true)
  await checkTenants(running, records + RECORDS)
  expect(await running.stop()).toBe(0)

  server = await ServerProcess.start(folder.path, args)
  await checkTenants(server, records + RECORDS)
  const folders = await readdir(join(folder.path, 'tables', 'spans'))
  expect(folders.filter((name) => name.startsWith('tenant=')).sort()).toEqual([
    'tenant=archive',
    'tenant=shop',
  ])
  expect(await server.stop()).toBe(0)
})

/** The numbers of a tenant's records, of those from one number up to another. */
function numbersOf(signal: string, from: number, end: number, tenant: Tenant): number[] {
  const all = Array.from({ length: end - from }, (_, index) => from + index)
  return all.filter((at) => routed(signal, at) === tenant)
}

async function checkTenants(running: ServerProcess, records: number): Promise<void> {
  for (const tenant of TENANTS) {
    const ask = (query: string) => running.rows(query, [], bearer(tenant))
    const own = (signal: string) => numbersOf(signal, 0, records, tenant)
    const mailOf = (at: number) => (tenant === 'archive' ? 'none' : mail(at))

    const spans = "SELECT name, attributes['user.mail'] AS mail, tenant FROM spans"
    expect(await ask(`${spans} ORDER BY start_time_unix_nano`)).toEqual(
      own('traces').map((at) => ({ name: `span ${at}`, mail: mailOf(at), tenant })),
    )
    const logs = "SELECT body, attributes['user.mail'] AS mail, tenant FROM logs"
    expect(await ask(`${logs} ORDER BY time_unix_nano`)).toEqual(
      own('logs').map((at) => ({
        body: `asked with token=${hex(at, 8)} for it`,
        mail: mailOf(at),
        tenant,
      })),
    )
    const points = "SELECT attributes['pod'] AS pod, tenant FROM metrics_gauge"
    expect(await ask(`${points} ORDER BY time_unix_nano`)).toEqual(
      own('metrics').map((at) => ({ pod: `pod-${at}`, tenant })),
    )
    // By its id a trace is found by whose it is, also when it was asked for before.
    for (const at of [0, 1, 0, 1]) {
      const path = running.url(`/api/v1/traces/${hex(at + 1, 32)}`)
      const { status } = await fetch(path, { headers: bearer(tenant) })
      expect(status, `trace ${at} of ${tenant}`).toBe(routed('traces', at) === tenant ? 200 : 404)
    }
  }
}

/** Follows a tenant's spans, once this is there; then gives the names of the next so many. */
async function follow(
  running: ServerProcess,
  tenant: Tenant,
): Promise<(count: number) => Promise<string[]>> {
  const response = await fetch(running.url('/api/v1/tail?table=spans'), { headers: bearer(tenant) })
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const decoder = new TextDecoder()
  const more = async () => {
    const { value, done } = await reader.read()
    if (done) throw new Error(`the tail of ${tenant} has ended`)
    return decoder.decode(value, { stream: true })
  }
  // It has begun when it answers with its first, empty line.
  let text = await more()
  return async (count) => {
    const lines = () => text.split('\n').filter((line, at, all) => line && at < all.length - 1)
    while (lines().length < count) text += await more()
    await reader.cancel()
    return lines().map((line) => (JSON.parse(line) as { name: string }).name)
  }
}

test('a rule that is wrong keeps the node from starting, and says what to write', async () => {
  const wrong = [
    [{ name: 'typo', signal: 'traces', when: "http_rout = '/x'", drop: true }, 'http_route'],
    [{ name: 'ids', signal: 'traces', redact: ['trace_id'] }, 'cannot be changed'],
    [{ name: 'now', signal: 'logs', when: 'time < now()', drop: true }, 'gives another value'],
    [
      { name: 'to', signal: 'logs', when: true, route: { tenant: '../archive' } },
      '`../archive` is no tenant',
    ],
  ] as const
  for (const [rule, message] of wrong) {
    const started = ServerProcess.start(folder.path, await settings([rule]))
    await expect(started).rejects.toThrow(`rule \`${rule.name}\``)
    await expect(started).rejects.toThrow(message)
  }
})
