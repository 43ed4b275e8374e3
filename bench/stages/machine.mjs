/** The whole machine: every processor for the node, and the client among them. */

import { JOBS_WHEN_TOLD, load, Node } from '../node.mjs'
import { ALL } from '../server.mjs'

export async function wholeMachine({ report, rounds, length }) {
  const rows = []
  for (let turn = 0; turn < rounds; turn++) {
    const node = await Node.start({ server: ALL, args: JOBS_WHEN_TOLD })
    try {
      const to = ['--grpc', node.addresses.otlpGrpc, '--in-flight', 16]
      const warm = await load(ALL, [...to, '--seconds', 1, '--seed', 7])
      await node.flushed()
      const began = performance.now()
      const sent = await load(ALL, [...to, '--seconds', length(15, 2, 1)])
      await node.flushed()
      const committed = (sent.records_acknowledged / (performance.now() - began)) * 1000
      await node.expect(warm.records_acknowledged + sent.records_acknowledged)
      report.add('machine_spans_per_second', sent.records_per_second)
      rows.push({
        acknowledged_per_second: Math.round(sent.records_per_second),
        committed_per_second: Math.round(committed),
        peak_rss_mb: node.peakMegabytes(),
      })
    } finally {
      await node.remove()
    }
  }
  report.show('Spans on the whole machine, the load client included', rows)
}
