/**
 * End to end: OTLP in, durable, flushed and committed; the processor seconds of all of it, and of
 * the compaction afterwards.
 * The server has one core and the client the other.
 */

import { load, Node, round } from '../node.mjs'

/** The event loop's delay is sampled by a timer of this period, which is in the figure. */
const SAMPLING_MS = 10

export async function ingest({ transport, records, seconds, signal = 'traces', table = 'spans' }) {
  const node = await Node.start({ server: '0' })
  try {
    const address = transport === 'grpc' ? node.addresses.otlpGrpc : node.addresses.otlpHttp
    const to = [`--${transport}`, address, '--signal', signal, '--records', records]
    // HTTP/1.1 carries one request at a time on a connection.
    const connections = transport === 'grpc' ? 1 : 8
    const shape = [...to, '--in-flight', 8, '--connections', connections]
    const warm = await load('1', [...shape, '--seconds', 2, '--seed', 7])
    await node.flushed()
    const cpuBefore = node.cpuSeconds()
    // The first look after the load has the delays of just that time.
    await node.metrics()
    const report = await load('1', [...shape, '--seconds', seconds])
    const delay = (await node.metric('nodejs_eventloop_lag_p99_seconds')) * 1000
    await node.flushed()
    const cpu = node.cpuSeconds() - cpuBefore
    const metrics = await node.metrics()
    const rows = metrics.get(`otlake_table_rows{table="${table}"}`)
    const expected = warm.records_acknowledged + report.records_acknowledged
    const counted = await node.count(table)
    if (counted !== expected) {
      throw new Error(`acknowledged ${expected} records, SQL counts ${counted}`)
    }
    const beforeMerging = node.cpuSeconds()
    await node.job('compact')
    const merging = node.cpuSeconds() - beforeMerging
    if ((await node.count(table)) !== expected) throw new Error('compaction changed the count')
    const merged = await node.metrics()
    return {
      signal,
      transport,
      records_per_request: records,
      bytes_per_record: report.bytes_per_record,
      records_per_second: Math.round(report.records_per_second),
      cpu_seconds_per_million: round((cpu / report.records_acknowledged) * 1e6),
      compaction_cpu_seconds_per_million: round((merging / rows) * 1e6),
      ack_p50_ms: round(report.p50_ms),
      ack_p99_ms: round(report.p99_ms),
      refused: report.requests_refused,
      disk_bytes_per_record: round(
        merged.get(`otlake_table_size_bytes{table="${table}"}`) / rows,
        1,
      ),
      event_loop_p99_ms: round(Math.max(0, delay - SAMPLING_MS)),
      peak_rss_mb: node.peakMegabytes(),
    }
  } finally {
    await node.remove()
  }
}
