/**
 * What deriving series of spans costs: a node without, one with calls and durations, and one with
 * the service graph, too, in turns, several rounds of the same load. Every round has a new folder.
 * The server has one core and the client the other; processor time counts until all is committed.
 */

import { load, Node } from '../node.mjs'
import { median, round } from '../numbers.mjs'
import { CLIENT } from '../server.mjs'

const set = (...names) => names.flatMap((name) => ['--set', `derive.${name}=true`])
const NODES = {
  nothing: [],
  span_metrics: set('span_metrics'),
  'span_metrics, service_graph': set('span_metrics', 'service_graph'),
}
const names = Object.keys(NODES)

/** One round of one node: processor seconds a million spans, and what was derived. */
async function measure(name, seconds, seed) {
  const node = await Node.start({ args: NODES[name] })
  try {
    const to = ['--grpc', node.addresses.otlpGrpc, '--records', 1000, '--in-flight', 8]
    const warm = await load(CLIENT, [...to, '--seconds', 1, '--seed', seed + 1])
    await node.flushed()
    const before = node.cpuSeconds()
    const report = await load(CLIENT, [...to, '--seconds', seconds, '--seed', seed])
    await node.flushed()
    const cpu = node.cpuSeconds() - before
    const acknowledged = warm.records_acknowledged + report.records_acknowledged
    await node.expect(acknowledged)
    const [{ n }] = await node.sql(
      `SELECT coalesce(sum(value_int), 0) AS n FROM metrics_sum
       WHERE name = 'traces_spanmetrics_calls_total'`,
    )
    if (Number(n) !== (name === 'nothing' ? 0 : acknowledged)) {
      throw new Error(`${acknowledged} spans were acknowledged, derived series count ${n}`)
    }
    return {
      ...report,
      cpu: (cpu / report.records_acknowledged) * 1e6,
      points: (await node.count('metrics_sum')) + (await node.count('metrics_histogram')),
      acknowledged,
    }
  } finally {
    await node.remove()
  }
}

export async function derive({ report, rounds, length }) {
  const seconds = length(8, 3, 1)
  const reports = Object.fromEntries(names.map((name) => [name, []]))
  for (let turn = 0; turn < rounds; turn++) {
    // The other way round each time, so that none always comes last.
    for (const name of turn % 2 === 0 ? names : names.toReversed()) {
      reports[name].push(await measure(name, seconds, 1 + 2 * turn))
    }
  }
  const rows = names.map((name) => {
    const middle = (of, digits) => round(median(reports[name].map(of)), digits)
    const per = (of) => (one) => (one[of] / one.acknowledged) * 1e6
    return {
      derived: name,
      cpu_seconds_per_million: middle((one) => one.cpu),
      records_per_second: middle((one) => one.records_per_second, 0),
      derived_points_per_million: middle(per('points'), 0),
      ack_p50_ms: middle((one) => one.p50_ms),
      ack_p99_ms: middle((one) => one.p99_ms),
    }
  })
  report.show('Deriving series of spans, in turns, server on one core, medians', rows)
}
