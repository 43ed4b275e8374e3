/**
 * What compaction costs those who send: at a steady rate, acknowledgements with no job running
 * beside those with one running all the time, in turns on one node. Both share one core.
 */

import { load, Node, percentile, round } from '../node.mjs'

export async function jobs({ rate, rounds, seconds }) {
  const node = await Node.start({
    server: '0',
    // Small files, many of them, and none merged but when told.
    args: ['--set', 'jobs.schedule=off', '--set', 'flush.interval_ms=250'],
  })
  try {
    let seed = 1
    let expected = 0
    const send = async (into) => {
      const report = await load('1', [
        ...['--grpc', node.addresses.otlpGrpc, '--rate', rate],
        ...['--seconds', seconds, '--seed', seed++],
      ])
      expected += report.records_acknowledged
      into?.push(report)
    }
    await send()
    const without = []
    const beside = []
    for (let round = 0; round < rounds; round++) {
      await send(without)
      let done = false
      const job = (async () => {
        while (!done) await node.job('compact')
      })()
      await send(beside)
      done = true
      await job
    }
    await node.flushed()
    const counted = await node.count('spans')
    if (counted !== expected) {
      throw new Error(`acknowledged ${expected} records, SQL counts ${counted}`)
    }
    const metrics = await node.metrics()
    const shown = (what, reports) => ({
      what,
      records_per_second: Math.round(
        reports.reduce((sum, { records_per_second: rate }) => sum + rate, 0) / reports.length,
      ),
      ack_p50_ms: round(
        percentile(
          reports.map((report) => report.p50_ms),
          0.5,
        ),
      ),
      ack_p99_ms: round(
        percentile(
          reports.map((report) => report.p99_ms),
          0.5,
        ),
      ),
      ack_max_ms: round(Math.max(...reports.map((report) => report.max_ms))),
    })
    return {
      rounds: [shown('no job', without), shown('compaction all the time', beside)],
      files_merged: metrics.get('otlake_compacted_files_in_total{table="spans"}') ?? 0,
      megabytes_merged: Math.round(
        (metrics.get('otlake_compacted_in_bytes_total{table="spans"}') ?? 0) / 1e6,
      ),
    }
  } finally {
    await node.remove()
  }
}
