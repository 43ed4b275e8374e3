/**
 * Whether a text is a regular expression of the kind that RE2 and Rust's `regex` take: no
 * backreferences, no looking around. Only what is certainly none is refused here, so that the message
 * can name the place in the query; what is left the engine compiles, within its own limits.
 */

import { MAX_QUERY_NESTING, MAX_REGEX_LENGTH, MAX_REGEX_REPEAT } from './limits.js'

/** What is wrong with the expression, as the end of a sentence; null where nothing is. */
export function regexProblem(pattern: string): string | null {
  if (pattern.length > MAX_REGEX_LENGTH) {
    return `the regular expression has more than ${MAX_REGEX_LENGTH} characters`
  }
  return new Reader(pattern).problem()
}

/** `\pL`, `\p{Greek}`, `\x41`, `\x{10FFFF}`, and the letters that mean something alone. */
const ESCAPE =
  /[pP](?:\{\^?[\w=!:-]+\}|[A-Za-z])|x(?:\{[0-9a-fA-F]+\}|[0-9a-fA-F]{2})|[dDwWsSbBAzafnrtv]|[^\w\s]|_/y
const GROUP = /\(\?(?:P?<[A-Za-z_][\w.[\]]*>|[a-zA-Z]*(?:-[a-zA-Z]+)?[:)])/y
const REPEAT = /\{(\d+)(?:(,)(\d*))?\}/y
const CLASS_NAME = /\[:\^?[a-z]+:\]/y

class Reader {
  #position = 0

  constructor(private readonly pattern: string) {}

  problem(): string | null {
    let open = 0
    // Whether what stands before can be repeated.
    let isItem = false
    while (this.#position < this.pattern.length) {
      const character = this.pattern[this.#position] as string
      switch (character) {
        case '(': {
          const isFlags = this.#group()
          if (isFlags === null) {
            return 'the regular expression looks around or has an unknown group `(?`: rewrite it without'
          }
          if (!isFlags && ++open > MAX_QUERY_NESTING)
            return 'the regular expression is nested too deep'
          isItem = false
          break
        }
        case ')':
          if (open-- === 0) return 'the regular expression has a `)` without its `(`: write `\\)`'
          this.#position++
          isItem = true
          break
        case '[': {
          const problem = this.#class()
          if (problem !== null) return problem
          isItem = true
          break
        }
        case '\\': {
          const problem = this.#escape()
          if (problem !== null) return problem
          isItem = true
          break
        }
        case '*':
        case '+':
        case '?':
          if (!isItem) return `nothing stands before \`${character}\` in the regular expression`
          this.#position++
          if (this.pattern[this.#position] === '?') this.#position++
          isItem = false
          break
        case '{': {
          const repeat = this.#take(REPEAT)
          if (repeat === null) {
            // RE2 takes a lone brace for itself, Rust does not.
            return 'a `{` of a regular expression that repeats nothing is written `\\{`'
          }
          const problem = repeatProblem(repeat, isItem)
          if (problem !== null) return problem
          if (this.pattern[this.#position] === '?') this.#position++
          isItem = false
          break
        }
        case '|':
          this.#position++
          isItem = false
          break
        default:
          this.#position++
          isItem = true
      }
    }
    return open > 0 ? 'a `(` of the regular expression is not closed' : null
  }

  #take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#position
    const match = pattern.exec(this.pattern)
    if (match !== null) this.#position += match[0].length
    return match
  }

  /** Steps over a `(` with what belongs to it; whether it only sets flags, null where it is unknown. */
  #group(): boolean | null {
    if (this.pattern[this.#position + 1] !== '?') {
      this.#position++
      return false
    }
    const match = this.#take(GROUP)
    return match === null ? null : match[0].endsWith(')')
  }

  #escape(): string | null {
    this.#position++
    if (this.#take(ESCAPE) !== null) return null
    const escaped = this.pattern[this.#position]
    if (escaped === undefined) return 'the regular expression ends in a `\\`'
    if (/\d/.test(escaped))
      return 'regular expressions have no backreferences here: rewrite it without'
    return `\`\\${escaped}\` is no escape of regular expressions`
  }

  #class(): string | null {
    this.#position++
    if (this.pattern[this.#position] === '^') this.#position++
    // A bracket in the first place stands for itself.
    if (this.pattern[this.#position] === ']') this.#position++
    while (this.#position < this.pattern.length) {
      if (this.#take(CLASS_NAME) !== null) continue
      const character = this.pattern[this.#position]
      if (character === ']') {
        this.#position++
        return null
      }
      if (character === '\\') {
        const problem = this.#escape()
        if (problem !== null) return problem
      } else this.#position++
    }
    return 'a `[` of the regular expression is not closed'
  }
}

function repeatProblem([, low = '', , high = '']: RegExpExecArray, isItem: boolean): string | null {
  if (!isItem) return 'nothing stands before `{` in the regular expression'
  const times = high === '' ? Number(low) : Number(high)
  if (times > MAX_REGEX_REPEAT || Number(low) > MAX_REGEX_REPEAT) {
    return `a part of the regular expression repeats more than ${MAX_REGEX_REPEAT} times`
  }
  return high !== '' && Number(low) > Number(high)
    ? 'a repetition `{n,m}` of the regular expression ends before it begins'
    : null
}
