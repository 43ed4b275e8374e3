import { expect, test } from 'vitest'
import { joined, nanos, raw, sql, within } from './sql'

test('what is put into a statement is bound', () => {
  const name = `x' OR '1'='1`
  expect(sql`SELECT * FROM ${raw('spans')} WHERE name = ${name} AND kind = ${2}`).toEqual({
    query: 'SELECT * FROM spans WHERE name = $1 AND kind = $2',
    parameters: [name, 2],
  })
})

test('a statement in a statement keeps its values in their places', () => {
  const inner = joined([sql`a = ${1}`, sql`b = ${2}`], 'AND')
  expect(sql`SELECT ${0} WHERE ${inner} OR c = ${3}`).toEqual({
    query: 'SELECT $1 WHERE a = $2 AND b = $3 OR c = $4',
    parameters: [0, 1, 2, 3],
  })
})

test('times are exact nanoseconds', () => {
  expect(nanos(1_769_860_800_123.456).text).toBe('1769860800123456000')
  expect(within('time_unix_nano', { from: 1, to: 2 }).query).toBe(
    'time_unix_nano >= 1000000 AND time_unix_nano < 2000000',
  )
})
