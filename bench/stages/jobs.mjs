/**
 * What compaction costs those who send: at a steady rate, acknowledgements with no job running
 * beside those with one running all the time, in turns on one node. Both share one core.
 */

import { load, Node } from '../node.mjs'
import { median, round } from '../numbers.mjs'
import { CLIENT } from '../server.mjs'

const RATE = 150_000

export async function jobs({ report, rounds, length }) {
  const seconds = length(8, 3, 1)
  const node = await Node.start({
    // Small files, many of them, and none merged but when told.
    args: ['--set', 'jobs.schedule=off', '--set', 'flush.interval_ms=250'],
  })
  try {
    let seed = 1
    let expected = 0
    const send = async (into) => {
      const sent = await load(CLIENT, [
        ...['--grpc', node.addresses.otlpGrpc, '--rate', RATE],
        ...['--seconds', seconds, '--seed', seed++],
      ])
      expected += sent.records_acknowledged
      into?.push(sent)
    }
    await send()
    const without = []
    const beside = []
    for (let turn = 0; turn < rounds; turn++) {
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
    await node.expect(expected)
    const metrics = await node.metrics()
    const shown = (what, reports) => ({
      what,
      records_per_second: Math.round(median(reports.map((one) => one.records_per_second))),
      ack_p50_ms: round(median(reports.map((one) => one.p50_ms))),
      ack_p99_ms: round(median(reports.map((one) => one.p99_ms))),
      ack_max_ms: round(Math.max(...reports.map((one) => one.max_ms))),
    })
    report.show('Acknowledgements at 150,000 spans/s, compaction and server on one core', [
      shown('no job', without),
      {
        ...shown('compaction all the time', beside),
        files_merged: metrics.get('otlake_compacted_files_in_total{table="spans"}') ?? 0,
        megabytes_merged: Math.round(
          (metrics.get('otlake_compacted_in_bytes_total{table="spans"}') ?? 0) / 1e6,
        ),
      },
    ])
  } finally {
    await node.remove()
  }
}
