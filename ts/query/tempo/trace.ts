/**
 * A trace by its id as the Tempo API has it. The engine gives OTLP's `TracesData`, whole or in chunks;
 * Tempo's `Trace` has the same wire form, and `TraceByIDResponse` has it as a field. Nothing is decoded:
 * of a trace in chunks each `ResourceSpans` is put into a `trace` of its own as it passes by, which a
 * reader joins, because a field of a message that stands several times is merged.
 */

import type { ByteStream } from '../../native/binding.js'

/** Field numbers of `TraceByIDResponse`, with the wire type of what has a length, or of a number. */
const TRACE = 0x0a
const METRICS = 0x12
const STATUS = 0x18
const MESSAGE = 0x22
/** `TracesData.resource_spans`. */
const RESOURCE_SPANS = 0x0a
const PARTIAL = 1

/** What of an answer follows the trace. */
export interface Ending {
  /** What the answer may lack; null where it lacks nothing. */
  partial: string | null
}

/** `TraceByIDResponse` of a trace that is there whole. */
export function wrapTrace(trace: Uint8Array, ending: Ending): Uint8Array {
  return Buffer.concat([Buffer.of(TRACE), varint(trace.length), trace, ends(ending)])
}

/** The fields behind the trace. */
function ends({ partial }: Ending): Buffer {
  const metrics = Buffer.of(METRICS, 0)
  if (partial === null) return metrics
  const message = Buffer.from(lacking(partial))
  return Buffer.concat([
    ...[metrics, Buffer.of(STATUS, PARTIAL)],
    ...[Buffer.of(MESSAGE), varint(message.length), message],
  ])
}

/** What is said of a trace that may lack spans. */
export function lacking(partial: string): string {
  return `the trace may lack spans: ${partial} did not answer`
}

/** The same of a stream's chunks. */
export class WrappedTrace implements ByteStream {
  /** Of the field at hand, how much is still to pass. */
  #left = 0
  /** The beginning of a field that is not there whole. */
  #head: Buffer = Buffer.alloc(0)
  #isDone = false

  constructor(private readonly stream: ByteStream) {}

  get session(): string | null {
    return this.stream.session
  }

  get partial(): string | null {
    return this.stream.partial
  }

  async next(): Promise<Buffer | null> {
    if (this.#isDone) return null
    for (;;) {
      const chunk = await this.stream.next()
      if (chunk === null) {
        this.#isDone = true
        if (this.#left > 0 || this.#head.length > 0) throw new Error('a trace ends within a field')
        return ends({ partial: this.partial })
      }
      const wrapped = this.#wrap(chunk)
      if (wrapped.length > 0) return wrapped
    }
  }

  close(): void {
    this.stream.close()
  }

  #wrap(chunk: Buffer): Buffer {
    const parts: Buffer[] = []
    let rest = chunk
    while (rest.length > 0) {
      if (this.#left > 0) {
        const taken = rest.subarray(0, this.#left)
        parts.push(taken)
        this.#left -= taken.length
        rest = rest.subarray(taken.length)
        continue
      }
      rest = Buffer.concat([this.#head, rest])
      const field = readLength(rest)
      if (field === null) {
        this.#head = rest
        break
      }
      this.#head = Buffer.alloc(0)
      const head = Buffer.concat([Buffer.of(RESOURCE_SPANS), varint(field.length)])
      parts.push(Buffer.of(TRACE), varint(head.length + field.length), head)
      this.#left = field.length
      rest = rest.subarray(field.size)
    }
    return Buffer.concat(parts)
  }
}

/** The longest a length can be in its wire form. */
const MOST_VARINT_BYTES = 5

/** The length of the field at the beginning, and how long its head is; null where more is needed. */
function readLength(bytes: Buffer): { length: number; size: number } | null {
  if (bytes[0] !== RESOURCE_SPANS) throw new Error(`a trace has a field of tag ${bytes[0]}`)
  let length = 0
  for (let index = 0; index < MOST_VARINT_BYTES; index++) {
    const byte = bytes[index + 1]
    if (byte === undefined) return null
    length += (byte & 0x7f) * 2 ** (7 * index)
    if (byte < 0x80) return { length, size: index + 2 }
  }
  throw new Error('a trace has a field that is too long')
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let left = value
  while (left >= 0x80) {
    bytes.push((left % 0x80) | 0x80)
    left = Math.floor(left / 0x80)
  }
  return Buffer.from([...bytes, left])
}

const OTLP_HEAD = '{"resourceSpans":'

/**
 * The engine's OTLP/JSON with other text in front, in place of its name, and behind: `{"batches":` is
 * what the API's first version has.
 */
export class RenamedTrace implements ByteStream {
  #isFirst = true
  #isDone = false

  constructor(
    private readonly stream: ByteStream,
    private readonly front: string,
    private readonly behind: () => string,
  ) {}

  get session(): string | null {
    return this.stream.session
  }

  get partial(): string | null {
    return this.stream.partial
  }

  async next(): Promise<Buffer | null> {
    if (this.#isDone) return null
    const chunk = await this.stream.next()
    if (chunk === null) {
      this.#isDone = true
      return Buffer.from(this.behind())
    }
    if (!this.#isFirst) return chunk
    this.#isFirst = false
    return renamed(chunk, this.front)
  }

  close(): void {
    this.stream.close()
  }
}

/** The first bytes of OTLP/JSON with another front. */
export function renamed(chunk: Buffer, front: string): Buffer {
  if (!chunk.subarray(0, OTLP_HEAD.length).equals(Buffer.from(OTLP_HEAD))) {
    throw new Error('a trace in JSON begins with its resource spans')
  }
  return Buffer.concat([Buffer.from(front), chunk.subarray(OTLP_HEAD.length)])
}
