/**
 * Questions over the Tempo API about an hour of a shop's traces, warm and cold, every answer checked: by
 * service and duration, attribute, structure, rate, values of tags, and a trace by its id.
 *
 * Cold: before each question the node is started anew, with nothing of its files in the page cache.
 */

import { percentile, round } from '../numbers.mjs'
import { cannons, checkWhole, lookUp } from '../search/by-id.mjs'
import { Hour } from '../search/hour.mjs'
import { questionsOf, spread } from '../search/questions.mjs'
import { dropping } from './by-id.mjs'

/**
 * What peers took, p50 / p99 in ms, measured once on a machine of this kind with both cores and their defaults,
 * after 3 million spans (Jaeger: 0.65 million): Tempo 3.0.3, Jaeger 2.20 with badger, VictoriaTraces of July
 * 2025. From the project's notes on peers, PEERS.md; they were not asked here.
 */
export const PEERS = {
  source: 'PEERS.md, 3 M spans (Jaeger 0.65 M), p50 / p99 ms',
  search: { Tempo: [167, 306], Jaeger: [67, 146], VictoriaTraces: [101, 218] },
  trace: { Tempo: [65, 137], Jaeger: [3.8, 12.5], VictoriaTraces: [18, 51] },
}
/** Their queries a second by id, four clients. */
const PEERS_BY_ID = 'PEERS.md, four clients: Jaeger 542/s, VictoriaTraces 68/s, Tempo 19/s'
const WARM_UP = 3
/** Traces by id are asked for so many times as often: they are quick. */
const MORE_TRACES = 5

const shares = (waited) => ({
  p50: round(percentile(waited, 0.5)),
  p99: round(percentile(waited, 0.99)),
})
const inWords = (peers) =>
  Object.entries(peers ?? {})
    .map(([name, figures]) => `${name} ${figures.join(' / ')}`)
    .join(', ')

/** @param {{ warm?: number, cold?: number }} options runs of each question; by default by the mode */
export async function search({ report, length, spans, data, warm, cold }) {
  const runs = { warm: warm ?? length(100, 30, 3), cold: cold ?? length(10, 3, 0) }
  const hour = await Hour.open({ spans, folder: data })
  try {
    const over = { spans: hour.spans, files: await hour.node.files() }
    const questions = await questionsOf(hour)
    questions.push(byId(hour, MORE_TRACES * runs.warm))
    const rows = []
    for (const question of questions) {
      const waited = await times(hour, question, runs.warm * (question.more ?? 1))
      rows.push({ question: question.name, ...over, warm: shares(waited), waited })
      console.log(`${question.name}: warm ${JSON.stringify(rows.at(-1).warm)}`)
    }
    const how = await measureCold(hour, questions, rows, runs.cold)
    report.show(`Search, all processors, cold: ${how}`, rows.map(shown(questions)))
    const { rows: byIds, fresh, again } = await cannons(hour.node, hour.fresh, length(5, 2, 1))
    report.show(`Traces by id over HTTP, 16 connections (${PEERS_BY_ID})`, byIds)
    report.add('tempo_trace_first_per_second', fresh)
    report.add('tempo_trace_per_second', again)
    const [many] = rows
    report.add(
      'search_p50',
      many.warm.p50,
      PEERS.search.Jaeger[0],
      'Jaeger, 0.65 M spans (PEERS.md)',
    )
    await checkWhole(hour.node, spread(hour.traces, length(200, 100, 20)))
    await hour.node.expect(hour.spans)
  } finally {
    await hour.close()
  }
}

/** Traces that no question has had; where there are fewer than runs, it begins again. */
function byId({ fresh }, number) {
  const known = spread(fresh, number)
  return {
    name: 'trace by id, not asked for before',
    peers: 'trace',
    more: MORE_TRACES,
    variants: known.map((trace) => ({ trace })),
  }
}

/** Milliseconds of each run, the variants in turns. Every answer is checked, while nothing is timed. */
async function times(hour, { name, variants, more }, runs) {
  const waited = []
  // A trace that was asked for is another question: none of those to come is used up.
  for (let run = more ? 0 : -WARM_UP; run < runs; run++) {
    const took = await ask(hour, variants.at(run % variants.length), name)
    if (run >= 0) waited.push(took)
  }
  return waited
}

async function ask(hour, { path, check, trace }, name) {
  if (trace) return lookUp(hour, trace)
  const began = performance.now()
  const { status, text } = await hour.node.ask(path)
  const took = performance.now() - began
  if (status !== 200) throw new Error(`${name}: ${status}: ${text}`)
  await check(JSON.parse(text))
  return took
}

/** Adds `cold` to the rows; how the page cache was emptied, or why not. */
async function measureCold(hour, questions, rows, runs) {
  if (runs === 0) return 'not measured'
  const dropped = dropping(hour.node.dataDir)
  if (dropped === null) return 'skipped, because nobody here can empty the page cache'
  for (const [at, { name, variants }] of questions.entries()) {
    const waited = []
    for (let run = 0; run < runs; run++) {
      await hour.restart(dropped.drop)
      waited.push(await ask(hour, variants[run % variants.length], name))
    }
    rows[at].cold = shares(waited)
    console.log(`${name}: cold ${JSON.stringify(rows[at].cold)}`)
  }
  return `the node started anew, ${dropped.how}, before each of ${runs} runs`
}

const shown =
  (questions) =>
  ({ question, spans, files, warm, cold, waited }, at) => ({
    question,
    spans,
    files,
    runs: waited.length,
    warm_p50_ms: warm.p50,
    warm_p99_ms: warm.p99,
    cold_p50_ms: cold?.p50 ?? '',
    cold_p99_ms: cold?.p99 ?? '',
    [PEERS.source]: inWords(PEERS[questions[at].peers]),
  })
