/**
 * Queries over many spans, all processors: the group-by beside DuckDB, one trace by its id warm
 * and cold, and the HTTP API under autocannon.
 */

import autocannon from 'autocannon'
import { median, round } from '../numbers.mjs'
import { ALL } from '../server.mjs'
import { Store } from '../store.mjs'
import { absent, cold, dropper, shares, warm } from './by-id.mjs'
import { duckdb, groupBy, timed } from './group-by.mjs'

const CONNECTIONS = 16
/** Traces that are asked for over HTTP, in turns. */
const HTTP_IDS = 200

export async function queries({ report, rounds, length, spans, data }) {
  const store = await Store.open({ server: ALL, client: ALL, folder: data })
  try {
    const rows = []
    const grouped = Math.min(spans, length(10_000_000, 1_000_000, 200_000))
    if (store.spans > grouped) {
      console.log(`group-by: skipped, because the store has ${store.spans} spans already`)
    } else {
      await store.grow(grouped)
      await groupBy({ report, rounds, node: store.node })
      const over = { spans: store.spans, files: await store.node.files() }
      const times = shares(report.values('group_by'))
      rows.push({ what: 'group-by', ...over, p50_ms: round(times.p50), p99_ms: round(times.p99) })
    }
    await store.grow(spans)
    await byId({ report, rounds, length, store, rows })
    report.show('Queries, all processors', rows)
    report.show('HTTP, 16 connections', await http({ report, rounds, length, store }))
    await store.node.expect(store.spans)
  } finally {
    await store.close()
  }
}

async function byId({ report, rounds, length, store, rows }) {
  const number = length(200, 50, 20)
  const over = { spans: store.spans, files: await store.node.files() }
  const shown = (what, { p50, p99 }) =>
    rows.push({ what, ...over, p50_ms: round(p50), p99_ms: round(p99) })
  for (let turn = 0; turn < rounds; turn++) {
    const { fresh, again } = await warm(store, number)
    report.add('trace_warm_p50', fresh.p50)
    report.add('trace_warm_p99', fresh.p99)
    report.add('trace_again_p50', again.p50)
    shown('a trace by id, warm', fresh)
    shown('the same again', again)
  }
  shown('an id that no span has', await absent(store, number))
  const other = await duckdb(store.node)
  const asked = []
  for (const id of store.askedIds(5)) {
    const question = `SELECT * FROM spans WHERE trace_id = unhex('${id}')`
    asked.push((await timed(() => other.ask(question))).ms)
  }
  other.close()
  shown('a trace by id, DuckDB', { p50: median(asked), p99: Math.max(...asked) })
  // A check is about answers: it leaves the machine's page cache to others.
  const drop = report.head.mode === 'check' ? () => {} : dropper(store.node.dataDir)
  if (drop === null) {
    console.log('cold: skipped, because the page cache can be emptied by nobody here')
    return
  }
  for (let turn = 0; turn < rounds; turn++) {
    const times = await cold(store, drop, length(20, 5, 3))
    report.add('trace_cold_p99', times.p99)
    shown('a trace by id, cold', times)
  }
}

async function http({ report, rounds, length, store }) {
  const seconds = length(5, 1, 1)
  const cannon = (options) =>
    autocannon({
      url: store.node.url('/'),
      connections: CONNECTIONS,
      duration: seconds,
      ...options,
    })
  const row = (what, result) => {
    if (result.non2xx + result.errors > 0) throw new Error(`${what}: not every answer was good`)
    return {
      what,
      requests_per_second: Math.round(result.requests.average),
      p50_ms: result.latency.p50,
      p99_ms: result.latency.p99,
    }
  }
  const traces = store.askedIds(HTTP_IDS).map((id) => ({ path: `/api/v1/traces/${id}` }))
  const rows = []
  // Once for each connection to have had every trace.
  await cannon({ requests: traces, amount: CONNECTIONS * traces.length })
  for (let turn = 0; turn < rounds; turn++) {
    const result = await cannon({ requests: traces })
    rows.push(row('one trace by id', result))
    report.add('trace_queries_per_second', result.requests.average)
  }
  const select = {
    path: '/api/v1/sql',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: 'SELECT 1 AS one', format: 'json' }),
  }
  rows.push(row('SELECT 1', await cannon({ requests: [select] })))
  rows.push(row('/health', await cannon({ requests: [{ path: '/health' }] })))
  return rows
}
