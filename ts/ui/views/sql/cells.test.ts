import {
  Decimal,
  Field,
  Float64,
  Int64,
  List,
  type RecordBatch,
  Struct,
  TimestampMicrosecond,
  tableFromArrays,
  Utf8,
  vectorFromArray,
} from 'apache-arrow'
import { expect, test } from 'vitest'
import { ResultRows, textOf } from './cells'

function batch(values: number[]): RecordBatch {
  const [made] = tableFromArrays({ n: Float64Array.from(values) }).batches
  if (!made) throw new Error('no batch')
  return made
}

test('rows of many batches are one list', () => {
  const rows = new ResultRows()
  for (const values of [[1, 2, 3], [], [4], [5, 6]]) rows.add(batch(values))
  expect(rows.count).toBe(6)
  expect(Array.from({ length: 6 }, (_, row) => rows.number(row, 0))).toEqual([1, 2, 3, 4, 5, 6])
  expect(rows.columns).toEqual([{ name: 'n', type: 'Float64', isNumber: true, isTime: false }])
})

test('values are written without losing digits', () => {
  const big = vectorFromArray([9223372036854775807n], new Int64())
  expect(textOf(big.get(0), big.type)).toBe('9223372036854775807')
  const time = vectorFromArray([1_700_000_000_123.456], new TimestampMicrosecond())
  expect(textOf(time.get(0), time.type)).toMatch(/^2023-11-14T22:13:20\.123/)
  expect(textOf(new Uint8Array([0, 255]), new Utf8())).toBe('00ff')
  expect(textOf(null, new Utf8())).toBeNull()
  const decimal = new Decimal(2, 20)
  expect(textOf(new Uint32Array([12345, 0, 0, 0]), decimal)).toBe('123.45')
  expect(textOf(new Uint32Array([0xfffffffb, 0xffffffff, 0xffffffff, 0xffffffff]), decimal)).toBe(
    '-0.05',
  )
})

test('lists and structs are written as JSON', () => {
  const list = vectorFromArray([[1.5, 2]], new List(new Field('item', new Float64())))
  expect(textOf(list.get(0), list.type)).toBe('[1.5,2]')
  const struct = new Struct([new Field('name', new Utf8()), new Field('at', new Int64())])
  const structs = vectorFromArray([[{ name: 'a', at: 7n }]], new List(new Field('item', struct)))
  expect(textOf(structs.get(0), structs.type)).toBe('[{"name":"a","at":7}]')
})
