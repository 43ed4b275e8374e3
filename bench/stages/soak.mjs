/**
 * Soak: for `--minutes`, what keeps the node's core busy for 80% of the time while it is asked, with its jobs as
 * they are by default. Samples memory, files, acknowledgements and questions; the last third has to be
 * where the first was.
 */

import { statfsSync } from 'node:fs'
import { write } from '../chart.mjs'
import { load, Node } from '../node.mjs'
import { median, round } from '../numbers.mjs'
import { pace } from '../pace.mjs'
import { CLIENT } from '../server.mjs'
import { lookUp } from './by-id.mjs'

/** How busy the core is kept. A shared machine is now faster, now slower: so the pace follows. */
const SHARE = 0.8
/** Of full load, to begin with. */
const FIRST_SHARE = 0.6
/** By how much the pace changes at most from one sample to the next. */
const MOST_STEP = 1.1
const SAMPLE_S = 10
/** Traces that are asked for in a sample. */
const TRACES = 10
/** What a span takes on disk at the most, files that wait for their deletion counted. */
const DISK_BYTES = 40
/** Files that were merged go soon: half an hour of them beside what replaced them fills a disk. */
const SETTINGS = ['--set', 'jobs.vacuum_after_ms=60000']
/**
 * Over the last minute alone, so that the answer does not grow with the store, and once in a sample: at
 * 240,000 spans/s it reads 14 million rows, and ten of them take a third of the core that the load is
 * measured for.
 */
const RECENT = `SELECT service_name, count(*) AS n FROM spans
  WHERE start_time > now() - INTERVAL '1 minute' GROUP BY service_name`

export async function soak({ report, length, minutes }) {
  const node = await Node.start({ args: SETTINGS })
  const samples = []
  try {
    const slice = length(SAMPLE_S, 2, 1)
    const full = await load(CLIENT, [
      ...['--grpc', node.addresses.otlpGrpc],
      ...['--seconds', slice, '--seed', 1, '--trace-ids', TRACES],
    ])
    let expected = full.records_acknowledged
    let ids = full.trace_ids
    let rate = full.records_per_second * FIRST_SHARE
    const number = Math.max(6, Math.round((minutes * 60) / slice))
    // The first ten minutes find the pace and fill what is to keep its level: requests are known for as long.
    const filling = length(60, 1, 0)
    // Before it fills the disk that others need too, were the pace to come to full load.
    const needed = (filling + number) * slice * full.records_per_second * DISK_BYTES
    const { bavail, bsize } = statfsSync(node.dataDir)
    if (needed > bavail * bsize) {
      const [gigabytes, free] = [needed, bavail * bsize].map((bytes) => round(bytes / 1e9, 1))
      throw new Error(
        `the soak may take ${gigabytes} GB, ${free} are free: set TMPDIR or --minutes`,
      )
    }
    console.log(`${Math.round(rate)} spans/s at first, for ${round((number * slice) / 60)} minutes`)
    for (let index = 0; index < filling + number; index++) {
      const paced = { rate, slice, seed: index + 2, ids }
      const { sent, asked, busy } = await sendAndAsk(node, paced)
      expected += sent.records_acknowledged
      ids = sent.trace_ids
      rate *= Math.min(MOST_STEP, Math.max(1 / MOST_STEP, SHARE / busy))
      await node.expect(expected)
      if (index < filling) continue
      samples.push({
        second: (index + 1) * slice,
        busy: round(busy),
        per_second: Math.round(sent.records_per_second),
        refused: sent.requests_refused,
        rss_mb: node.residentMegabytes(),
        native_mb: await native(node, 'resident'),
        allocated_mb: await native(node, 'allocated'),
        files: await node.files(),
        ack_p50_ms: round(sent.p50_ms),
        ack_p99_ms: round(sent.p99_ms),
        ...asked,
      })
    }
    await node.flushed()
    await node.expect(expected)
  } finally {
    await node.remove()
  }
  report.show('Soak, server on one core', thirds(report, samples))
  report.stages['Soak, samples'] = samples
  for (const file of plots(report.head.revision, samples)) console.log(`plotted to ${file}`)
}

/** Sends at a pace for a slice of time and asks meanwhile; `ids` are of traces that were sent before. */
async function sendAndAsk(node, { rate, slice, seed, ids }) {
  const pace = ['--rate', Math.round(rate), '--seconds', slice, '--seed', seed]
  const cpuSeconds = node.cpuSeconds()
  const began = performance.now()
  const [sent, asked] = await Promise.all([
    load(CLIENT, ['--grpc', node.addresses.otlpGrpc, ...pace, '--trace-ids', TRACES]),
    questions(node, ids),
  ])
  const seconds = (performance.now() - began) / 1000
  return { sent, asked, busy: (node.cpuSeconds() - cpuSeconds) / seconds }
}

/** Traces of the sample before, their median; the last minute by SQL; and how fast the machine was beside. */
async function questions(node, ids) {
  const traces = []
  for (const id of ids) traces.push(await lookUp(node, id))
  const asked = performance.now()
  await node.sql(RECENT)
  const recent = performance.now() - asked
  return { trace_ms: round(median(traces)), recent_ms: round(recent), pace_ms: round(pace()) }
}

/** Memory of the native module, in megabytes. */
async function native(node, state) {
  return Math.round((await node.metric(`otlake_native_memory_bytes{state="${state}"}`)) / 2 ** 20)
}

/** The level of each third; the last over the first becomes a figure. */
function thirds(report, samples) {
  const size = Math.floor(samples.length / 3)
  const parts = [samples.slice(0, size), samples.slice(size, -size), samples.slice(-size)]
  const figures = {
    // Held where it is to be.
    busy: null,
    // The machine's own.
    pace_ms: null,
    per_second: 'soak_rate',
    rss_mb: 'soak_rss',
    native_mb: null,
    allocated_mb: null,
    files: 'soak_files',
    ack_p50_ms: 'soak_ack_p50',
    ack_p99_ms: 'soak_ack_p99',
    trace_ms: 'soak_trace',
    recent_ms: 'soak_recent',
  }
  return Object.entries(figures).map(([name, id]) => {
    const values = parts.map((part) => part.map((sample) => sample[name]))
    const [first, middle, last] = values.map(median)
    // A store that has no file yet in its first third has nothing to compare with.
    if (id !== null && first > 0) report.add(id, last / first)
    return { what: name, first, middle, last, max: Math.max(...values.flat()) }
  })
}

function plots(revision, samples) {
  const over = (name) => samples.map((sample) => [sample.second / 60, sample[name]])
  const minutes = { label: 'minutes' }
  return [
    ['rate', 'Spans acknowledged', 'spans/s', ['per_second']],
    ['rss', 'Resident memory', 'MB', ['rss_mb', 'native_mb', 'allocated_mb']],
    ['files', 'Files of the table', 'files', ['files']],
    ['ack', 'Acknowledgements', 'ms', ['ack_p50_ms', 'ack_p99_ms']],
    ['questions', 'Questions under load', 'ms', ['trace_ms', 'recent_ms']],
  ].map(([name, title, unit, columns]) =>
    write(`soak-${name}`, {
      title: `Soak, the core busy for 80%: ${title.toLowerCase()} (${revision})`,
      x: minutes,
      y: { label: unit },
      series: columns.map((column) => ({ name: column, points: over(column) })),
    }),
  )
}
