/**
 * One core: spans at full load, then at half of it with a probe beside; log records and data
 * points at full load. All three in each round, so that what they are compared with is near.
 */

import { load } from '../node.mjs'
import { percentile, round } from '../numbers.mjs'
import { probe } from '../probe.mjs'
import { CLIENT } from '../server.mjs'
import { ingest, perCpuSecond } from './ingest.mjs'

const SPANS = { transport: 'grpc', records: 1000 }
const LOGS = { transport: 'grpc', records: 1000, signal: 'logs', table: 'logs' }
const POINTS = { transport: 'grpc', records: 1000, signal: 'metrics', table: 'metrics_sum' }

export async function core({ report, rounds, length }) {
  const rows = []
  const halves = []
  for (let turn = 0; turn < rounds; turn++) {
    const spans = await ingest({ ...SPANS, seconds: length(15, 2.5, 1) }, async (node, row) => {
      const half = await halfLoad(node, row.committed_per_second / 2, {
        seconds: length(15, 3, 1),
        seed: 1000 + turn,
      })
      halves.push(half.row)
      for (const [id, value] of Object.entries(half.figures)) report.add(id, value)
      return half.acknowledged
    })
    const merged = spans.cpu_seconds_per_million + spans.compaction_cpu_seconds_per_million
    report.add('cpu_per_million', merged)
    report.add('core_spans_per_second', spans.committed_per_second)
    report.add('bytes_per_span', spans.disk_bytes_per_record)
    report.add('peak_rss', spans.peak_rss_mb)
    report.add('event_loop_p99', spans.event_loop_p99_ms)
    const logs = await ingest({ ...LOGS, seconds: length(10, 1.5, 1) })
    report.add('logs_per_cpu_second', perCpuSecond(logs), perCpuSecond(spans))
    const points = await ingest({ ...POINTS, seconds: length(10, 1.5, 1) })
    report.add('points_per_cpu_second', perCpuSecond(points), perCpuSecond(spans))
    rows.push(spans, logs, points)
  }
  report.show('OTLP/gRPC to durable, committed and compacted, server on one core', rows)
  report.show('Spans at half of full load, with a probe beside', halves)
}

/** Paced spans, and a probe that asks for its own among them. */
async function halfLoad(node, rate, { seconds, seed }) {
  const pace = ['--rate', Math.round(rate), '--seconds', seconds, '--seed', seed]
  const [sent, probed] = await Promise.all([
    load(CLIENT, ['--grpc', node.addresses.otlpGrpc, ...pace]),
    probe(node.addresses, seconds),
  ])
  const answers = [...probed.sql.acknowledged_ms, ...probed.trace.acknowledged_ms]
  const figures = {
    ack_half_p50: sent.p50_ms,
    ack_half_p99: sent.p99_ms,
    unseen_at_strong: probed.sql.missed + probed.trace.missed,
    visible_p50: percentile(answers, 0.5),
    visible_p99: percentile(answers, 0.99),
    queryable_sql_p95: percentile(probed.sql.sent_ms, 0.95),
    queryable_trace_p95: percentile(probed.trace.sent_ms, 0.95),
  }
  if (figures.unseen_at_strong > 0) {
    throw new Error('a span that was acknowledged was missing from a strong query begun after it')
  }
  const shown = Object.entries(figures).map(([id, value]) => [id, round(value)])
  const row = {
    wanted_per_second: Math.round(rate),
    sent_per_second: Math.round(sent.records_per_second),
    refused: sent.requests_refused,
    probes: answers.length,
    ...Object.fromEntries(shown),
  }
  return { figures, row, acknowledged: sent.records_acknowledged + probed.spans }
}
