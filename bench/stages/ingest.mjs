/**
 * One run end to end: OTLP in, durable, flushed and committed; the processor seconds of all of
 * it, and of the compaction afterwards. The server has one core and the client the other.
 */

import { JOBS_WHEN_TOLD, load, Node } from '../node.mjs'
import { round } from '../numbers.mjs'
import { CLIENT } from '../server.mjs'

/** The event loop's delay is sampled by a timer of this period, which is in the figure. */
const SAMPLING_MS = 10

/**
 * @param {object} shape what to send: `transport`, `records` a request, `seconds`, and `signal`
 *   with its `table`
 * @param {(node: Node, row: object) => Promise<number>} [then] goes on with the node, whose records
 *   are committed and compacted by now; gives how many more were acknowledged
 */
export async function ingest(
  { transport, records, seconds, signal = 'traces', table = 'spans' },
  then,
) {
  const node = await Node.start({ args: JOBS_WHEN_TOLD })
  try {
    const address = transport === 'grpc' ? node.addresses.otlpGrpc : node.addresses.otlpHttp
    const to = [`--${transport}`, address, '--signal', signal, '--records', records]
    // HTTP/1.1 carries one request at a time on a connection.
    const connections = transport === 'grpc' ? 1 : 8
    const shape = [...to, '--in-flight', 8, '--connections', connections]
    const warm = await load(CLIENT, [...shape, '--seconds', Math.min(2, seconds), '--seed', 7])
    await node.flushed()
    const cpuBefore = node.cpuSeconds()
    // The first look after the load has the delays of just that time.
    await node.metrics()
    const began = performance.now()
    const report = await load(CLIENT, [...shape, '--seconds', seconds])
    const delay = (await node.metric('nodejs_eventloop_lag_p99_seconds')) * 1000
    await node.flushed()
    const committed = (performance.now() - began) / 1000
    const cpu = node.cpuSeconds() - cpuBefore
    let expected = warm.records_acknowledged + report.records_acknowledged
    await node.expect(expected, table)
    const beforeMerging = node.cpuSeconds()
    await node.job('compact')
    const merging = node.cpuSeconds() - beforeMerging
    await node.expect(expected, table)
    const peak = node.peakMegabytes()
    const merged = await node.metrics()
    const rows = merged.get(`otlake_table_rows{table="${table}"}`)
    const row = {
      signal,
      transport,
      records_per_request: records,
      bytes_per_record: report.bytes_per_record,
      records_per_second: Math.round(report.records_per_second),
      // Until the last of them was in a committed file: what the node keeps up with.
      committed_per_second: Math.round(report.records_acknowledged / committed),
      cpu_seconds_per_million: round((cpu / report.records_acknowledged) * 1e6, 3),
      compaction_cpu_seconds_per_million: round((merging / rows) * 1e6, 3),
      ack_p50_ms: round(report.p50_ms),
      ack_p99_ms: round(report.p99_ms),
      refused: report.requests_refused,
      disk_bytes_per_record: round(
        merged.get(`otlake_table_size_bytes{table="${table}"}`) / rows,
        1,
      ),
      event_loop_p99_ms: round(Math.max(0, delay - SAMPLING_MS)),
      peak_rss_mb: peak,
    }
    if (then !== undefined) {
      expected += await then(node, row)
      await node.expect(expected, table)
    }
    return row
  } finally {
    await node.remove()
  }
}

/** Records that a second of one core stores, compaction counted. */
export function perCpuSecond(row) {
  return 1e6 / (row.cpu_seconds_per_million + row.compaction_cpu_seconds_per_million)
}
