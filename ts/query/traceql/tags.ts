/**
 * The older search of the Tempo API: `tags` in logfmt (`service.name=shop name="GET /"`),
 * `minDuration` and `maxDuration`, as the same tree as `{ .service.name = "shop" && … }`.
 */

import { OtlakeError } from '../../base/errors.js'
import type { Expression, Query, Value } from '../tree.js'
import { parseDuration } from './durations.js'
import { MAX_QUERY_LENGTH, MAX_TAGS } from './limits.js'
import { parseField } from './parse.js'
import { arrange } from './precedence.js'
import { readString } from './strings.js'

const STATUSES = ['ok', 'error', 'unset'] as const
const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const

/** The tree of a search by tags. Throws `TRACEQL_SYNTAX`, `TRACEQL_TOO_LARGE`. */
export function tagsQuery(
  tags: string,
  minDuration: string | null,
  maxDuration: string | null,
): Query {
  const conditions = readLogfmt(tags).map(([key, value]) => matcher(key, value))
  for (const [operator, text] of [
    ['>=', minDuration],
    ['<=', maxDuration],
  ] as const) {
    if (text === null || text === '') continue
    const nanoseconds = parseDuration(text)
    if (nanoseconds === null) {
      throw new OtlakeError(
        'TRACEQL_SYNTAX',
        `\`${text}\` is no duration: write 100ms, 1.5s or 1h30m`,
      )
    }
    conditions.push({
      kind: 'binary',
      operator,
      left: { kind: 'intrinsic', name: 'traceDuration' },
      right: { kind: 'value', value: { type: 'duration', value: nanoseconds.toString() } },
    })
  }
  return {
    pipeline: [{ kind: 'spansets', spansets: { kind: 'spans', condition: allOf(conditions) } }],
    metrics: null,
    hints: [],
  }
}

/** The conditions with `&&` between them, as the parser arranges it; null for none. */
export function allOf(conditions: readonly Expression[]): Expression | null {
  const items = conditions.flatMap((node, index) =>
    index === 0
      ? [{ node, from: 0 }]
      : [
          { operator: '&&', from: 0 },
          { node, from: 0 },
        ],
  )
  if (items.length === 0) return null
  return arrange<Expression>(items, {
    binary: (_operator, left, right) => ({ kind: 'binary', operator: '&&', left, right }),
    prefix: (operator, operand) => ({ kind: 'unary', operator, operand }),
  })
}

/** `key=value` and `key="quoted value"`, with spaces between. */
function readLogfmt(text: string): [string, string][] {
  if (text.length > MAX_QUERY_LENGTH) {
    throw new OtlakeError('TRACEQL_TOO_LARGE', `tags have more than ${MAX_QUERY_LENGTH} characters`)
  }
  const pairs: [string, string][] = []
  const pair = /\s*([^\s="]+)=(?:(")|([^\s"]*)(?=\s|$))/y
  let position = 0
  while (text.slice(position).trim() !== '') {
    pair.lastIndex = position
    const match = pair.exec(text)
    if (match === null) {
      const rest = text.slice(position).trim()
      throw new OtlakeError(
        'TRACEQL_SYNTAX',
        `\`${rest}\` is no tag: write key=value or key="a value"`,
      )
    }
    const [whole, key = '', quote, plain = ''] = match
    position += whole.length
    let value = plain
    if (quote !== undefined) {
      const quoted = readString(text, position - 1)
      value = quoted.value
      position = quoted.to
    }
    pairs.push([key, value])
    if (pairs.length > MAX_TAGS) {
      throw new OtlakeError('TRACEQL_TOO_LARGE', `there are more than ${MAX_TAGS} tags`)
    }
  }
  return pairs
}

function matcher(key: string, value: string): Expression {
  const field = fieldOf(key)
  if (field.kind === 'intrinsic') {
    return intrinsicMatcher(field.name, value, (right) => equals(field, right))
  }
  return equalsText(field, value)
}

/**
 * That an attribute has a value written as text. Attributes have types: a text that can be a number or
 * true or false matches both, as text and as what it can be.
 */
export function equalsText(field: Expression, value: string): Expression {
  const text = equals(field, { type: 'string', value })
  const other = otherType(value)
  if (other === null) return text
  return { kind: 'binary', operator: '||', left: text, right: equals(field, other) }
}

export function equals(left: Expression, value: Value): Expression {
  return { kind: 'binary', operator: '=', left, right: { kind: 'value', value } }
}

function otherType(value: string): Value | null {
  if (value === 'true' || value === 'false') return { type: 'bool', value: value === 'true' }
  if (/^-?\d{1,18}$/.test(value)) return { type: 'int', value: BigInt(value).toString() }
  if (/^-?\d+\.\d+$/.test(value)) return { type: 'float', value: Number(value) }
  return null
}

function intrinsicMatcher(
  name: string,
  value: string,
  equals: (value: Value) => Expression,
): Expression {
  if (name === 'status') {
    const status = STATUSES.find((each) => each === value)
    if (status) return equals({ type: 'status', value: status })
    throw new OtlakeError('TRACEQL_SYNTAX', `\`${value}\` is no status: write ok, error or unset`)
  }
  if (name === 'kind') {
    const kind = KINDS.find((each) => each === value)
    if (kind) return equals({ type: 'spanKind', value: kind })
    throw new OtlakeError(
      'TRACEQL_SYNTAX',
      `\`${value}\` is no kind: write one of ${KINDS.join(', ')}`,
    )
  }
  return equals({ type: 'string', value })
}

/** The names that tags had before TraceQL, and those of TraceQL that are texts; all else is an attribute. */
const TAG_INTRINSICS: Record<string, string> = {
  ...{ name: 'name', 'root.name': 'rootName', 'root.service.name': 'rootServiceName' },
  ...{ status: 'status', 'status.code': 'status', kind: 'kind', statusMessage: 'statusMessage' },
  ...{ rootName: 'rootName', rootServiceName: 'rootServiceName' },
}

function fieldOf(key: string): ReturnType<typeof parseField> {
  const intrinsic = TAG_INTRINSICS[key]
  if (intrinsic !== undefined && Object.hasOwn(TAG_INTRINSICS, key)) return parseField(intrinsic)
  return parseField(key.includes(':') || /^(?:span|resource)?\./.test(key) ? key : `.${key}`)
}
