/** What is wrong with a query, and where. */

import { type ErrorCode, OtlakeError } from '../../base/errors.js'

/** How much of the query stands in a message. */
const QUOTED = 24

/** An error at a place of the query's text, told by line and column, from 1, with what stands there. */
export function failure(
  code: ErrorCode,
  text: string,
  position: number,
  problem: string,
): OtlakeError {
  const before = text.slice(0, position)
  const line = before.split('\n').length
  const column = position - before.lastIndexOf('\n')
  const rest = text.slice(position).trimStart()
  const shown = rest.length > QUOTED ? `${rest.slice(0, QUOTED)}…` : rest
  const where = line === 1 ? `character ${column}` : `line ${line}, character ${column}`
  const near = shown === '' ? 'at the end of the query' : `at ${where}, \`${shown}\``
  return new OtlakeError(code, `${near}: ${problem}`)
}
