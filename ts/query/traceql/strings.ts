/** Text in a query: in double quotes with Go's escapes, or in backticks as it is. */

import { failure } from './failure.js'

const SIMPLE: Record<string, string> = {
  ...{ '"': '"', '\\': '\\', n: '\n', t: '\t', r: '\r' },
  ...{ a: '\x07', b: '\b', f: '\f', v: '\v' },
}
/** `\x41`, `\101`, `\u0041`, `\U00000041` */
const CODED = /x[0-9a-fA-F]{2}|[0-7]{3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}/y

/**
 * The text whose quote stands at `from`, and the offset behind it. In an attribute's name (`isName`)
 * only `\"` and `\\` are escapes. Throws `TRACEQL_SYNTAX`.
 */
export function readString(
  text: string,
  from: number,
  isName = false,
): { value: string; to: number } {
  const unended = () =>
    failure('TRACEQL_SYNTAX', text, from, 'the text has no end: close its quotes')
  if (text[from] === '`') {
    const end = text.indexOf('`', from + 1)
    if (end < 0) throw unended()
    return { value: text.slice(from + 1, end), to: end + 1 }
  }
  // Bytes, because `\x` gives bytes of UTF-8 and not characters.
  const parts: Buffer[] = []
  let plain = from + 1
  for (let position = plain; ; position++) {
    const character = text[position]
    if (character === undefined) throw unended()
    if (character !== '"' && character !== '\\') continue
    parts.push(Buffer.from(text.slice(plain, position)))
    if (character === '"') {
      return { value: Buffer.concat(parts).toString('utf8'), to: position + 1 }
    }
    const escaped = text[position + 1] ?? ''
    CODED.lastIndex = position + 1
    const coded = isName ? null : CODED.exec(text)?.[0]
    if (Object.hasOwn(SIMPLE, escaped) && (!isName || '"\\'.includes(escaped))) {
      parts.push(Buffer.from(SIMPLE[escaped] ?? ''))
      position += 1
    } else if (coded) {
      parts.push(decode(text, position, coded))
      position += coded.length
    } else {
      const fix = `write \`\\\\${escaped}\`${isName ? '' : ', or the text in backticks'}`
      const problem = `\`\\${escaped}\` is no escape: ${fix}`
      throw failure('TRACEQL_SYNTAX', text, position, problem)
    }
    plain = position + 1
  }
}

function decode(text: string, position: number, coded: string): Buffer {
  const isOctal = /^\d/.test(coded)
  const number = Number.parseInt(isOctal ? coded : coded.slice(1), isOctal ? 8 : 16)
  const isByte = isOctal || coded.startsWith('x')
  const isSurrogate = number >= 0xd800 && number < 0xe000
  if (isByte ? number > 0xff : number > 0x10ffff || isSurrogate) {
    throw failure('TRACEQL_SYNTAX', text, position, `\`\\${coded}\` is no character`)
  }
  return isByte ? Buffer.of(number) : Buffer.from(String.fromCodePoint(number))
}

/** The text in double quotes, for `readString` to read. */
export function printString(value: string): string {
  const escaped = value.replaceAll(/[\\"\n\t\r]/g, (character) => {
    const [letter] = Object.entries(SIMPLE).find(([, each]) => each === character) ?? []
    return `\\${letter}`
  })
  return `"${escaped}"`
}

/** An attribute's name in quotes. */
export function printName(name: string): string {
  return `"${name.replaceAll(/[\\"]/g, (character) => `\\${character}`)}"`
}
