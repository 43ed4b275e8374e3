/**
 * No query takes ingest down (I5): SDKs send at a steady rate while queries that ask too much run, each
 * alone and then all at once, several times. Each ends with a clear error at its limit, or is answered;
 * acknowledgements go on meanwhile and none is refused, memory stays within what is configured, and
 * every acknowledged span counts exactly once (I2, I3).
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ERRORS } from '../base/errors.generated.js'
import { metric, resident, settles } from '../testing/load.js'
import { send } from '../testing/otlp.js'
import { ServerProcess, set, temporaryFolder } from '../testing/server.js'
import { SteadySenders } from '../testing/steady-senders.js'

const MIB = 1024 * 1024
const LIVE_MIB = 48
const REQUEST_MIB = 8
const QUERY_MIB = 48
const LIMITS = {
  'live.max_bytes': LIVE_MIB * MIB,
  'receive.max_request_bytes': REQUEST_MIB * MIB,
  'receive.max_in_flight_bytes': 2 * REQUEST_MIB * MIB,
  'flush.bytes': 8 * MIB,
  'flush.interval_ms': 500,
  'query.memory_bytes': QUERY_MIB * MIB,
  'query.concurrency': 12,
  'query.queue': 12,
  'query.queue_ms': 2000,
  'query.timeout_ms': 5000,
}
/**
 * What the process may hold beyond what it accounts for: as in overload.e2e.test.ts, and answers of
 * queries on their way to whoever asked, as rows, as JSON and in the sockets.
 */
const ALLOWANCE_MIB = 512

/** What is asked about: a span each has a user of its own. */
const REQUESTS = 24
const TRACES_PER_REQUEST = 1000
const SPANS_PER_TRACE = 5
const SPANS = REQUESTS * TRACES_PER_REQUEST * SPANS_PER_TRACE
const SECOND = 1_000_000_000n
const START = 1_700_000_000n * SECOND
const SECONDS = 600
const RETRY_MS = 100
/** Of what sends and asks much, on a machine where others work, too. */
const PATIENCE_MS = 300_000
/** Of all queries at once. */
const ROUNDS = 2
const COPIES = 2
/** A query that took longer than this saw acknowledgements: twenty of each sender are due in it. */
const LONG_MS = 1000

interface Big {
  what: string
  path: string
  body?: object
  /** How it ends where it runs alone: the code of its limit, or 200. */
  alone: string[]
}

const search = (q: string, limit = 10_000) =>
  `/tempo/api/search?${new URLSearchParams({ q, limit: String(limit), spss: '3' })}`
const range = { start: String(START), end: String(START + BigInt(SECONDS) * SECOND), step: '1s' }
const series = (q: string) =>
  `/tempo/api/metrics/query_range?${new URLSearchParams({ q, ...range })}`
const sql = (query: string) => ({ path: '/api/v1/sql', body: { query, format: 'json' } })

const BIG: Big[] = [
  {
    what: 'a regular expression over everything',
    path: search(
      '{ name =~ ".*(GET|POST)+.*[a-z/]+.*([0-9]+x)+.*" && span.user.id =~ ".*9.*9.*x" }',
    ),
    alone: ['200', 'QUERY_TIMEOUT'],
  },
  {
    what: 'a search that matches every trace',
    path: search('{ }'),
    alone: ['200', 'QUERY_MEMORY', 'QUERY_TIMEOUT'],
  },
  {
    what: 'structure over everything',
    path: search('{ } >> { } && { } !>> { status = error }'),
    alone: ['200', 'QUERY_MEMORY', 'QUERY_TIMEOUT'],
  },
  {
    what: 'series of each user',
    path: series('{ } | rate() by (span.user.id)'),
    alone: ['TRACEQL_TOO_LARGE'],
  },
  {
    what: 'quantiles of each user',
    path: series('{ } | quantile_over_time(duration, 0.5, 0.9, 0.99) by (span.user.id)'),
    alone: ['TRACEQL_TOO_LARGE'],
  },
  {
    what: 'a comparison of everything',
    path: series('{ } | compare({ status = error }, 1000)'),
    alone: ['200', 'TRACEQL_TOO_LARGE', 'QUERY_MEMORY', 'QUERY_TIMEOUT'],
  },
  {
    what: 'values of every user',
    path: '/tempo/api/v2/search/tag/span.user.id/values?limit=100000',
    alone: ['200', 'QUERY_MEMORY'],
  },
  {
    what: 'rows times rows times rows',
    ...sql('SELECT count(*) FROM spans a, spans b, spans c WHERE a.kind + b.kind + c.kind > -1'),
    alone: ['QUERY_TIMEOUT'],
  },
  {
    what: 'rows times rows in one value',
    ...sql('SELECT array_agg(a.name || b.name) FROM spans a, spans b'),
    alone: ['QUERY_MEMORY'],
  },
]
/** With others beside it a query may come to another limit first. */
const AT_A_LIMIT = [
  ...['200', 'QUERY_TIMEOUT', 'QUERY_MEMORY', 'QUERY_OVERLOADED', 'TRACEQL_TOO_LARGE'],
]

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess
let senders: SteadySenders
/** Resident before anything was sent, in MiB. */
let idle: number
let refusedBefore: number

beforeAll(async () => {
  folder = await temporaryFolder()
  server = await ServerProcess.start(folder.path, ['--cluster', '127.0.0.1:0', ...set(LIMITS)])
  idle = (await resident(server)).now
  for (let number = 0; number < REQUESTS; number++) {
    const request = seed(number)
    while (!(await send(server, 'traces', request))) await sleep(RETRY_MS)
  }
  await server.flush()
  expect(await server.count('SELECT count(*) FROM spans')).toBe(SPANS)
  refusedBefore = await metric(server, 'otlake_requests_refused_total').catch(() => 0)
  senders = new SteadySenders(server)
  senders.start()
  await progress()
}, PATIENCE_MS)

afterAll(async () => {
  await senders?.stop()
  await server?.kill()
  await folder?.remove()
})

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0')

/** Trees of a root, a child, and three below that one. */
function seed(number: number): unknown {
  const spans = Array.from({ length: TRACES_PER_REQUEST * SPANS_PER_TRACE }, (_, index) => {
    const trace = number * TRACES_PER_REQUEST + Math.floor(index / SPANS_PER_TRACE)
    const place = index % SPANS_PER_TRACE
    const first = trace * SPANS_PER_TRACE + 1
    const seconds = BigInt((trace * SPANS_PER_TRACE + place) % SECONDS)
    const start = START + seconds * SECOND + BigInt(trace)
    return {
      traceId: hex(trace + 1, 32),
      spanId: hex(first + place, 16),
      ...(place === 0 ? {} : { parentSpanId: hex(place === 1 ? first : first + 1, 16) }),
      name: `${place % 2 === 0 ? 'GET' : 'POST'} /shop/${trace % 97}`,
      kind: (place % 5) + 1,
      startTimeUnixNano: String(start),
      endTimeUnixNano: String(start + BigInt(1000 * (1 + ((trace * 31 + place) % 9973)))),
      attributes: [{ key: 'user.id', value: { stringValue: `user-${first + place}` } }],
      status: trace % 50 === 0 && place === 4 ? { code: 2, message: 'full' } : {},
    }
  })
  const resource = {
    attributes: [{ key: 'service.name', value: { stringValue: `seed-${number % 8}` } }],
  }
  return { resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }
}

/** Waits until every sender has had one more acknowledgement; the test's time-out ends a wait without hope. */
async function progress(): Promise<void> {
  const before = senders.requests()
  while (senders.requests().some((now, index) => now <= (before[index] ?? 0))) await sleep(10)
}

/** How a query ended: `200`, or its error's code. Fails where acknowledgements stood still meanwhile. */
async function ask({ what, path, body }: Big): Promise<string> {
  const before = senders.requests()
  const began = performance.now()
  const response = await fetch(server.url(path), {
    ...(body === undefined
      ? {}
      : { method: 'POST', headers: { 'content-type': 'application/json' } }),
    body: body === undefined ? null : JSON.stringify(body),
  })
  const text = await response.text()
  if (performance.now() - began > LONG_MS) {
    const during = senders.requests().map((now, index) => now - (before[index] ?? 0))
    expect(Math.min(...during), `${what}: acknowledged to each sender meanwhile`).toBeGreaterThan(0)
  }
  if (response.ok) {
    JSON.parse(text)
    return String(response.status)
  }
  const { error } = JSON.parse(text) as {
    error: { code: keyof typeof ERRORS; message: string; fix: string }
  }
  expect(error.message, what).not.toBe('')
  expect(error.fix, what).toBe(ERRORS[error.code].fix)
  // What can be asked again is told so; what is too large is the client's to change.
  const isLater = error.code === 'QUERY_OVERLOADED'
  expect(response.headers.has('retry-after'), what).toBe(isLater)
  return error.code
}

describe('I5: beside clients that go on sending', () => {
  test.each(BIG)('$what ends at its limit', async (big) => {
    const ended = await ask(big)
    console.log(`${big.what}: ${ended}`)
    expect(big.alone).toContain(ended)
    await progress()
  })

  test(
    'all at once, again and again',
    async () => {
      const tally = new Map<string, Record<string, number>>()
      for (let round = 0; round < ROUNDS; round++) {
        const before = senders.requests()
        const asked = Array.from({ length: COPIES }, () => BIG).flat()
        await Promise.all(
          asked.map(async (big) => {
            const ended = await ask(big)
            expect(AT_A_LIMIT, big.what).toContain(ended)
            const counts = tally.get(big.what) ?? {}
            counts[ended] = (counts[ended] ?? 0) + 1
            tally.set(big.what, counts)
          }),
        )
        for (const [index, now] of senders.requests().entries()) {
          expect(now, `acknowledged to sender ${index}`).toBeGreaterThan(before[index] ?? 0)
        }
      }
      console.log(JSON.stringify(Object.fromEntries(tally), null, 1))
      // Some queries were at limits, and a small one is answered at once they are gone.
      expect(
        [...tally.values()].some((counts) => Object.keys(counts).some((code) => code !== '200')),
      ).toBe(true)
      await settles(server, 'otlake_queries_running')
      expect(await server.count('SELECT 1')).toBe(1)
    },
    PATIENCE_MS,
  )

  test('memory stayed within its bound, no client was refused, and each span counts once', async () => {
    await senders.stop()
    expect(senders.failures()).toEqual([])
    const refused = await metric(server, 'otlake_requests_refused_total').catch(() => 0)
    expect(refused - refusedBefore, 'refused requests').toBe(0)
    const { peak } = await resident(server)
    const bound = idle + LIVE_MIB + 2 * REQUEST_MIB + QUERY_MIB + ALLOWANCE_MIB
    console.log(JSON.stringify({ idle, peak, bound, acknowledged: senders.acknowledged() }))
    expect(peak, 'peak RSS in MiB').toBeLessThan(bound)
    for (const [service, acknowledged] of Object.entries(senders.acknowledged())) {
      const counted = (what: string) =>
        server.count(`SELECT count(${what}) FROM spans WHERE service_name = $1`, [service])
      expect(await counted('*'), service).toBe(acknowledged)
      expect(await counted('DISTINCT span_id'), service).toBe(acknowledged)
    }
    expect(await server.count("SELECT count(*) FROM spans WHERE service_name LIKE 'seed-%'")).toBe(
      SPANS,
    )
    expect(await server.violations()).toEqual([])
  })
})
