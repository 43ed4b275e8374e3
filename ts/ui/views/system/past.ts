/** The node's last hour, as it keeps it: the figures of the plots, with their times. */

import { askJson } from '../../api/http'

/** What `GET /api/v1/history` answers. */
export interface Past {
  everyMs: number
  /** Milliseconds since 1970, the oldest first. */
  at: number[]
  /** By name; null where there is none at that time. */
  figures: Record<string, (number | null)[]>
}

/** How long a past is shown. */
export const SHOWN_MS = 3_600_000
/** As many intervals without a sample are a gap: the node was not there. */
const GAP = 3

/** What came since the last time; all of it at first. */
export const loadPast = (known: Past | null): Promise<Past> =>
  askJson(`/api/v1/history?after=${known?.at.at(-1) ?? 0}`)

/**
 * A past with what came since. A node that started anew gives its own alone: what is known of the time before
 * stays, and nothing is drawn between.
 */
export function withMore(known: Past | null, more: Past): Past {
  if (known === null || more.at.length === 0) return known ?? more
  const last = known.at.at(-1) ?? 0
  const first = more.at[0] ?? 0
  const newest = more.at.at(-1) ?? 0
  const isGap = last > 0 && first - last > GAP * more.everyMs
  const at = [...known.at, ...(isGap ? [last + more.everyMs] : []), ...more.at]
  const from = at.findIndex((time) => time > newest - SHOWN_MS)
  const names = Object.keys(more.figures)
  const figures = names.map((name): [string, (number | null)[]] => {
    const before = known.figures[name] ?? known.at.map(() => null)
    const values = [...before, ...(isGap ? [null] : []), ...(more.figures[name] ?? [])]
    return [name, values.slice(from)]
  })
  return { everyMs: more.everyMs, at: at.slice(from), figures: Object.fromEntries(figures) }
}
