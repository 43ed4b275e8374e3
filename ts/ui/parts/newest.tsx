/** Says that a list holds the newest alone, and lets one choose how many. */

import { setParams } from '../state/page'
import { formatCount } from './format'

/** How many are asked for: what the address says, or the first of the choices. */
export const limitOf = (given: string, choices: readonly string[]): number =>
  Math.max(1, Number(given) || Number(choices[0]))

export function Newest({
  count,
  limit,
  choices,
  what,
}: {
  /** How many came. */
  count: number
  limit: number
  choices: readonly string[]
  /** `traces that match` */
  what: string
}) {
  if (count < limit) return null
  const all = [...new Set([...choices, String(limit)])].sort((a, b) => Number(a) - Number(b))
  return (
    <p class="note">
      These are the newest {formatCount(limit)} {what}.{' '}
      <label>
        Show up to{' '}
        <select
          value={String(limit)}
          onChange={(event) => setParams({ limit: event.currentTarget.value })}
        >
          {all.map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
      </label>
    </p>
  )
}
