/**
 * Many traces as one answer, chunk by chunk: of each the next is asked for when the client has taken
 * the one before, so no more than a chunk is in memory, however many they are.
 */

import type { ByteStream } from '../../native/binding.js'
import { lacking } from '../tempo/trace.js'
import { NOT_FOUND, type ShownError } from './failure.js'

/** What of a trace is sent, and what stands around all of them. */
export interface Frame {
  front: string
  /** Whether a trace is OTLP/JSON, of whose `{"resourceSpans":[…]}` only the items are sent. */
  isOtlp: boolean
  behind(errors: ShownError[]): string
}

/** Below `/api`. */
export const JAEGER: Frame = {
  front: '{"data":[',
  isOtlp: false,
  behind: (errors) => {
    const shown = JSON.stringify(errors.length === 0 ? null : errors)
    return `],"total":0,"limit":0,"offset":0,"errors":${shown}}`
  },
}

/** Below `/api/v3`. */
export const OTLP: Frame = {
  front: '{"result":{"resourceSpans":[',
  isOtlp: true,
  behind: () => ']}}',
}

export class JoinedTraces implements ByteStream {
  readonly session: string | null
  readonly partial: string | null
  readonly #errors: ShownError[] = []
  readonly #pieces: AsyncGenerator<Buffer>
  #open: ByteStream | undefined
  #isClosed = false

  constructor(
    ids: readonly string[],
    frame: Frame,
    /** A trace; null where there is none. */
    trace: (id: string) => Promise<ByteStream | null>,
    found: { session: string | null; partial: string | null },
    private readonly isEachWanted: boolean,
  ) {
    this.session = found.session
    this.partial = found.partial
    this.#pieces = this.#joined(ids, frame, trace)
  }

  async next(): Promise<Buffer | null> {
    const { value, done } = await this.#pieces.next()
    return done ? null : value
  }

  close(): void {
    this.#isClosed = true
    this.#open?.close()
  }

  async *#joined(
    ids: readonly string[],
    frame: Frame,
    trace: (id: string) => Promise<ByteStream | null>,
  ): AsyncGenerator<Buffer> {
    // It goes out with what comes next, so that an error before that is a proper one.
    let before = frame.front
    for (const id of ids) {
      if (this.#isClosed) return
      const stream = await trace(id)
      if (stream === null) {
        if (this.isEachWanted) this.#errors.push({ code: 404, msg: NOT_FOUND, traceID: id })
        continue
      }
      this.#open = stream
      let isSent = false
      try {
        for await (const chunk of frame.isOtlp ? items(stream) : chunks(stream)) {
          yield isSent ? chunk : Buffer.concat([Buffer.from(before), chunk])
          isSent = true
        }
        const { partial } = stream
        if (partial !== null) this.#errors.push({ code: 206, msg: lacking(partial), traceID: id })
      } finally {
        stream.close()
      }
      if (isSent) before = ','
    }
    const front = before === ',' ? '' : before
    yield Buffer.from(front + frame.behind(this.#errors))
  }
}

/** What an answer's headers say of what it shows; `covered` is the node's own token. */
export function headersOf(
  { session, partial }: { session: string | null; partial: string | null },
  covered: string,
): Record<string, string> {
  const headers = { 'content-type': 'application/json', 'otlake-session': session ?? covered }
  return partial === null ? headers : { ...headers, 'otlake-partial': partial }
}

/** A stream's chunks, one after the other. */
export async function* chunks(stream: ByteStream): AsyncGenerator<Buffer> {
  for (let chunk = await stream.next(); chunk !== null; chunk = await stream.next()) yield chunk
}

const HEAD = Buffer.from('{"resourceSpans":[')
const TAIL = Buffer.from(']}')

/** What stands between the brackets of OTLP/JSON. */
async function* items(stream: ByteStream): AsyncGenerator<Buffer> {
  let isFirst = true
  // What may be the end is held back until it is known.
  let held: Buffer = Buffer.alloc(0)
  for await (const chunk of chunks(stream)) {
    if (isFirst && !chunk.subarray(0, HEAD.length).equals(HEAD)) {
      throw new Error('a trace in JSON begins with its resource spans')
    }
    held = Buffer.concat([held, isFirst ? chunk.subarray(HEAD.length) : chunk])
    isFirst = false
    const end = held.length - TAIL.length
    if (end > 0) yield held.subarray(0, end)
    held = held.subarray(Math.max(end, 0))
  }
  if (!held.equals(TAIL)) throw new Error('a trace in JSON has another end')
}
