/** From acknowledgement to a strong query that sees it, under a light load. */

import { load, Node, percentile, round } from '../node.mjs'

export async function visible(rounds) {
  const node = await Node.start({ server: '0' })
  try {
    const waits = []
    let expected = 0
    for (let number = 0; number < rounds; number++) {
      const report = await load('1', [
        '--grpc',
        node.addresses.otlpGrpc,
        '--requests',
        1,
        '--records',
        1000,
        '--in-flight',
        1,
        '--seed',
        number + 1,
      ])
      expected += report.records_acknowledged
      const began = performance.now()
      let queries = 1
      while ((await node.count('spans')) < expected) queries++
      waits.push(performance.now() - began)
      if (queries !== 1) throw new Error('an acknowledged span was not visible to the first query')
    }
    return { rounds, p50_ms: round(percentile(waits, 0.5)), p99_ms: round(percentile(waits, 0.99)) }
  } finally {
    await node.remove()
  }
}
