/** Results of SQL: their cells as text, and which columns a plot can have. */

import type { Field, RecordBatch, Vector } from 'apache-arrow'
import { DataType, TimeUnit } from 'apache-arrow'
import { hex } from '../../api/arrow'

export interface Column {
  name: string
  type: string
  isNumber: boolean
  isTime: boolean
}

export function columnsOf(fields: Field[]): Column[] {
  return fields.map(({ name, type }) => ({
    name,
    type: String(type),
    isNumber: DataType.isInt(type) || DataType.isFloat(type) || DataType.isDecimal(type),
    isTime: DataType.isTimestamp(type) || DataType.isDate(type),
  }))
}

/** Rows of batches that grow. */
export class ResultRows {
  readonly #batches: RecordBatch[] = []
  readonly #ends: number[] = []
  columns: Column[] = []
  bytes = 0

  get count(): number {
    return this.#ends.at(-1) ?? 0
  }

  add(batch: RecordBatch): void {
    if (this.#batches.length === 0) this.columns = columnsOf(batch.schema.fields)
    this.#batches.push(batch)
    this.#ends.push(this.count + batch.numRows)
  }

  /** The text of a cell; null where there is no value. */
  cell(row: number, column: number): string | null {
    const vector = this.#vector(row, column)
    if (!vector) return null
    return textOf(vector.vector.get(vector.row), vector.vector.type)
  }

  /** The number of a cell, times in seconds since 1970; null where it is none. */
  number(row: number, column: number): number | null {
    const found = this.#vector(row, column)
    if (!found) return null
    const value = found.vector.get(found.row) as unknown
    if (value === null || value === undefined) return null
    const { type } = found.vector
    const number = Number(DataType.isDecimal(type) ? textOf(value, type) : value)
    if (!Number.isFinite(number)) return null
    return this.columns[column]?.isTime ? number / 1000 : number
  }

  #vector(row: number, column: number): { vector: Vector; row: number } | null {
    let [low, high] = [0, this.#ends.length - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#ends[middle] ?? 0) <= row) low = middle + 1
      else high = middle
    }
    const batch = this.#batches[low]
    const vector = batch?.getChildAt(column)
    if (!batch || !vector) return null
    return { vector, row: row - ((this.#ends[low] ?? 0) - batch.numRows) }
  }
}

/** A value as text, as the JSON of the SQL endpoint has it. */
export function textOf(value: unknown, type: DataType): string | null {
  if (value === null || value === undefined) return null
  if (value instanceof Uint8Array) return hex(value)
  if (DataType.isDecimal(type)) return decimalOf(value as Uint32Array, type.scale)
  if (DataType.isTimestamp(type)) return timeOf(Number(value), type.unit)
  if (DataType.isDate(type)) return new Date(Number(value)).toISOString().slice(0, 10)
  if (typeof value === 'object') return JSON.stringify(plainOf(value))
  return String(value)
}

/** Arrow gives times in milliseconds, with fractions. */
function timeOf(ms: number, unit: TimeUnit): string {
  if (Math.abs(ms) > 8.64e15) return String(ms)
  const text = new Date(ms).toISOString()
  if (unit === TimeUnit.SECOND || unit === TimeUnit.MILLISECOND) return text
  const micros = Math.round((ms - Math.floor(ms)) * 1000)
  return micros === 0 ? text : `${text.slice(0, -1)}${String(micros).padStart(3, '0')}Z`
}

/** Arrow gives decimals as words of 32 bits, the lowest first, in two's complement. */
function decimalOf(words: Uint32Array, scale: number): string {
  let value = 0n
  for (let index = words.length - 1; index >= 0; index--) {
    value = (value << 32n) | BigInt(words[index] ?? 0)
  }
  value = BigInt.asIntN(words.length * 32, value)
  const text = String(value < 0n ? -value : value).padStart(scale + 1, '0')
  const whole = text.slice(0, text.length - scale)
  return `${value < 0n ? '-' : ''}${whole}${scale > 0 ? `.${text.slice(-scale)}` : ''}`
}

/** Lists and structs as JSON has them. */
function plainOf(value: unknown): unknown {
  if (typeof value === 'bigint')
    return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
  if (value instanceof Uint8Array) return hex(value)
  if (value === null || typeof value !== 'object') return value
  if (
    Symbol.iterator in value &&
    !('toJSON' in value && !Array.isArray(value) && 'size' in value)
  ) {
    const items = [...(value as Iterable<unknown>)]
    const isStruct =
      items.every((item) => Array.isArray(item) && item.length === 2) && !isList(value)
    if (isStruct) {
      return Object.fromEntries(
        (items as [string, unknown][]).map(([key, inner]) => [key, plainOf(inner)]),
      )
    }
    return items.map(plainOf)
  }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plainOf(inner)]))
}

const isList = (value: object) => Array.isArray(value) || 'getChildAt' in value
