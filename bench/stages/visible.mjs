/** Freshness of an idle node: the same probe as at half load, with nothing beside it. */

import { Node } from '../node.mjs'
import { percentile, round } from '../numbers.mjs'
import { probe } from '../probe.mjs'

export async function visible({ report, length }) {
  const node = await Node.start()
  try {
    const probed = await probe(node.addresses, length(10, 2, 1))
    await node.expect(probed.spans)
    const row = (what, { sent_ms: sent, acknowledged_ms: acknowledged, missed }) => ({
      what,
      probes: sent.length,
      missed_by_the_first_query: missed,
      acknowledged_to_answer_p50_ms: round(percentile(acknowledged, 0.5)),
      acknowledged_to_answer_p99_ms: round(percentile(acknowledged, 0.99)),
      sent_to_answer_p95_ms: round(percentile(sent, 0.95)),
    })
    const rows = [row('SQL', probed.sql), row('trace by id', probed.trace)]
    if (rows.some((one) => one.missed_by_the_first_query > 0)) {
      throw new Error('a span that was acknowledged was missing from a query begun after it')
    }
    report.show('Freshness of an idle node, at `strong`', rows)
  } finally {
    await node.remove()
  }
}
