/** What can stand at a place of a TraceQL query: names, values, operators, functions. */

export type Place =
  /** A name, of which `typed` is there; it begins at `from`. */
  | { kind: 'name'; from: number; typed: string }
  /** A value of `tag`. */
  | { kind: 'value'; from: number; typed: string; tag: string }
  | { kind: 'operator'; from: number; tag: string }
  /** Behind a spanset: a pipeline's stage. */
  | { kind: 'stage'; from: number; typed: string }
  | { kind: 'none' }

const NAME = /(?:[A-Za-z_][\w:]*)?(?:\.(?:"[^"]*"?|[\w./:-]*))*$/
const COMPARISON = /(=~|!~|!=|>=|<=|=|>|<)\s*$/
const ATTRIBUTE = /([A-Za-z_.][\w.:/-]*(?:\."[^"]*")?)\s*$/

/** Reads the text before the caret. */
export function placeIn(text: string): Place {
  const depth = braces(text)
  if (depth === null) return { kind: 'none' }
  if (depth.open === 0) {
    const stage = /\|\s*([A-Za-z_]*)$/.exec(text)
    if (stage) {
      const typed = stage[1] ?? ''
      return { kind: 'stage', from: text.length - typed.length, typed }
    }
    const argument = /\b(?:by|select|\w+_over_time)\s*\(\s*(?:[^()]*,\s*)?([\w.:]*)$/.exec(text)
    if (argument) {
      const typed = argument[1] ?? ''
      return { kind: 'name', from: text.length - typed.length, typed }
    }
    return { kind: 'none' }
  }
  const inside = text.slice(depth.at)
  // A value: behind a comparison, in quotes or not.
  const typed = /("(?:\\.|[^"\\])*|[^\s"(){}&|!=<>~]*)$/.exec(inside)?.[1] ?? ''
  const before = inside.slice(0, inside.length - typed.length)
  const comparison = COMPARISON.exec(before)
  if (comparison) {
    const tag = ATTRIBUTE.exec(before.slice(0, comparison.index))?.[1] ?? ''
    return { kind: 'value', from: text.length - typed.length, typed, tag }
  }
  if (/\s$/.test(inside)) {
    const tag = ATTRIBUTE.exec(inside)?.[1]
    const isAfterValue = /[=<>~]\s*(?:"(?:\\.|[^"\\])*"|[\w.]+)\s+$/.test(inside)
    if (tag !== undefined && !isAfterValue) return { kind: 'operator', from: text.length, tag }
    if (isAfterValue) return { kind: 'none' }
  }
  const name = NAME.exec(inside)?.[0] ?? ''
  return { kind: 'name', from: text.length - name.length, typed: name }
}

/** How many braces are open, and where the last was opened; null within a text outside of them. */
function braces(text: string): { open: number; at: number } | null {
  let [open, at, isText] = [0, 0, false]
  for (let index = 0; index < text.length; index++) {
    const character = text[index]
    if (isText) {
      if (character === '\\') index++
      else if (character === '"') isText = false
    } else if (character === '"') isText = true
    else if (character === '{') {
      open++
      at = index + 1
    } else if (character === '}') open = Math.max(0, open - 1)
  }
  return isText && open === 0 ? null : { open, at }
}

/** An attribute's name as a query has it: names with other characters stand in quotes. */
export function written(scope: string, tag: string): string {
  if (scope === 'intrinsic') return tag
  const name = /^[\w.:/-]+$/.test(tag) ? tag : `"${tag.replaceAll('"', '\\"')}"`
  return `${scope}.${name}`
}

/** A value as a query has it, by its type. */
export function writtenValue(type: string, value: string): string {
  const isText = type === 'string' || type === ''
  return isText ? `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"` : value
}

export const STAGES: [string, string][] = [
  ['by(', 'spansets by an attribute'],
  ['select(', 'shows attributes'],
  ['count()', 'how many spans'],
  ['avg(', 'of a spanset'],
  ['min(', 'of a spanset'],
  ['max(', 'of a spanset'],
  ['sum(', 'of a spanset'],
  ['rate()', 'spans by the second'],
  ['count_over_time()', 'spans by the step'],
  ['quantile_over_time(duration, 0.5, 0.9, 0.99)', 'quantiles by the step'],
  ['histogram_over_time(duration)', 'durations by the step'],
  ['min_over_time(', 'by the step'],
  ['max_over_time(', 'by the step'],
  ['avg_over_time(', 'by the step'],
  ['sum_over_time(', 'by the step'],
  ['compare({ status = error })', 'these spans with the others'],
  ['topk(10)', 'the largest series'],
  ['bottomk(10)', 'the smallest series'],
]

export const OPERATORS = ['=', '!=', '=~', '!~', '>', '>=', '<', '<=']
