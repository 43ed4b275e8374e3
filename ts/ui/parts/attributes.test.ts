import { expect, test } from 'vitest'
import { readAttributes } from './attributes'

test('attributes are read with every digit, sorted by their names', () => {
  const json =
    '{"b":"x 12345678901234567890 \\"y\\"","a":9223372036854775807,"list":[1,"z"],"n":{"$double":"NaN"}}'
  expect(readAttributes(json).map(({ key, text }) => [key, text])).toEqual([
    ['a', '9223372036854775807'],
    ['b', 'x 12345678901234567890 "y"'],
    ['list', '[1,"z"]'],
    ['n', 'NaN'],
  ])
})

test('what is no JSON is shown as it is', () => {
  expect(readAttributes('{"a":')[0]?.text).toBe('{"a":')
  expect(readAttributes(null)).toEqual([])
})
