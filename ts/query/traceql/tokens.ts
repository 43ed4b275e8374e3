/** The words of a TraceQL query: names with their scopes, values, operators. */

import type { Attribute, Intrinsic, Scope, Value } from '../tree.js'
import { parseDuration } from './durations.js'
import { failure } from './failure.js'
import { MAX_QUERY_LENGTH, MAX_QUERY_NESTING, MAX_QUERY_TOKENS } from './limits.js'
import { readString } from './strings.js'

/** One word; `from` and `to` are UTF-16 offsets in the query's text. */
export type Token = { from: number; to: number; text: string } & (
  | { kind: 'punctuation' }
  | { kind: 'operator' }
  /** A function's name or a keyword. */
  | { kind: 'word' }
  | { kind: 'value'; value: Value }
  | { kind: 'field'; field: Attribute | { kind: 'intrinsic'; name: Intrinsic } }
)

/** Every spelling of an intrinsic. */
export const INTRINSICS: Readonly<Record<string, Intrinsic>> = {
  name: 'name',
  'span:name': 'name',
  duration: 'duration',
  'span:duration': 'duration',
  status: 'status',
  'span:status': 'status',
  statusMessage: 'statusMessage',
  'span:statusMessage': 'statusMessage',
  kind: 'kind',
  'span:kind': 'kind',
  parent: 'parent',
  childCount: 'childCount',
  'span:childCount': 'childCount',
  'span:id': 'span:id',
  'span:parentID': 'span:parentID',
  'trace:id': 'trace:id',
  traceDuration: 'traceDuration',
  'trace:duration': 'traceDuration',
  rootName: 'rootName',
  'trace:rootName': 'rootName',
  rootServiceName: 'rootServiceName',
  'trace:rootService': 'rootServiceName',
  'event:name': 'event:name',
  'event:timeSinceStart': 'event:timeSinceStart',
  'link:traceID': 'link:traceID',
  'link:spanID': 'link:spanID',
  'instrumentation:name': 'instrumentation:name',
  'instrumentation:version': 'instrumentation:version',
  nestedSetLeft: 'nestedSetLeft',
  'span:nestedSetLeft': 'nestedSetLeft',
  nestedSetRight: 'nestedSetRight',
  'span:nestedSetRight': 'nestedSetRight',
  nestedSetParent: 'nestedSetParent',
  'span:nestedSetParent': 'nestedSetParent',
}

const VALUES: Readonly<Record<string, Value>> = {
  nil: { type: 'nil' },
  true: { type: 'bool', value: true },
  false: { type: 'bool', value: false },
  ok: { type: 'status', value: 'ok' },
  error: { type: 'status', value: 'error' },
  unset: { type: 'status', value: 'unset' },
  unspecified: { type: 'spanKind', value: 'unspecified' },
  internal: { type: 'spanKind', value: 'internal' },
  server: { type: 'spanKind', value: 'server' },
  client: { type: 'spanKind', value: 'client' },
  producer: { type: 'spanKind', value: 'producer' },
  consumer: { type: 'spanKind', value: 'consumer' },
  minInt: { type: 'int', value: '-9223372036854775808' },
  maxInt: { type: 'int', value: '9223372036854775807' },
}

const SCOPES: readonly string[] = ['resource', 'span', 'event', 'link', 'instrumentation']
/** Longest first, so that `>>` is not two times `>`. */
const OPERATORS = /!>>|!<<|&>>|&<<|&&|\|\||=~|!~|!=|<=|>=|>>|<<|!>|!<|&>|&<|&~|[=<>~+\-*/%^!]/y
const SPACE = /(?:\s|\/\/[^\n]*|\/\*[\s\S]*?\*\/)+/y
const WORD = /[A-Za-z_]\w*(?::[A-Za-z]\w*)?/y
const NUMBER = /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y
/** Numbers and units in a row, as far as they go. */
const DURATION = /\d[\d.nsuµμmhdwy]*/y
/** What may stand in an attribute's name without quotes. */
const NAME = /[^\s"{}()=~!<>&|^,]+/y

/** Whether an attribute's name can be written without quotes. */
export function isPlainName(name: string): boolean {
  NAME.lastIndex = 0
  return NAME.exec(name)?.[0] === name
}

function at(pattern: RegExp, text: string, position: number): string | null {
  pattern.lastIndex = position
  return pattern.exec(text)?.[0] ?? null
}

/**
 * The words of a query, without spaces and comments. Throws `TRACEQL_SYNTAX` at what is no word of the
 * language, `TRACEQL_TOO_LARGE` beyond the limits.
 */
export function tokenize(text: string): Token[] {
  if (text.length > MAX_QUERY_LENGTH) {
    const problem = `the query has ${text.length} characters, more than ${MAX_QUERY_LENGTH}`
    throw failure('TRACEQL_TOO_LARGE', text, MAX_QUERY_LENGTH, problem)
  }
  const tokens: Token[] = []
  let depth = 0
  let position = 0
  while (position < text.length) {
    const space = at(SPACE, text, position)
    if (space !== null) {
      position += space.length
      continue
    }
    const token = next(text, position)
    // A prefix takes one more level, as a parenthesis does; only the latter is given back.
    if ('{('.includes(token.text)) depth++
    else if ('})'.includes(token.text)) depth--
    const prefixes = prefixesBefore(tokens)
    if (depth + prefixes > MAX_QUERY_NESTING) {
      const problem = `more than ${MAX_QUERY_NESTING} parentheses or prefixes within each other`
      throw failure('TRACEQL_TOO_LARGE', text, position, problem)
    }
    tokens.push(token)
    if (tokens.length > MAX_QUERY_TOKENS) {
      const problem = `the query has more than ${MAX_QUERY_TOKENS} names, values and operators`
      throw failure('TRACEQL_TOO_LARGE', text, position, problem)
    }
    position = token.to
  }
  return tokens
}

/** How many `-` and `!` stand in a row at the end; no query needs to be looked at further back. */
function prefixesBefore(tokens: readonly Token[]): number {
  let count = 0
  while (count <= MAX_QUERY_NESTING) {
    const text = tokens[tokens.length - 1 - count]?.text
    if (text !== '-' && text !== '!') break
    count++
  }
  return count
}

function next(text: string, from: number): Token {
  const made = (length: number) => ({
    from,
    to: from + length,
    text: text.slice(from, from + length),
  })
  const first = text[from] ?? ''
  if (first === '"' || first === '`') {
    const { value, to } = readString(text, from)
    return { ...made(to - from), kind: 'value', value: { type: 'string', value } }
  }
  if (first === '.') return attribute(text, from, from, 'any', false)
  const duration = at(DURATION, text, from)
  const nanoseconds = duration === null ? null : parseDuration(duration)
  if (duration !== null && nanoseconds !== null) {
    const value = { type: 'duration', value: nanoseconds.toString() } as const
    return { ...made(duration.length), kind: 'value', value }
  }
  const number = at(NUMBER, text, from)
  if (number !== null)
    return { ...made(number.length), kind: 'value', value: numeric(text, from, number) }
  const word = at(WORD, text, from)
  if (word !== null) return named(text, from, word)
  const operator = at(OPERATORS, text, from)
  if (operator !== null) return { ...made(operator.length), kind: 'operator' }
  if ('{}(),|'.includes(first)) return { ...made(1), kind: 'punctuation' }
  const problem =
    first === "'"
      ? 'write text in double quotes or backticks'
      : `\`${first}\` is no part of TraceQL`
  throw failure('TRACEQL_SYNTAX', text, from, problem)
}

function numeric(text: string, from: number, number: string): Value {
  if (!/^\d+$/.test(number)) return { type: 'float', value: Number(number) }
  const value = BigInt(number)
  // 2^63 is there with a minus alone; `check.ts` sees whether it has one.
  if (value > 2n ** 63n) {
    throw failure(
      'TRACEQL_SYNTAX',
      text,
      from,
      'an integer has 64 bits: write a smaller one, or `1e19`',
    )
  }
  return { type: 'int', value: value.toString() }
}

/** A word that is no function: a scope with its name, an intrinsic, a value. */
function named(text: string, from: number, word: string): Token {
  const token = { from, to: from + word.length, text: word }
  if (Object.hasOwn(VALUES, word)) {
    return { ...token, kind: 'value', value: VALUES[word] as Value }
  }
  const after = text[token.to]
  if (after === '.' && SCOPES.includes(word)) {
    return attribute(text, from, token.to, word as Scope, false)
  }
  if (after === '.' && word === 'parent') return parentAttribute(text, from, token.to)
  if (Object.hasOwn(INTRINSICS, word)) {
    const name = INTRINSICS[word] as Intrinsic
    return { ...token, kind: 'field', field: { kind: 'intrinsic', name } }
  }
  if (word.includes(':')) {
    const [scope = ''] = word.split(':')
    const known = Object.keys(INTRINSICS).filter((name) => name.startsWith(`${scope}:`))
    const fix =
      known.length > 0
        ? `write one of ${known.join(', ')}`
        : 'intrinsics begin with span:, trace:, event:, link: or instrumentation:'
    throw failure('TRACEQL_SYNTAX', text, from, `there is no intrinsic \`${word}\`; ${fix}`)
  }
  return { ...token, kind: 'word' }
}

/** `parent.span.name`, `parent.resource.name`, …, or `parent.name` of any scope. */
function parentAttribute(text: string, from: number, dot: number): Token {
  const scope = SCOPES.find((each) => text.startsWith(`${each}.`, dot + 1))
  if (scope === undefined) return attribute(text, from, dot, 'any', true)
  return attribute(text, from, dot + 1 + scope.length, scope as Scope, true)
}

/** The attribute whose name begins behind the point at `dot`: plain and quoted parts in a row. */
function attribute(text: string, from: number, dot: number, scope: Scope, parent: boolean): Token {
  let name = ''
  let to = dot + 1
  for (;;) {
    const plain = at(NAME, text, to)
    if (plain !== null) {
      name += plain
      to += plain.length
    } else if (text[to] === '"') {
      const quoted = readString(text, to, true)
      name += quoted.value
      to = quoted.to
    } else break
  }
  if (name === '') {
    throw failure(
      'TRACEQL_SYNTAX',
      text,
      from,
      'an attribute needs a name, as in `span.http.route`',
    )
  }
  const field = { kind: 'attribute', scope, parent, name } as const
  return { from, to, text: text.slice(from, to), kind: 'field', field }
}
