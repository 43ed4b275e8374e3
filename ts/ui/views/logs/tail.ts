/** The live tail: records as they are acknowledged. */

import { ask, isAbort } from '../../api/http'
import type { LogRow } from './queries'

export interface Tailed {
  rows: LogRow[]
  /** Batches that came faster than they were read. */
  skipped: number
  /** Nodes that are not reached any more. */
  lost: string[]
}

type Line = LogRow & {
  time_unix_nano?: string | number
  observed_time_unix_nano?: string | number
  skipped_batches?: number
  lost_node?: string
}

/** Calls `take` with what comes until it is given up. Resolves when the node ends the stream. */
export async function tail(
  service: string,
  signal: AbortSignal,
  take: (tailed: Tailed) => void,
): Promise<void> {
  const query = new URLSearchParams({ table: 'logs', ...(service ? { service } : {}) })
  try {
    const response = await ask(`/api/v1/tail?${query}`, { signal })
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
    if (!reader) return
    let rest = ''
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      const lines = (rest + value).split('\n')
      rest = lines.pop() ?? ''
      const tailed = readLines(lines)
      if (tailed.rows.length + tailed.skipped + tailed.lost.length > 0) take(tailed)
    }
  } catch (error) {
    if (!signal.aborted && !isAbort(error)) throw error
  }
}

/** Lines of the tail; the empty ones keep the connection. */
export function readLines(lines: string[]): Tailed {
  const tailed: Tailed = { rows: [], skipped: 0, lost: [] }
  for (const text of lines) {
    if (text.trim() === '') continue
    const line = JSON.parse(text) as Line
    if (line.skipped_batches !== undefined) tailed.skipped += line.skipped_batches
    else if (line.lost_node !== undefined) tailed.lost.push(line.lost_node)
    else {
      const own = Number(line.time_unix_nano ?? 0)
      const at = (own === 0 ? line.observed_time_unix_nano : line.time_unix_nano) ?? 0
      tailed.rows.push({ ...line, at })
    }
  }
  return tailed
}
