/** One trace by its id, without a time range: warm with ids that are new, again, and cold. */

import { execFileSync } from 'node:child_process'
import { accessSync, constants, writeFileSync } from 'node:fs'
import { percentile } from '../numbers.mjs'
import { TRACE_SPANS } from '../store.mjs'

const DROP_CACHES = '/proc/sys/vm/drop_caches'
/** Of Linux: the page cache alone, not names of files. */
const PAGE_CACHE = '1'

/** Asks for a trace and gives the milliseconds; an answer that is not whole fails. */
export async function lookUp(node, id) {
  const began = performance.now()
  const { status, text } = await node.ask(`/api/v1/traces/${id}`)
  const waited = performance.now() - began
  const spans = status === 200 ? spansOf(JSON.parse(text)) : 0
  if (spans !== TRACE_SPANS) {
    throw new Error(`the trace ${id} was answered ${status} with ${spans} of ${TRACE_SPANS} spans`)
  }
  return waited
}

async function times(node, ids, before = () => {}) {
  const waited = []
  for (const id of ids) {
    before()
    waited.push(await lookUp(node, id))
  }
  return waited
}

const spansOf = ({ resourceSpans }) =>
  resourceSpans
    .flatMap(({ scopeSpans }) => scopeSpans)
    .reduce((sum, { spans }) => sum + spans.length, 0)

export const shares = (waited) => ({ p50: percentile(waited, 0.5), p99: percentile(waited, 0.99) })

/** Traces that were not asked for before, and the same again. */
export async function warm(store, number) {
  // What the first question of all sets up is not what is measured.
  await times(store.node, store.freshIds(5))
  const ids = store.freshIds(number)
  return {
    fresh: shares(await times(store.node, ids)),
    again: shares(await times(store.node, ids)),
  }
}

/** An id that no span has. */
export async function absent(store, number) {
  const waited = []
  for (let index = 0; index < number; index++) {
    const id = index.toString(16).padStart(32, 'f')
    const began = performance.now()
    const { status } = await store.node.ask(`/api/v1/traces/${id}`)
    waited.push(performance.now() - began)
    if (status !== 404) throw new Error(`a trace that was never sent was answered ${status}`)
  }
  return shares(waited)
}

/** How the page cache is emptied here: of the machine, or of the store's files; null: not at all. */
export const dropper = (folder) => dropping(folder)?.drop ?? null

/** The same, and what it is in words. */
export function dropping(folder) {
  try {
    accessSync(DROP_CACHES, constants.W_OK)
    const drop = () => writeFileSync(DROP_CACHES, PAGE_CACHE)
    return { drop, how: `the machine's page cache dropped (${DROP_CACHES})` }
  } catch {
    // Not root.
  }
  const advice = ['-name', '*.parquet', '-exec', 'dd', 'if={}', 'iflag=nocache', 'count=0', ';']
  const drop = () => execFileSync('find', [folder, ...advice], { stdio: 'ignore' })
  try {
    drop()
    return { drop, how: "the store's files dropped from the page cache (dd iflag=nocache)" }
  } catch {
    return null
  }
}

/** A node that has just started, and nothing in the page cache before each question. */
export async function cold(store, drop, number) {
  execFileSync('sync')
  await store.restart(drop)
  return shares(await times(store.node, store.freshIds(number), drop))
}
