/** How far a query is. */

import type { Progress } from '../api/under-way'
import { formatCount, formatPercent } from './format'

const SAID: Record<Progress['state'], string> = {
  waiting: 'waits for other queries to end',
  planning: 'is planned',
  reading: 'reads',
  shared: 'is read by many nodes: how far they are is not known',
}

/** Where a query stands, in words. */
export function stands({ state, share, rowsRead, rowsToRead }: Progress): string {
  if (state !== 'reading' || share === null) return SAID[state]
  const rows =
    rowsToRead > 0 ? ` (${formatCount(rowsRead)} of ${formatCount(rowsToRead)} rows)` : ''
  return `${formatPercent(share)} read${rows}`
}

/** A bar; without an end in sight one that only moves. */
export function ProgressBar({ of }: { of: Progress | null }) {
  const share = of?.share ?? null
  const label = 'How much of it is read'
  if (share === null) return <progress aria-label={label} />
  return <progress aria-label={label} value={share} max={1} />
}
