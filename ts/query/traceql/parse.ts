/**
 * TraceQL: from a query's text to the typed tree (`../tree.ts`).
 *
 * - `tokens.ts` reads the words: names with their scopes, values, operators (`strings.ts`,
 *   `durations.ts`).
 * - `stand-in.ts` makes of them a text that the published grammar, `@grafana/lezer-traceql`, knows
 *   every word of. That grammar decides what is a query.
 * - `syntax.ts` reads the grammar's tree, `expressions.ts` what stands in its conditions, `words.ts` the
 *   words behind both; `precedence.ts` puts operators in TraceQL's order.
 * - `check.ts` checks types and sizes, `regex.ts` regular expressions.
 * - `print.ts` is the way back; `tags.ts` makes the tree of the older search by `tags`.
 * - `limits.ts`: how large a query may be; `failure.ts`: how an error tells its place.
 *
 * What the language means is in docs/traceql.md.
 */

import { parser } from '@grafana/lezer-traceql'
import type { Tree } from '@lezer/common'
import type { OtlakeError } from '../../base/errors.js'
import type { Expression, Query, Scope } from '../tree.js'
import { checkQuery } from './check.js'
import { failure } from './failure.js'
import { standIn } from './stand-in.js'
import { readTree } from './syntax.js'
import { type Token, tokenize } from './tokens.js'

/**
 * Parses and checks a query. Throws `TRACEQL_SYNTAX`, `TRACEQL_TYPE`, `TRACEQL_REGEX`,
 * `TRACEQL_UNSUPPORTED` or `TRACEQL_TOO_LARGE`, each with the place in the text.
 */
export function parseTraceql(text: string): Query {
  const tokens = tokenize(text)
  if (tokens.length === 0) {
    const problem = 'the query is empty: write `{ }` for all spans'
    throw failure('TRACEQL_SYNTAX', text, text.length, problem)
  }
  const plain = standIn(text, tokens)
  const tree = grammar(plain.text)
  if (typeof tree === 'number') {
    const word = plain.words.find(({ at }) => at >= tree)
    throw syntaxError(text, tokens, word?.token)
  }
  const { query, places } = readTree(text, plain, tree)
  checkQuery(query, text, places)
  return query
}

/**
 * The attribute or intrinsic of a name as the Tempo API has it: `span.http.route`, `.http.route`,
 * `name`, and, of the API's first version, `http.route`. Throws `TRACEQL_SYNTAX`.
 */
export function parseField(name: string): Extract<Expression, { kind: 'attribute' | 'intrinsic' }> {
  const [token, ...more] = tokenizeOr(name)
  if (token?.kind === 'field' && more.length === 0) return token.field
  if (name === '') throw failure('TRACEQL_SYNTAX', name, 0, 'a name stands here')
  // Names are not quoted here: whatever stands behind the scope is the name.
  const [, scope = 'any', rest = name] =
    /^(resource|span|event|link|instrumentation)?\.(.+)$/s.exec(name) ?? []
  return { kind: 'attribute', scope: scope as Scope, parent: false, name: rest }
}

function tokenizeOr(name: string): Token[] {
  try {
    return tokenize(name)
  } catch {
    return []
  }
}

// Strict: what is no query ends at its first error, and takes no time for what could be meant.
const STRICT = parser.configure({ strict: true })

/** The grammar's tree, or the place at which the text is none of its language. */
function grammar(text: string): Tree | number {
  try {
    return STRICT.parse(text)
  } catch (error) {
    const place = /^No parse at (\d+)/.exec(error instanceof Error ? error.message : '')?.[1]
    if (place === undefined) throw error
    return Number(place)
  }
}

const ARITHMETIC = ['+', '-', '*', '/', '%', '^']

function syntaxError(
  text: string,
  tokens: readonly Token[],
  token: Token | undefined,
): OtlakeError {
  if (token === undefined) {
    const open = unclosed(tokens)
    const problem = open === null ? 'something is missing' : `\`${open.text}\` is not closed`
    return failure('TRACEQL_SYNTAX', text, text.length, problem)
  }
  const before = tokens[tokens.indexOf(token) - 1]
  if (ARITHMETIC.includes(token.text) && before?.text === ')') {
    const problem =
      'there is no arithmetic between metrics or pipelines: ask for each by its own query'
    return failure('TRACEQL_UNSUPPORTED', text, token.from, problem)
  }
  const problem = before
    ? `this cannot follow \`${before.text}\``
    : 'a query begins with `{ … }`, a parenthesis or a function'
  return failure('TRACEQL_SYNTAX', text, token.from, problem)
}

function unclosed(tokens: readonly Token[]): Token | null {
  const open: Token[] = []
  for (const token of tokens) {
    if ('{('.includes(token.text)) open.push(token)
    else if ('})'.includes(token.text)) open.pop()
  }
  return open.at(-1) ?? null
}
