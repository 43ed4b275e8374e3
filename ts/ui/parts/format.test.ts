import { expect, test } from 'vitest'
import { formatBytes, formatCount, formatDuration, formatPercent, formatRate } from './format'

test('durations have the unit that suits them', () => {
  expect([0, 999, 1234, 5_678_000, 1.5e9, 90e9, 7200e9, -2e6].map(formatDuration)).toEqual([
    ...['0', '999 ns', '1.23 µs', '5.68 ms', '1.5 s', '1.5 min', '2 h', '-2 ms'],
  ])
})

test('counts, bytes, shares and rates are short', () => {
  expect([7, 9999, 12_345, 2.5e6].map(formatCount)).toEqual(['7', '9 999', '12.3k', '2.5M'])
  expect([0, 1023, 1536, 5 * 1024 ** 3].map(formatBytes)).toEqual([
    ...['0 B', '1 023 B', '1.5 KiB', '5 GiB'],
  ])
  expect([formatPercent(0.1234), formatPercent(Number.NaN)]).toEqual(['12.3%', '–'])
  expect([formatRate(0.05), formatRate(3), formatRate(0)]).toEqual(['3/min', '3/s', '0/s'])
})
