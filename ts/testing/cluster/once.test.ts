import { expect, test } from 'vitest'
import { notOnce } from './once.js'

const SENT = new Set(['a', 'b', 'c'])
const ACKNOWLEDGED = new Set(['a', 'b'])

test('all that was acknowledged, once, is as it should be, with or without what was not', () => {
  expect(notOnce(SENT, ACKNOWLEDGED, new Map(Object.entries({ a: 1, b: 1 })))).toEqual([])
  expect(notOnce(SENT, ACKNOWLEDGED, new Map(Object.entries({ a: 1, b: 1, c: 1 })))).toEqual([])
})

test('what was acknowledged and is not there is lost', () => {
  const stored = new Map(Object.entries({ b: 1, c: 1 }))
  expect(notOnce(SENT, ACKNOWLEDGED, stored)).toEqual(['1 lost: a'])
})

test('what is there twice is doubled, whether it was acknowledged or not', () => {
  const stored = new Map(Object.entries({ a: 2, b: 1, c: 3 }))
  expect(notOnce(SENT, ACKNOWLEDGED, stored)).toEqual(['2 doubled: a, c'])
})

test('what nobody sent is told, and does not make up for what is lost', () => {
  const stored = new Map(Object.entries({ a: 1, d: 1 }))
  expect(notOnce(SENT, ACKNOWLEDGED, stored)).toEqual(['1 lost: b', '1 never sent: d'])
})
