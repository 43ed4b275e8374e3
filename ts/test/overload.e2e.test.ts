/**
 * Bounds under overload (I5), through real sockets against nodes with small limits: memory stays
 * within what is configured, whoever is refused is told to come again, nobody is starved, and
 * nothing is left behind when the load ends.
 *
 * OTLAKE_BENCH_OVERLOAD=20 makes the load twenty times as long (bench/overload.mjs).
 */

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { get, type IncomingMessage } from 'node:http'
import { connect as connectTcp, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { detach, inject } from '../testing/kernel-faults.js'
import {
  grpcExport,
  grpcSession,
  keptAgent,
  metric,
  pace,
  post,
  postUntilTaken,
  resident,
  settles,
  spansRequest,
} from '../testing/load.js'
import { ServerProcess, set, temporaryFolder } from '../testing/server.js'

const MIB = 1024 * 1024
/** How much longer than in every test run the load lasts. */
const LENGTH = Number(process.env.OTLAKE_BENCH_OVERLOAD ?? 1)
/**
 * What the process may hold beyond what it accounts for, in MiB: JavaScript's heap, connections,
 * files being written (a flush sorts and encodes a copy of what it writes), and what the
 * allocator keeps for later.
 */
const ALLOWANCE_MIB = 320

/** How long full speed is measured before a load, and how soon after it it must be back. */
const USUAL_MS = 2000
const WINDOW_MS = 1000
const RECOVERY_WINDOWS = 10
/** What counts as full speed on a machine where others work, too. */
const FULL_SPEED = 0.6
/** Sockets of the test's ten thousand connections, and what else a process has open. */
const FILES_NEEDED = 11_000

const LIVE_MIB = 24
const IN_FLIGHT_MIB = 16
const QUERY_MIB = 64
const SMALL = {
  'live.max_bytes': LIVE_MIB * MIB,
  'receive.max_request_bytes': 8 * MIB,
  'receive.max_in_flight_bytes': IN_FLIGHT_MIB * MIB,
  'flush.bytes': 8 * MIB,
  'flush.interval_ms': 500,
  'query.memory_bytes': QUERY_MIB * MIB,
  'query.concurrency': 4,
  'query.queue': 4,
  'query.queue_ms': 60_000,
  'query.timeout_ms': 20_000 * LENGTH,
}

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess
/** Resident before the load, in MiB. */
let idle: number
/** Acknowledged requests a second before the load. */
let usual: number

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(async () => {
  await server?.kill()
  await folder.remove()
})

async function start(settings: Record<string, number>): Promise<void> {
  server = await ServerProcess.start(folder.path, set(settings))
  usual = await pace(server, USUAL_MS)
  idle = (await resident(server)).now
}

/** Asserts the bound and tells the figures, so that a run's log shows them. */
async function expectBounded(what: string, budgetMib: number, counts: object = {}): Promise<void> {
  const { peak } = await resident(server)
  const limit = idle + budgetMib + ALLOWANCE_MIB
  console.log(
    JSON.stringify({
      what,
      idle: Math.round(idle),
      peak: Math.round(peak),
      limit: Math.round(limit),
      ...counts,
    }),
  )
  expect(peak, `${what}: peak RSS in MiB`).toBeLessThan(limit)
}

/**
 * Asserts that ingest is as quick as before within seconds of the load's end, that nothing of it is
 * left, and that requests and queries succeed again.
 */
async function expectRecovered(): Promise<void> {
  const windows: number[] = []
  do windows.push(await pace(server, WINDOW_MS))
  while (windows.length < RECOVERY_WINDOWS && Math.max(...windows) < FULL_SPEED * usual)
  console.log(JSON.stringify({ usual, windows }))
  expect(Math.max(...windows), 'requests a second').toBeGreaterThanOrEqual(FULL_SPEED * usual)
  await settles(server, 'otlake_receive_bytes')
  await settles(server, 'otlake_admitted_bytes')
  await settles(server, 'otlake_queries_running')
  expect(await metric(server, 'otlake_queries_waiting')).toBe(0)
  for (let number = 900_000; number < 900_020; number++) {
    expect((await post(server, spansRequest('after', number, 10, 10))).status).toBe(200)
  }
  expect(await server.count("SELECT count(*) FROM spans WHERE service_name = 'after'")).toBe(200)
  expect(await metric(server, 'otlake_invariant_violations_total')).toBe(0)
}

const spansOf = (service: string) =>
  server.count('SELECT count(DISTINCT span_id) FROM spans WHERE service_name = $1', [service])

test('I5: senders that outrun the disk are told to wait, a modest tenant is not, and nothing is lost', async () => {
  await start(SMALL)
  // However fast the machine's disk is, this one is slower than they.
  const slow = await inject(server, 'fdatasync,fsync:delay_enter=50000')
  const ROUNDS = 16 * LENGTH
  const CLIENTS = 32
  let done = false
  let next = 0
  let refusals = 0
  let mostAdmitted = 0
  let mostReceived = 0
  const greedy = Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      const agent = keptAgent()
      for (let round = 0; round < ROUNDS; round++) {
        const body = spansRequest('greedy', next++, 100, 2000)
        refusals += await postUntilTaken(server, body, { agent, tenant: 'greedy' })
      }
      agent.destroy()
    }),
  ).finally(() => {
    done = true
  })
  const modestly = { sent: 0, refused: 0 }
  const modest = async () => {
    const agent = keptAgent()
    while (!done) {
      const body = spansRequest('modest', 500_000 + modestly.sent++, 10, 100)
      modestly.refused += await postUntilTaken(server, body, { agent, tenant: 'modest' })
    }
    agent.destroy()
  }
  const watch = async () => {
    while (!done) {
      mostAdmitted = Math.max(mostAdmitted, await metric(server, 'otlake_admitted_bytes'))
      mostReceived = Math.max(mostReceived, await metric(server, 'otlake_receive_bytes'))
    }
  }
  // Queries run beside it: neither starves the other.
  const queries = { answered: 0 }
  const ask = async () => {
    while (!done) {
      await server.count('SELECT count(*) FROM spans')
      queries.answered += 1
    }
  }
  await Promise.all([greedy, modest(), watch(), ask()])
  await detach(slow)
  expect(refusals, 'the load reached the limit').toBeGreaterThan(0)
  expect(modestly.sent).toBeGreaterThan(10)
  expect(queries.answered).toBeGreaterThan(3)
  // The modest one is refused at most a few times, when the greedy one has just begun.
  expect(modestly.refused).toBeLessThan(5 + modestly.sent / 10)
  expect(mostAdmitted).toBeLessThanOrEqual(LIVE_MIB * MIB)
  expect(mostReceived).toBeLessThanOrEqual(IN_FLIGHT_MIB * MIB + 4096)
  await expectBounded('greedy and modest', LIVE_MIB + IN_FLIGHT_MIB + QUERY_MIB, {
    requests: next,
    refusals,
    modest: modestly,
    queries,
    mostAdmitted,
    mostReceived,
  })
  expect(await spansOf('greedy')).toBe(next * 100)
  expect(await spansOf('modest')).toBe(modestly.sent * 10)
  await expectRecovered()
})

test('I5: a thousand clients, over gRPC and HTTP, are all served', async () => {
  await start(SMALL)
  let refusals = 0
  const overHttp = Array.from({ length: 500 }, async (_, client) => {
    const agent = keptAgent()
    for (let round = 0; round < 2 * LENGTH; round++) {
      const body = spansRequest('thousand', client + 1000 * round, 10, 500)
      refusals += await postUntilTaken(server, body, { agent })
    }
    agent.destroy()
  })
  const overGrpc = Array.from({ length: 500 }, async (_, client) => {
    const session = grpcSession(server)
    for (let round = 0; round < 2 * LENGTH; round++) {
      const body = spansRequest('thousand', 500 + client + 1000 * round, 10, 500)
      for (;;) {
        const { code, details } = await grpcExport(session, body)
        if (code === 0) break
        expect(code).toBe(14)
        expect(details.includes('google.rpc.RetryInfo')).toBe(true)
        refusals += 1
      }
    }
    session.close()
  })
  await Promise.all([...overHttp, ...overGrpc])
  expect(await spansOf('thousand')).toBe(1000 * 2 * LENGTH * 10)
  await expectBounded('a thousand clients', LIVE_MIB + IN_FLIGHT_MIB, { refusals })
  await expectRecovered()
})

/** A zstd frame of `blocks` run-length blocks of 128 KiB: four bytes each. */
function zstdBomb(blocks: number): Buffer {
  const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38])
  const size = 128 * 1024
  const block = (last: number) => {
    const header = (size << 3) | (1 << 1) | last
    return Buffer.from([header & 255, (header >> 8) & 255, (header >> 16) & 255, 0])
  }
  return Buffer.concat([
    head,
    ...Array.from({ length: blocks }, (_, at) => block(+(at === blocks - 1))),
  ])
}

test('I5: bombs of gzip and zstd take no more than a request may', async () => {
  await start(SMALL)
  const gzip = gzipSync(Buffer.alloc(256 * MIB))
  const zstd = zstdBomb(8192)
  const session = grpcSession(server)
  const statuses: Record<string, number> = {}
  const seen = (status: string) => {
    statuses[status] = (statuses[status] ?? 0) + 1
  }
  for (let round = 0; round < 2 * LENGTH; round++) {
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (const [encoding, bomb] of [
          ['gzip', gzip],
          ['zstd', zstd],
        ] as const) {
          seen(`http ${(await post(server, bomb, { encoding })).status}`)
          seen(`grpc ${(await grpcExport(session, bomb, { encoding })).code}`)
        }
      }),
    )
  }
  session.close()
  // Too large for ever, or no room for it just now.
  for (const status of Object.keys(statuses)) {
    expect(['http 413', 'http 429', 'grpc 8', 'grpc 14']).toContain(status)
  }
  expect(statuses['http 413']).toBeGreaterThan(0)
  expect(statuses['grpc 8']).toBeGreaterThan(0)
  await expectBounded('bombs', IN_FLIGHT_MIB, { statuses })
  await expectRecovered()
})

test('I5: ten thousand connections and slow ones leave room for an honest client', async () => {
  await start(SMALL)
  for (const pid of ['self', server.child.pid]) {
    const limits = await readFile(`/proc/${pid}/limits`, 'utf8')
    const files = Number(/Max open files\s+(\d+)/.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY)
    expect(files, 'open files a process may have; raise it: ulimit -n').toBeGreaterThan(
      FILES_NEEDED,
    )
  }
  const [host = '', port = ''] = server.addresses.otlpHttp.split(':')
  const open = (first: string) =>
    new Promise<Socket>((resolve, reject) => {
      const socket = connectTcp(Number(port), host)
      socket.on('error', reject)
      socket.once('connect', () => {
        socket.on('error', () => undefined)
        if (first !== '') socket.write(first)
        resolve(socket)
      })
    })
  const head = 'POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n'
  // Most wait with a body, which they may for longer than with a head, and come first: so all are there at
  // once, on a busy machine too.
  const body = `${head}content-length: 1000000\r\n\r\n`
  const kinds = ['', 'PO', head]
  const bodies = 7000
  // Calls whose message never comes.
  const session = grpcSession(server)
  const stalled = Array.from({ length: 200 }, () =>
    grpcExport(session, Buffer.from([10]), { announced: 1_000_000 }),
  )
  const sockets: Socket[] = []
  while (sockets.length < 9_900) {
    const first = sockets.length < bodies ? [body] : kinds
    const batch = Array.from({ length: 100 }, (_, at) => open(first[at % first.length] ?? ''))
    sockets.push(...(await Promise.all(batch)))
  }
  const ended = sockets.map((socket) => {
    socket.resume()
    return socket.destroyed ? Promise.resolve() : new Promise((done) => socket.once('close', done))
  })
  const most = await metric(server, 'otlake_connections')
  expect(most).toBeGreaterThan(9_000)
  const honest = grpcSession(server)
  for (let number = 0; number < 20; number++) {
    const body = spansRequest('honest', number, 10, 100)
    expect((await post(server, body)).status).toBe(200)
    const other = spansRequest('honest', 1000 + number, 10, 100)
    expect((await grpcExport(honest, other)).code).toBe(0)
  }
  honest.close()
  // The stalled calls are told to come again, and the connections are closed.
  for (const { code, details } of await Promise.all(stalled)) {
    expect(code).toBe(14)
    expect(details.includes('google.rpc.RetryInfo')).toBe(true)
  }
  session.close()
  await Promise.all(ended)
  await settles(server, 'otlake_connections', 10)
  await expectBounded('ten thousand connections', IN_FLIGHT_MIB, { most })
  await expectRecovered()
})

/** An answer that nobody reads yet. */
async function unread(path: string): Promise<IncomingMessage> {
  const [answer] = (await once(get(server.url(path)), 'response')) as [IncomingMessage]
  answer.on('error', () => undefined)
  return answer
}

test('I5: slow readers of tails and answers hold little, and hold up nobody for long', async () => {
  await start({ ...SMALL, 'query.timeout_ms': 15_000 })
  const tails = await Promise.all([1, 2, 3].map(() => unread('/api/v1/tail?table=spans')))
  // As much as tails may hold, and some more of which they are told only how much it was. No longer, for who
  // takes nothing for a minute is cut off.
  for (let number = 0, beyond = 0; beyond < 20; number++) {
    await postUntilTaken(server, spansRequest('tailed', number, 200, 1500))
    const held = await metric(server, 'otlake_tail_bytes')
    expect(held).toBeLessThanOrEqual(32 * MIB)
    if (held > 31 * MIB) beyond++
  }
  let text = ''
  for await (const chunk of tails[0] ?? []) {
    text = text.slice(-100) + (chunk as Buffer).toString()
    if (/"skipped_batches":\d+/.test(text)) break
  }
  expect(text).toMatch(/"skipped_batches":\d+/)
  for (const tail of tails) tail.destroy()
  await settles(server, 'otlake_tail_bytes')

  // As many queries as may run, read by nobody: the next one waits, and runs after their time.
  const everything = `/api/v1/sql?format=ndjson&query=${encodeURIComponent('SELECT * FROM spans')}`
  const slow = await Promise.all([1, 2, 3, 4].map(() => unread(everything)))
  expect(await metric(server, 'otlake_queries_running')).toBe(4)
  const waiting = Array.from({ length: 4 }, () => server.count('SELECT 1'))
  while ((await metric(server, 'otlake_queries_waiting')) < 4)
    await settles(server, 'otlake_receive_bytes')
  const refused = await fetch(server.url('/api/v1/sql?query=SELECT%201'))
  expect(refused.status).toBe(503)
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
  expect(await refused.json()).toMatchObject({ error: { code: 'QUERY_OVERLOADED' } })
  // Ingest goes on beside them.
  expect(await postUntilTaken(server, spansRequest('beside', 1, 10, 10))).toBeLessThan(5)
  expect(await Promise.all(waiting)).toEqual([1, 1, 1, 1])
  for (const answer of slow) answer.destroy()
  await expectBounded('slow readers', LIVE_MIB + IN_FLIGHT_MIB + QUERY_MIB + 32)
  await expectRecovered()
})

test('I5: an attribute beyond the default limit is cut to it, and told', async () => {
  await start(SMALL)
  expect(await metric(server, 'otlake_records_changed_total').catch(() => 0)).toBe(0)
  await postUntilTaken(server, spansRequest('long', 1, 1, 2 * MIB))
  const [row] = await server.rows<{ length: number }>(
    "SELECT length(attributes['filling']) AS length FROM spans WHERE service_name = 'long'",
  )
  expect(Number(row?.length)).toBe(MIB)
  expect(await metric(server, 'otlake_records_changed_total')).toBe(1)
})

test('I5: requests of 60 MB, an attribute of 5 MB, a trace of 200,000 spans, and an answer of everything', async () => {
  const live = 256
  const inFlight = 128
  await start({
    'live.max_bytes': live * MIB,
    'receive.max_in_flight_bytes': inFlight * MIB,
    'flush.bytes': 64 * MIB,
    'flush.interval_ms': 500,
    'query.memory_bytes': 128 * MIB,
    'record.max_attribute_value_bytes': 8 * MIB,
  })
  let refusals = 0
  await Promise.all(
    Array.from({ length: 6 }, async (_, client) => {
      for (let round = 0; round < LENGTH; round++) {
        const body = spansRequest('large', client + 10 * round, 600, 100_000)
        expect(body.length).toBeGreaterThan(60_000_000)
        refusals += await postUntilTaken(server, body)
      }
    }),
  )
  expect(await spansOf('large')).toBe(6 * LENGTH * 600)
  await expectBounded('requests of 60 MB', live + inFlight + 128, { refusals })

  expect(await postUntilTaken(server, spansRequest('long', 100, 1, 5 * MIB))).toBeLessThan(100)
  const [row] = await server.rows<{ length: number }>(
    "SELECT length(attributes['filling']) AS length FROM spans WHERE service_name = 'long'",
  )
  expect(Number(row?.length)).toBe(5 * MIB)

  const traceId = 'ab'.repeat(16)
  for (let part = 0; part < 10; part++) {
    await postUntilTaken(server, spansRequest('deep', 200 + part, 20_000, 10, traceId))
  }
  const trace = await fetch(server.url(`/api/v1/traces/${traceId}`))
  const json = await trace.text()
  expect(json.match(/"spanId"/g)).toHaveLength(200_000)

  // Everything, streamed, more than the queries' memory.
  const paced = await spansOf('pace')
  const everything = `/api/v1/sql?format=ndjson&query=${encodeURIComponent('SELECT * FROM spans')}`
  let lines = 0
  let length = 0
  for await (const chunk of await unread(everything)) {
    const bytes = chunk as Buffer
    length += bytes.length
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) lines += 1
  }
  expect(lines).toBe(6 * LENGTH * 600 + 1 + 200_000 + paced)
  await expectBounded('everything', live + inFlight + 128, {
    length,
    trace: json.length,
  })
  await expectRecovered()
})
