/**
 * What the published grammar gets in place of a query.
 *
 * `@grafana/lezer-traceql` 1.0.0 knows the structure of the language, but not all of its words: not
 * quoted names in full, compound durations, exponents, `childCount` and the nested set, attributes of
 * parents, spaces between empty parentheses, hints but one, nor comparisons behind metrics. So each
 * name becomes `.a`, each number `1` and each text `""`, and what the grammar lacks altogether is taken
 * out into fields of its own. `syntax.ts` takes the structure from the grammar's tree and the words
 * from the tokens, which it finds by their places in the stand-in.
 */

import type { Comparison, SecondStage, Value } from '../tree.js'
import { failure } from './failure.js'
import { MAX_HINTS } from './limits.js'
import type { Token } from './tokens.js'

export interface StandIn {
  text: string
  /** The tokens that the text stands for, in order, with their places in it. */
  words: { at: number; token: Token }[]
  hints: { name: string; value: Value }[]
  /** Comparisons behind metrics, with their places in the query. */
  filters: { from: number; stage: SecondStage }[]
}

export const METRICS_FUNCTIONS = [
  ...['rate', 'count_over_time', 'min_over_time', 'max_over_time', 'avg_over_time'],
  ...['sum_over_time', 'quantile_over_time', 'histogram_over_time', 'compare'],
]
const SECOND_STAGES = ['topk', 'bottomk']
const FUNCTIONS = [
  ...METRICS_FUNCTIONS,
  ...SECOND_STAGES,
  ...['count', 'avg', 'min', 'max', 'sum', 'by', 'coalesce', 'select', 'with'],
]
const COMPARISONS = ['=', '!=', '<', '<=', '>', '>=']

/** Makes the stand-in of the tokens of `text`. Throws `TRACEQL_SYNTAX`, `TRACEQL_TOO_LARGE`. */
export function standIn(text: string, tokens: readonly Token[]): StandIn {
  const made: StandIn = { text: '', words: [], hints: [], filters: [] }
  let depth = 0
  // Whether the stage at hand makes or changes series.
  let isMetrics = false
  for (let index = 0; index < tokens.length; index++) {
    const token = tokens[index] as Token
    if ('{('.includes(token.text)) depth++
    if ('})'.includes(token.text)) depth--
    if (token.kind === 'word') {
      checkFunction(text, token, tokens[index + 1])
      const makesSeries =
        METRICS_FUNCTIONS.includes(token.text) || SECOND_STAGES.includes(token.text)
      if (depth > 0 && makesSeries) {
        const problem =
          'metrics cannot stand in parentheses: there is no arithmetic between them, ask for each by itself'
        throw failure('TRACEQL_UNSUPPORTED', text, token.from, problem)
      }
      if (depth === 0 && token.text === 'with') {
        made.hints = readHints(text, tokens.slice(index + 1))
        break
      }
      if (makesSeries) isMetrics = true
    } else if (depth === 0 && isMetrics && token.text === '|') {
      isMetrics = false
    } else if (depth === 0 && isMetrics && COMPARISONS.includes(token.text)) {
      const { value, count } = readNumber(text, tokens, index + 1)
      const operator = token.text as Comparison
      made.filters.push({ from: token.from, stage: { kind: 'filter', operator, value } })
      index += count
      continue
    }
    if (needsSpace(made.words.at(-1)?.token, token)) made.text += ' '
    made.words.push({ at: made.text.length, token })
    made.text += plain(token)
  }
  return made
}

/** Whether two words would be read as others if they stood together. */
function needsSpace(before: Token | undefined, token: Token): boolean {
  if (before === undefined) return false
  const isSign = ({ kind, text }: Token) => kind === 'operator' || text === '|'
  if (isSign(before) && isSign(token)) return true
  if (before.kind === 'punctuation' || before.kind === 'operator') return false
  return token.kind !== 'punctuation' && !'=~!<>&|'.includes(token.text[0] ?? '')
}

function plain(token: Token): string {
  if (token.kind === 'field') return '.a'
  if (token.kind !== 'value') return token.text
  switch (token.value.type) {
    case 'string':
      return '""'
    case 'int':
    case 'float':
    case 'duration':
      return '1'
    default:
      return token.text
  }
}

function checkFunction(text: string, token: Token, after: Token | undefined): void {
  const isCall = after?.text === '('
  if (FUNCTIONS.includes(token.text) && isCall) return
  const problem = FUNCTIONS.includes(token.text)
    ? `\`${token.text}\` is a function: write \`${token.text}(…)\``
    : isCall
      ? `there is no function \`${token.text}\`; there are ${FUNCTIONS.join(', ')}`
      : `\`${token.text}\` is no name of TraceQL: write attributes as \`.${token.text}\`, ` +
        `\`span.${token.text}\` or \`resource.${token.text}\`, and text in double quotes`
  throw failure('TRACEQL_SYNTAX', text, token.from, problem)
}

/** A number with an optional minus at `index`, and how many tokens it is. */
function readNumber(
  text: string,
  tokens: readonly Token[],
  index: number,
): { value: Value; count: number } {
  const isNegative = tokens[index]?.text === '-'
  const number = tokens[index + (isNegative ? 1 : 0)]
  if (number?.kind === 'value') {
    const { value } = number
    const count = isNegative ? 2 : 1
    if (value.type === 'float') {
      return { value: { ...value, value: isNegative ? -value.value : value.value }, count }
    }
    if (value.type === 'int' || value.type === 'duration') {
      return { value: { ...value, value: isNegative ? negated(value.value) : value.value }, count }
    }
  }
  const from = tokens[index]?.from ?? text.length
  throw failure(
    'TRACEQL_SYNTAX',
    text,
    from,
    'series are compared with a number, as in `rate() > 0.5`',
  )
}

/** The decimal text of the opposite number. */
export function negated(decimal: string): string {
  return (-BigInt(decimal)).toString()
}

/** Reads `(name=value, …)`, which must be the end. */
function readHints(text: string, tokens: readonly Token[]): StandIn['hints'] {
  const hints: StandIn['hints'] = []
  const fail = (index: number) => {
    const problem = 'hints are written `with(most_recent=true, sample=0.1)` at the end of the query'
    return failure('TRACEQL_SYNTAX', text, tokens[index]?.from ?? text.length, problem)
  }
  let index = 0
  do {
    index++
    const name = tokens[index]
    if (name?.kind !== 'word' || tokens[index + 1]?.text !== '=') throw fail(index)
    const given = tokens[index + 2]
    if (given?.kind === 'value' && given.value.type !== 'nil') {
      hints.push({ name: name.text, value: given.value })
      index += 3
    } else {
      const { value, count } = readNumber(text, tokens, index + 2)
      hints.push({ name: name.text, value })
      index += 2 + count
    }
    if (hints.length > MAX_HINTS) {
      const problem = `the query has more than ${MAX_HINTS} hints`
      throw failure('TRACEQL_TOO_LARGE', text, name.from, problem)
    }
  } while (tokens[index]?.text === ',')
  if (tokens[index]?.text !== ')' || index + 1 < tokens.length) throw fail(index)
  return hints
}
