/** Running a statement: its rows as they come, how far it is, and a way to stop it. */

import { batches } from '../../api/arrow'
import { isAbort } from '../../api/http'
import type { Statement } from '../../api/sql'
import { follow, type Progress, queryId } from '../../api/under-way'
import { every, now } from '../../state/clock'
import { ResultRows } from './cells'

/** What the page holds of a result; a download has all of it. */
export const MOST_ROWS = 500_000
const MOST_BYTES = 256 * 1024 * 1024
/** How often it is told how far a query is. */
const TOLD_MS = 100

export interface Run {
  state: 'running' | 'done' | 'cancelled' | 'cut' | 'failed'
  rows: ResultRows
  /** Rows that are there: `rows` grows, and this tells that it did. */
  count: number
  bytes: number
  elapsedMs: number
  /** What the node said last; null before that, which is all there is of a quick query. */
  progress: Progress | null
  error?: Error
}

/** Runs a statement, and tells how far it is until it ends. */
export async function runStatement(
  statement: Statement,
  controller: AbortController,
  tell: (run: Run) => void,
): Promise<void> {
  const rows = new ResultRows()
  const began = now()
  const run: Run = { state: 'running', rows, count: 0, bytes: 0, elapsedMs: 0, progress: null }
  const id = queryId()
  const told = (changes: Partial<Run>) => {
    tell({ ...run, ...changes, count: rows.count, bytes: rows.bytes, elapsedMs: now() - began })
  }
  told({})
  const timer = every(TOLD_MS, () => told({}))
  const unfollow = follow(id, (progress) => {
    run.progress = progress
  })
  const stop = () => {
    timer()
    unfollow()
  }
  try {
    const read = (bytes: number) => {
      rows.bytes = bytes
    }
    for await (const batch of batches(statement, controller.signal, read, id)) {
      rows.add(batch)
      if (rows.count >= MOST_ROWS || rows.bytes >= MOST_BYTES) {
        stop()
        told({ state: 'cut' })
        controller.abort()
        return
      }
    }
    stop()
    told({ state: 'done' })
  } catch (error) {
    stop()
    if (controller.signal.aborted || isAbort(error)) told({ state: 'cancelled' })
    else told({ state: 'failed', error: error instanceof Error ? error : new Error(String(error)) })
  } finally {
    stop()
  }
}
