import { expect, test } from 'vitest'
import { readLines } from './tail'

test('lines of a tail are records, and what it says of itself', () => {
  const tailed = readLines([
    '',
    '{"time_unix_nano":"0","observed_time_unix_nano":"7","body":"a"}',
    '{"skipped_batches":3}',
    '{"lost_node":"b"}',
    '{"time_unix_nano":"5","observed_time_unix_nano":"7","body":"b"}',
  ])
  expect(tailed.rows.map(({ at, body }) => [at, body])).toEqual([
    ['7', 'a'],
    ['5', 'b'],
  ])
  expect([tailed.skipped, tailed.lost]).toEqual([3, ['b']])
})
