/**
 * TraceQL against a running node: random traces are sent, random queries asked over the Tempo API, and
 * the answers compared with those of the reference evaluator (`ts/testing/traceql`). A part of the traces
 * is in files and a part in memory. `OTLAKE_TRACEQL_SEED` repeats a run, `OTLAKE_TRACEQL_QUERIES` says
 * how many queries are asked of each kind.
 */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  SearchRequestSchema,
  SearchResponseSchema,
  TraceByIDResponseSchema,
} from '../query/tempo/generated/tempo_pb.js'
import { parseTraceql } from '../query/traceql/parse.js'
import { printTraceql } from '../query/traceql/print.js'
import type { Query } from '../query/tree.js'
import { send } from '../testing/otlp.js'
import { SeededRandom } from '../testing/seeded-random.js'
import { ServerProcess, set, temporaryFolder } from '../testing/server.js'
import { otlpRequest, type PlainSpan } from '../testing/traceql/plain.js'
import { randomMetrics, randomSearch } from '../testing/traceql/random-query.js'
import { randomTraces } from '../testing/traceql/random-traces.js'
import { searchTraces } from '../testing/traceql/reference.js'
import { comparison, seriesOf } from '../testing/traceql/series.js'

const SEED = Number(process.env.OTLAKE_TRACEQL_SEED ?? Date.now() % 1e9)
const QUERIES = Number(process.env.OTLAKE_TRACEQL_QUERIES ?? 150)
const TRACES = 120
const SECOND = 1_000_000_000n
/** A multiple of the step, so that steps begin with the range. */
const START = 1_700_000_000n * SECOND
const SECONDS = 60
const STEP = 10n * SECOND
const RANGE = { start: START, end: START + 90n * SECOND, step: STEP }
/** More than is there: nothing may be left out of an answer. */
const ALL = 1000

console.log(`OTLAKE_TRACEQL_SEED=${SEED}`)
const random = new SeededRandom(SEED)
const traces = randomTraces(random, TRACES, START, SECONDS)

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeAll(async () => {
  folder = await temporaryFolder()
  // gRPC on the HTTP port needs the adapter that can tell it apart.
  const adapter = set({ 'http.adapter': 'node' })
  server = await ServerProcess.start(folder.path, ['--cluster', '127.0.0.1:0', ...adapter])
  for (const [index, trace] of traces.entries()) {
    // Some traces are cut in two, so that files and memory both have a part.
    const cut = index % 3 === 0 ? Math.floor(trace.length / 2) : trace.length
    await ingest(trace.slice(0, cut))
    if (index === Math.floor(TRACES / 2)) await server.flush()
    await ingest(trace.slice(cut))
  }
})

afterAll(async () => {
  await server?.kill()
  await folder?.remove()
})

async function ingest(spans: readonly PlainSpan[]): Promise<void> {
  if (spans.length === 0) return
  expect(await send(server, 'traces', otlpRequest(spans))).toBe(true)
}

async function get<T>(path: string, parameters: Record<string, string | number> = {}): Promise<T> {
  const query = new URLSearchParams(
    Object.entries(parameters).map(([name, value]): [string, string] => [name, String(value)]),
  )
  const response = await fetch(server.url(`/tempo${path}?${query}`))
  const body = await response.text()
  if (!response.ok) throw new Error(`${path} ${decodeURIComponent(String(query))}: ${body}`)
  return JSON.parse(body) as T
}

interface Found {
  traces?: {
    traceID: string
    spanSets?: { spans: { spanID: string }[]; matched: number }[]
  }[]
}

/** Each trace with its spansets, in an order that is the same on both sides. */
function shown(found: { traceId: string; spansets: string[][] }[]): string[] {
  return found
    .map(({ traceId, spansets }) => {
      const sets = spansets.map((spans) => spans.toSorted().join(' ')).sort()
      return `${traceId}: ${sets.join(' | ')}`
    })
    .sort()
}

function expected(query: Query): string[] {
  return shown(
    searchTraces(query, traces).map(({ traceId, spansets }) => ({
      traceId,
      spansets: spansets.map((spans) => spans.map(({ spanId }) => spanId)),
    })),
  )
}

function answered(found: Found): string[] {
  return shown(
    (found.traces ?? []).map(({ traceID, spanSets = [] }) => ({
      traceId: traceID.padStart(32, '0'),
      spansets: spanSets.map(({ spans, matched }) => {
        expect(matched).toBe(spans.length)
        return spans.map(({ spanID }) => spanID.padStart(16, '0'))
      }),
    })),
  )
}

test('random searches find what the reference finds', async () => {
  let found = 0
  for (let round = 0; round < QUERIES; round++) {
    const query = randomSearch(random)
    const text = printTraceql(query)
    const answer = await get<Found>('/api/search', { q: text, limit: ALL, spss: ALL })
    expect(answered(answer), `seed ${SEED}: ${text}`).toEqual(expected(query))
    if (answer.traces?.length) found++
  }
  // A generator whose queries find nothing would show nothing.
  expect(found).toBeGreaterThan(QUERIES / 4)
})

test('fewer traces than there are, the newest first', async () => {
  for (let round = 0; round < QUERIES / 10; round++) {
    const query = randomSearch(random)
    const text = printTraceql({
      ...query,
      hints: [{ name: 'most_recent', value: { type: 'bool', value: true } }],
    })
    const { traces: few = [] } = await get<Found>('/api/search', { q: text, limit: 3, spss: 1 })
    const all = searchTraces(query, traces)
    // A trace is as new as its first span, or as the newest of those that are found.
    const since = (span: PlainSpan | undefined) => Number((span?.start ?? START) - START)
    const began = new Map(traces.map((trace) => [trace[0]?.traceId, since(trace[0])]))
    const orders = [
      ({ traceId }: (typeof all)[number]) => began.get(traceId) ?? 0,
      ({ spansets }: (typeof all)[number]) => Math.max(...spansets.flat().map(since)),
    ].map((newest) =>
      all
        .toSorted((a, b) => newest(b) - newest(a))
        .slice(0, 3)
        .map(({ traceId }) => traceId),
    )
    const ids = few.map(({ traceID }) => traceID)
    expect(orders, `seed ${SEED}: ${text}`).toContainEqual(ids)
    for (const { spanSets = [] } of few) {
      for (const { spans } of spanSets) expect(spans.length).toBeLessThanOrEqual(1)
    }
  }
})

interface Ranged {
  series?: {
    labels: { key: string; value?: Record<string, unknown> }[]
    samples?: { timestampMs: string; value?: number | string }[]
  }[]
}

type Samples = Record<string, Record<string, number>>

/** Series by the values of their labels; what is 0 is as if it were not there. */
function series(found: { labels: string[]; samples: Iterable<[number, number]> }[]): Samples {
  const all = found.map(({ labels, samples }) => {
    const some = [...samples].filter(([, value]) => value !== 0 && !Number.isNaN(value))
    return [labels.join(), Object.fromEntries(some.toSorted(([a], [b]) => a - b))] as const
  })
  return Object.fromEntries(all.filter(([, samples]) => Object.keys(samples).length > 0).sort())
}

/** A label's value as the reference writes it; statuses and kinds are texts in an answer. */
function label(value: Record<string, unknown> | undefined): string {
  const [type, of] = Object.entries(value ?? {})[0] ?? []
  if (type === undefined || (type === 'stringValue' && of === 'nil')) return 'nil'
  if (type === 'stringValue') return JSON.stringify(['string', of])
  if (type === 'boolValue') return JSON.stringify(['bool', of])
  return JSON.stringify(['number', Number(of)])
}

test('random metrics are what the reference counts', async () => {
  let found = 0
  for (let round = 0; round < QUERIES; round++) {
    const query = randomMetrics(random)
    const text = printTraceql(query)
    const { series: given = [] } = await get<Ranged>('/api/metrics/query_range', {
      q: text,
      start: String(RANGE.start),
      end: String(RANGE.end),
      step: '10s',
    })
    const actual = series(
      given.map(({ labels, samples = [] }) => {
        const own = labels.filter(({ key }) => key !== '__name__')
        // What the query groups by comes first, then a quantile or a bucket.
        const last = (key: string) => (key === 'p' || key === '__bucket' ? 1 : 0)
        return {
          labels: own
            .toSorted((a, b) => last(a.key) - last(b.key))
            .map(({ value }) => label(value)),
          samples: samples.map(({ timestampMs, value = 0 }) => [
            Number(timestampMs),
            Number(value),
          ]),
        }
      }),
    )
    const wanted = series(
      seriesOf(query, traces, RANGE).map(({ labels, samples }) => ({
        labels: labels.map((each) =>
          /^[\d.e-]+$/.test(each)
            ? JSON.stringify(['number', Number(each)])
            : each.replace(/^\["(status|spanKind)"/, '["string"'),
        ),
        samples,
      })),
    )
    expect(actual, `seed ${SEED}: ${text}`).toEqual(close(wanted))
    if (Object.keys(actual).length > 0) found++
  }
  expect(found).toBeGreaterThan(QUERIES / 3)
})

/** Sums of doubles depend on their order in the last digits. */
function close(samples: Samples): unknown {
  const nearly = (value: number) =>
    expect.closeTo(value, Math.max(0, 9 - Math.floor(Math.log10(Math.abs(value)))))
  return Object.fromEntries(
    Object.entries(samples).map(([labels, of]) => [
      labels,
      Object.fromEntries(Object.entries(of).map(([at, value]) => [at, nearly(value)])),
    ]),
  )
}

test('compare counts inside and outside of the selection', async () => {
  for (const text of [
    '{ } | compare({ status = error })',
    '{ kind != server } | compare({ .color = "red" || duration > 500ms })',
  ]) {
    const query = parseTraceql(text)
    const { series: given = [] } = await get<Ranged>('/api/metrics/query_range', {
      ...{ q: text, start: String(RANGE.start), end: String(RANGE.end), step: '10s' },
    })
    const counts: Record<string, number> = {}
    for (const { labels, samples = [] } of given) {
      const side = labels.find(({ key }) => key === '__meta_type')?.value?.stringValue
      const of = labels.find(({ key }) => /^(span|resource)\./.test(key))
      // Totals have no value, and arrays are beyond what the reference tells apart.
      if ((side !== 'selection' && side !== 'baseline') || !of || of.key === 'span.list') continue
      const key = JSON.stringify([side, of.key, label(of.value)])
      const sum = samples.reduce((total, { value = 0 }) => total + Number(value), 0)
      counts[key] = (counts[key] ?? 0) + sum
    }
    const wanted = [...comparison(query, traces)].filter(([key]) => !key.includes('span.list'))
    expect(counts, text).toEqual(Object.fromEntries(wanted))
  }
})

test('names and values of attributes, of all spans and of some', async () => {
  const { scopes } = await get<{ scopes: { name: string; tags: string[] }[] }>(
    '/api/v2/search/tags',
  )
  const spans = traces.flat()
  const keys = (of: (span: PlainSpan) => object) =>
    [...new Set(spans.flatMap((span) => Object.keys(of(span))))].sort()
  const tags = (name: string) => scopes.find((scope) => scope.name === name)?.tags.toSorted()
  expect(tags('span')).toEqual(keys(({ attributes }) => attributes))
  expect(tags('resource')).toEqual(keys(({ resource }) => resource))
  expect(tags('event')).toEqual(['message'])
  for (const [tag, q, values] of [
    ['resource.service.name', '', spans.map(({ resource }) => resource['service.name'])],
    [
      'span.with space',
      '{ kind = server }',
      spans.filter(({ kind }) => kind === 'server').map((span) => span.attributes['with space']),
    ],
    ['name', '{ nonsense', spans.map(({ name }) => name)],
  ] as const) {
    const path = `/api/v2/search/tag/${encodeURIComponent(encodeURIComponent(tag))}/values`
    const { tagValues = [] } = await get<{ tagValues?: { type: string; value?: string }[] }>(path, {
      q,
    })
    const wanted = [...new Set(values.filter((value) => value !== undefined))].sort()
    expect(tagValues.map(({ value = '' }) => value).sort(), tag).toEqual(wanted)
  }
})

test('a trace by its id in protobuf and JSON', async () => {
  const [trace = []] = traces
  const id = trace[0]?.traceId ?? ''
  const response = await fetch(server.url(`/tempo/api/v2/traces/${id}?start=0&end=2000000000`), {
    headers: { accept: 'application/protobuf' },
  })
  const message = fromBinary(TraceByIDResponseSchema, new Uint8Array(await response.arrayBuffer()))
  expect(message.trace?.resourceSpans.length).toBeGreaterThan(0)
  const json = await get<{
    trace: { resourceSpans: { scopeSpans: { spans: { spanId: string }[] }[] }[] }
  }>(`/api/v2/traces/${id}`)
  const ids = json.trace.resourceSpans.flatMap(({ scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) => spans.map(({ spanId }) => spanId)),
  )
  expect(ids.sort()).toEqual(trace.map(({ spanId }) => spanId).sort())
  const { batches } = await get<{ batches: unknown[] }>(`/api/traces/${id}`)
  expect(batches).toEqual(json.trace.resourceSpans)
})

test('a trace by its id within times: files of other times are left out', async () => {
  // Sent before the flush, so all of it is in files.
  const [trace = []] = traces
  const id = trace[0]?.traceId ?? ''
  const seconds = Number(START / SECOND)
  const found = async (start: number, end: number) => {
    const range = `start=${seconds + start}&end=${seconds + end}`
    const response = await fetch(server.url(`/tempo/api/v2/traces/${id}?${range}`))
    if (response.status === 404) return 0
    const { trace } = (await response.json()) as {
      trace: { resourceSpans: { scopeSpans: { spans: unknown[] }[] }[] }
    }
    const scopes = trace.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans)
    return scopes.reduce((sum, { spans }) => sum + spans.length, 0)
  }
  expect(await found(-1, SECONDS + 60)).toBe(trace.length)
  expect(await found(3600, 7200)).toBe(0)
  expect(await found(-7200, -3600)).toBe(0)
  // The same trace again, without times: an answer for some is not one for all.
  expect(await found(-seconds, 3600)).toBe(trace.length)
})

test('protobuf, JSON and gRPC tell the same', async () => {
  const q = '{ status = error } | select(.color)'
  const json = await get<Found>('/api/search', { q, limit: 5 })
  const path = server.url(`/tempo/api/search?q=${encodeURIComponent(q)}&limit=5`)
  const response = await fetch(path, { headers: { accept: 'application/protobuf' } })
  const bytes = fromBinary(SearchResponseSchema, new Uint8Array(await response.arrayBuffer()))
  expect(bytes.traces.map(({ traceID }) => traceID)).toEqual(
    json.traces?.map(({ traceID }) => traceID),
  )
  const client = new grpc.Client(server.addresses.http, grpc.credentials.createInsecure())
  const stream = client.makeServerStreamRequest(
    '/tempopb.StreamingQuerier/Search',
    (message: Uint8Array) => Buffer.from(message),
    (message) => fromBinary(SearchResponseSchema, message),
    toBinary(SearchRequestSchema, create(SearchRequestSchema, { Query: q, Limit: 5 })),
  )
  const streamed: string[] = []
  for await (const message of stream) {
    const { traces: some } = message as typeof bytes
    streamed.push(...some.map(({ traceID }) => traceID))
  }
  client.close()
  expect(streamed).toEqual(bytes.traces.map(({ traceID }) => traceID))
})
