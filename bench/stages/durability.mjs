/**
 * What `fsync` costs beside `relaxed`: a node of each mode, in turns, several rounds of the same
 * load. Every round has a new folder. The server has one core and the client the other.
 */

import { load, Node } from '../node.mjs'
import { median, round } from '../numbers.mjs'
import { CLIENT } from '../server.mjs'

const MODES = ['fsync', 'relaxed']

/** One round of one mode: what was acknowledged, how fast, and the processor seconds of it all. */
async function measure(mode, { records, inFlight, seconds, seed }) {
  const node = await Node.start({ args: ['--durability', mode] })
  try {
    const to = ['--grpc', node.addresses.otlpGrpc, '--records', records, '--in-flight', inFlight]
    const warm = await load(CLIENT, [...to, '--seconds', 1, '--seed', seed + 1])
    await node.flushed()
    const before = node.cpuSeconds()
    const report = await load(CLIENT, [...to, '--seconds', seconds, '--seed', seed])
    await node.flushed()
    const cpu = node.cpuSeconds() - before
    await node.expect(warm.records_acknowledged + report.records_acknowledged)
    return { ...report, cpu: (cpu / report.records_acknowledged) * 1e6 }
  } finally {
    await node.remove()
  }
}

export async function durability({ report, rounds, length }) {
  const seconds = length(8, 3, 1)
  const shapes = [
    // A node at its limit, and one client that waits for each acknowledgement.
    { records: 1000, inFlight: 8 },
    { records: 100, inFlight: 1 },
  ]
  const rows = []
  for (const shape of shapes) {
    const reports = { fsync: [], relaxed: [] }
    for (let turn = 0; turn < rounds; turn++) {
      // The other way round each time, so that neither mode always comes second.
      for (const mode of turn % 2 === 0 ? MODES : MODES.toReversed()) {
        reports[mode].push(await measure(mode, { ...shape, seconds, seed: 1 + 2 * turn }))
      }
    }
    for (const mode of MODES) {
      const middle = (name, digits) => round(median(reports[mode].map((one) => one[name])), digits)
      rows.push({
        durability: mode,
        records_per_request: shape.records,
        in_flight: shape.inFlight,
        records_per_second: middle('records_per_second', 0),
        cpu_seconds_per_million: middle('cpu'),
        ack_p50_ms: middle('p50_ms'),
        ack_p99_ms: middle('p99_ms'),
      })
    }
  }
  report.show('Both durability modes in turns, server on one core, medians', rows)
}
