/**
 * The query that tag names and values are narrowed by. Clients send it while it is being typed, so what
 * is no query must not be an error: what can be read of it counts, and without any of it there is no
 * filter.
 */

import { parseTraceql } from '../traceql/parse.js'
import { type Token, tokenize } from '../traceql/tokens.js'
import type { Query } from '../tree.js'

/** The tree of a filter, null for none. It never throws. */
export function readFilter(text: string | null): Query | null {
  if (text === null || text.trim() === '') return null
  const whole = attempt(text)
  if (whole !== null) return isSelector(whole) ? whole : null
  const conditions = conditionsOf(text).filter(
    (each) => each.trim() !== '' && attempt(`{ ${each} }`) !== null,
  )
  return conditions.length === 0 ? null : attempt(`{ ${conditions.join(' && ')} }`)
}

function attempt(text: string): Query | null {
  try {
    return parseTraceql(text)
  } catch {
    return null
  }
}

/** Whether it is one `{ … }`, with something in it. */
function isSelector({ pipeline, metrics }: Query): boolean {
  const [stage, ...more] = pipeline
  if (metrics !== null || more.length > 0 || stage?.kind !== 'spansets') return false
  return stage.spansets.kind === 'spans' && stage.spansets.condition !== null
}

/** The texts between the `&&` of the first `{ … }`, whose end may be missing. */
function conditionsOf(text: string): string[] {
  let tokens: Token[]
  try {
    tokens = tokenize(text)
  } catch {
    return []
  }
  const open = tokens.findIndex((token) => token.text === '{')
  if (open < 0) return []
  const parts: string[] = []
  let depth = 0
  let from = tokens[open]?.to ?? 0
  for (const token of tokens.slice(open + 1)) {
    if (token.text === '}') {
      parts.push(text.slice(from, token.from))
      return parts
    }
    if (token.text === '(') depth++
    if (token.text === ')') depth--
    if (token.text === '&&' && depth === 0) {
      parts.push(text.slice(from, token.from))
      from = token.to
    }
  }
  parts.push(text.slice(from))
  return parts
}
