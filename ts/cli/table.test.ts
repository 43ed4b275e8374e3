import { expect, test } from 'vitest'
import { formatTable } from './table.js'

test('text stands left, numbers right, and long values are cut', () => {
  const columns = [
    { name: 'service', type: 'Utf8' },
    { name: 'spans', type: 'Int64' },
    { name: 'attributes', type: 'Utf8' },
  ]
  const table = formatTable(columns, [
    { service: 'naïve', spans: 7, attributes: 'x'.repeat(100) },
    { service: null, spans: 1234, attributes: { a: 1 } },
  ])
  expect(table.split('\n')).toEqual([
    'service  spans  attributes',
    `───────  ─────  ${'─'.repeat(60)}`,
    `naïve        7  ${'x'.repeat(59)}…`,
    '          1234  {"a":1}',
  ])
})
