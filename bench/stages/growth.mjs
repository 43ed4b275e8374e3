/**
 * Growth: what a span costs and how long questions take while the store grows to `--spans`, the
 * node on one core. At each level the same amount is sent several times and compacted.
 */

import { write } from '../chart.mjs'
import { median, round } from '../numbers.mjs'
import { CLIENT, SERVER } from '../server.mjs'
import { Store } from '../store.mjs'
import { warm } from './by-id.mjs'
import { GROUP_BY, timed } from './group-by.mjs'

const FIRST = 1_000_000
/** Flat: at the most so many times the first. */
const FLAT = 1.1

/** 1, 3, 10, 30 and so on, up to `spans`, which is the last. */
export function levels(spans, first = FIRST) {
  const found = []
  for (let power = first; power < spans; power *= 10) {
    found.push(...[power, 3 * power].filter((level) => level < spans))
  }
  return [...found, spans]
}

export async function growth({ report, rounds, length, spans, data }) {
  const { revision } = report.head
  const store = await Store.open({ server: SERVER, client: CLIENT, folder: data })
  try {
    for (const level of levels(spans, length(FIRST, 200_000, 50_000))) {
      // A store that was kept is past its first levels.
      if (store.spans > level) continue
      await store.grow(level)
      const row = { revision, ...(await measure(store, { rounds, length })) }
      store.levels.push(row)
      const { spans: stored, files, cpu_seconds_per_million: cpu } = row
      console.log(`${stored} spans in ${files} files: ${cpu} CPU-s per million`)
    }
    await store.node.expect(store.spans)
  } finally {
    await store.close()
  }
  // What an earlier run of the same code measured of the same store counts with this one's.
  const rows = store.levels.filter((row) => row.revision === revision)
  report.show('Growth, server on one core', rows)
  if (rows.length < 2) return
  judge(report, rows)
  for (const file of plots(revision, rows)) console.log(`plotted to ${file}`)
}

async function measure(store, { rounds, length }) {
  const spans = store.spans
  const merged = await questions(store, { rounds, length })
  const costs = []
  for (let turn = 0; turn < rounds; turn++) {
    const before = store.node.cpuSeconds()
    const sent = await store.send(length(500_000, 100_000, 20_000))
    costs.push(((store.node.cpuSeconds() - before) / sent.records_acknowledged) * 1e6)
  }
  // The same store in more files.
  const unmerged = await questions(store, { rounds, length })
  const before = store.node.cpuSeconds()
  await store.node.job('compact')
  const merging = ((store.node.cpuSeconds() - before) / (store.spans - spans)) * 1e6
  await store.node.job('vacuum')
  await store.node.expect(store.spans)
  return {
    spans,
    cpu_seconds_per_million: round(median(costs), 3),
    cpu_min: round(Math.min(...costs), 3),
    cpu_max: round(Math.max(...costs), 3),
    compaction_cpu_seconds_per_million: round(merging, 3),
    ...merged,
    ...Object.fromEntries(
      Object.entries(unmerged).map(([name, value]) => [`before_compaction_${name}`, value]),
    ),
  }
}

async function questions(store, { rounds, length }) {
  const { fresh } = await warm(store, length(200, 20, 10))
  const grouped = []
  for (let turn = 0; turn < rounds; turn++) {
    grouped.push((await timed(() => store.node.sql(GROUP_BY))).ms)
  }
  return {
    files: await store.node.files(),
    trace_p50_ms: round(fresh.p50),
    trace_p99_ms: round(fresh.p99),
    group_by_p50_ms: round(median(grouped)),
  }
}

/** Each point of [files, value], compacted or not, by the number of files. */
const byFiles = (rows, name) =>
  rows
    .flatMap((row) => [
      [row.files, row[name]],
      [row.before_compaction_files, row[`before_compaction_${name}`]],
    ])
    .sort(([a], [b]) => a - b)

/** Whether ingest and lookups are as dear as they were: the dearest against the first. */
function judge(report, rows) {
  for (const [id, what, values] of [
    [
      'growth_cost',
      'CPU per span against spans stored',
      rows.map((row) => row.cpu_seconds_per_million + row.compaction_cpu_seconds_per_million),
    ],
    [
      'growth_trace',
      'trace by id against number of files',
      byFiles(rows, 'trace_p50_ms').map(([, value]) => value),
    ],
  ]) {
    const worst = Math.max(...values) / values[0]
    report.add(id, worst)
    const verdict = worst <= FLAT ? 'flat within 10%' : 'not flat within 10%'
    console.log(`${what}: ${verdict} (the dearest is ${round(worst)} times the first)`)
  }
}

function plots(revision, rows) {
  const over = (name) => rows.map((row) => [row.spans, row[name]])
  const files = (name) => [
    { name: 'compacted', points: rows.map((row) => [row.files, row[name]]) },
    {
      name: 'before compaction',
      points: rows.map((row) => [row.before_compaction_files, row[`before_compaction_${name}`]]),
    },
  ]
  return [
    write('growth-cost', {
      title: `CPU-seconds per million spans against spans stored (${revision})`,
      x: { label: 'spans stored', log: true },
      y: { label: 'CPU-s per million' },
      series: [
        { name: 'ingest', points: over('cpu_seconds_per_million') },
        { name: 'compaction', points: over('compaction_cpu_seconds_per_million') },
      ],
    }),
    write('growth-trace', {
      title: `Trace by id, p50, against number of files (${revision})`,
      x: { label: 'files' },
      y: { label: 'ms' },
      series: files('trace_p50_ms'),
    }),
    write('growth-group-by', {
      title: `Group-by over all spans, p50, against number of files (${revision})`,
      x: { label: 'files' },
      y: { label: 'ms' },
      series: files('group_by_p50_ms'),
    }),
  ]
}
