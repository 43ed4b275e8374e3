import { expect, test } from 'vitest'
import type { Progress } from '../api/under-way'
import { stands } from './progress'

const at = (more: Partial<Progress>): Progress => ({
  ...{ id: 'a', state: 'reading', elapsedMs: 1200, rowsRead: 0, rowsToRead: 0, share: null },
  ...more,
})

test('a share is told with the rows of the plan at work, where it reads some', () => {
  expect(stands(at({ share: 0.25, rowsRead: 40_000, rowsToRead: 160_000 }))).toBe(
    '25% read (40k of 160k rows)',
  )
  expect(stands(at({ share: 0.5 }))).toBe('50% read')
})

test('where no share is known it says what the query does', () => {
  expect(stands(at({ state: 'waiting' }))).toBe('waits for other queries to end')
  expect(stands(at({ state: 'shared' }))).toContain('not known')
  expect(stands(at({ state: 'planning', share: 0.3 }))).toBe('is planned')
  expect(stands(at({}))).toBe('reads')
})
