/** Arrow streams of the SQL endpoint. This is a part of its own, loaded by the views that need it. */

import { type RecordBatch, RecordBatchReader, type Vector } from 'apache-arrow'
import { type Statement, sqlRequest } from './sql'

/** The batches of a statement, as they come; what gives it an `id` follows it by itself. */
export async function* batches(
  statement: Statement,
  signal?: AbortSignal,
  onBytes: (bytes: number) => void = () => undefined,
  id?: string,
): AsyncGenerator<RecordBatch> {
  const response = await sqlRequest(statement, 'arrow', signal, id)
  if (!response.body) return
  let read = 0
  const counted = response.body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        read += chunk.length
        onBytes(read)
        controller.enqueue(chunk)
      },
    }),
  )
  const reader = await RecordBatchReader.from(counted)
  await reader.open()
  for await (const batch of reader) yield batch
}

/** A column of a batch. Throws where there is none: the statement has another name for it. */
export function column(batch: RecordBatch, name: string): Vector {
  const vector = batch.getChild(name)
  if (!vector) throw new Error(`the answer has no column ${name}`)
  return vector
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** Bytes in hexadecimal, as ids are written. */
export function hex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += HEX[byte]
  return text
}
