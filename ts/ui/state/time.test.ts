import { describe, expect, test } from 'vitest'
import {
  formatTime,
  niceStep,
  parseLength,
  parseRange,
  parseTime,
  rangeName,
  stepsOf,
} from './time'

const NOW = Date.UTC(2026, 0, 31, 12)

describe('parseTime', () => {
  test.each([
    ['now', NOW],
    ['now-15m', NOW - 900_000],
    ['now - 1.5 h', NOW - 5_400_000],
    ['now+1d', NOW + 86_400_000],
    ['2026-01-31T11:00:00Z', NOW - 3_600_000],
    ['2026-01-31T12:00:00+01:00', NOW - 3_600_000],
    ['1769860800000', 1_769_860_800_000],
  ])('reads %s', (text, wanted) => expect(parseTime(text, NOW)).toBe(wanted))

  test.each(['', 'now-', 'now-1y', 'yesterday', '12', '2026-13-40'])('refuses %j', (text) => {
    expect(parseTime(text, NOW)).toBeNull()
  })
})

test('a range must begin before it ends', () => {
  expect(parseRange('now-1h', 'now', NOW)).toEqual({ from: NOW - 3_600_000, to: NOW })
  expect(parseRange('now', 'now-1h', NOW)).toBeNull()
  expect(parseRange('now-1h', 'then', NOW)).toBeNull()
})

test('lengths are read as the address has them', () => {
  expect([parseLength('10s'), parseLength('5m'), parseLength('')]).toEqual([10_000, 300_000, null])
})

test('steps are round, cover the range, and are no more than about those wanted', () => {
  for (const hours of [0.1, 1, 6, 24, 24 * 30, 24 * 365]) {
    const range = { from: NOW - hours * 3_600_000 + 123, to: NOW }
    const step = niceStep(range, 100)
    const steps = stepsOf(range, step)
    expect(steps.length).toBeLessThanOrEqual(102)
    expect(steps.every((at) => at % step === 0)).toBe(true)
    expect((steps[0] ?? 0) * 1000).toBeLessThanOrEqual(range.from)
    expect(((steps.at(-1) ?? 0) + step) * 1000).toBeGreaterThanOrEqual(range.to)
  }
})

test('times are written in the zone that was chosen', () => {
  expect(formatTime(NOW + 5, 'UTC')).toBe('2026-01-31 12:00:00.005')
  expect(formatTime(NOW, 'Asia/Tokyo', 'minutes')).toBe('2026-01-31 21:00')
  expect(formatTime(Number.NaN, 'UTC')).toBe('–')
})

test('a range is named by its preset, or by its ends', () => {
  expect(rangeName('now-1h', 'now', 'UTC')).toBe('Last hour')
  expect(rangeName('now-3h', 'now-1h', 'UTC')).toBe('now-3h to now-1h')
  expect(rangeName('1769860800000', '1769864400000', 'UTC')).toBe(
    '2026-01-31 12:00:00 – 2026-01-31 13:00:00',
  )
})
