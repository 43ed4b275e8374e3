/** One trace by its id over the Tempo API, in protobuf as Grafana asks for it, and how many a second. */

import { setTimeout as sleep } from 'node:timers/promises'
import autocannon from 'autocannon'
import { round } from '../numbers.mjs'
import { same } from './hour.mjs'
import { spansOf } from './tree.mjs'

const CONNECTIONS = 16
const PROTOBUF = { accept: 'application/protobuf' }
const path = (id) => `/tempo/api/v2/traces/${id}`
/** So long is waited after a load for what it left behind. */
const CALM_MS = 500

/** Milliseconds of one answer. */
export async function lookUp(hour, { id }) {
  hour.asked.add(id)
  const began = performance.now()
  const { status, text } = await hour.node.ask(path(id), undefined, PROTOBUF)
  const waited = performance.now() - began
  if (status !== 200 || text.length === 0) throw new Error(`the trace ${id} was answered ${status}`)
  return waited
}

/** Every one of these traces is there whole, each span once. */
export async function checkWhole(node, traces) {
  for (const { id, spans } of traces) {
    const { text } = await node.ask(path(id))
    const ids = spansOf(JSON.parse(text).trace).map(({ spanId }) => spanId)
    same(`spans of ${id}`, [ids.length, new Set(ids).size], [spans, spans])
  }
}

/** Queries a second: each id once, then the same ids for some seconds. */
export async function cannons(node, traces, seconds) {
  const share = Math.floor(traces.length / CONNECTIONS)
  const rows = []
  const run = async (what, options) => {
    let connection = 0
    const result = await autocannon({
      url: node.url('/'),
      connections: CONNECTIONS,
      ...options,
      // Each connection has ids of its own.
      setupClient(client) {
        const mine = traces.slice(connection * share, ++connection * share)
        client.setRequests(mine.map(({ id }) => ({ path: path(id), headers: PROTOBUF })))
      },
    })
    if (result.non2xx + result.errors > 0) throw new Error(`${what}: not every answer was good`)
    rows.push({
      what,
      traces: share * CONNECTIONS,
      queries_per_second: Math.round(result.requests.total / result.duration),
      p50_ms: result.latency.p50,
      p99_ms: result.latency.p99,
    })
    await sleep(CALM_MS)
    return result.requests.total / result.duration
  }
  const fresh = await run('each trace once', { amount: share * CONNECTIONS })
  const again = await run('the same again', { duration: seconds })
  return { rows, fresh: round(fresh), again: round(again) }
}
