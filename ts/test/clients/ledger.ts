/** Who lost records on their way from a generator through a Collector, that was started twice, into otlake. */

import type { Passed } from './collector.js'
import type { Generated } from './toolchain.js'

/** In records. */
export interface Ledger extends Generated {
  /** What the records are. */
  what: string
  /** By the Collector that took the records, and by the one that found the rest in its queue. */
  first: Passed
  second: Passed
  /** Rows in otlake, and different ones among them. */
  stored: number
  distinct: number
}

/** A sentence for each place where records were lost or doubled; none where all is well. */
export function whoLost(ledger: Ledger): string[] {
  const { what, made, complaints, first, second, stored, distinct } = ledger
  const sent = first.sent + second.sent
  const found: string[] = []
  if (first.accepted !== made) {
    const refused = first.refused > 0 ? `, and refused ${first.refused}` : ''
    const said = [`the generator made ${made} ${what}`, ...complaints].join('; ')
    found.push(`${said}: the Collector accepted ${first.accepted} of them${refused}`)
  }
  if (sent !== first.accepted) {
    const counted = JSON.stringify({ first, second })
    found.push(
      `the Collector accepted ${first.accepted} ${what}, and ${sent} were acknowledged to it: ${counted}`,
    )
  }
  if (stored !== sent) {
    found.push(`otlake acknowledged ${sent} ${what} to the Collector, and has ${stored}`)
  }
  if (distinct !== stored) {
    found.push(`otlake has ${stored} ${what}, ${distinct} different ones among them`)
  }
  return found
}
