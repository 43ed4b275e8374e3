import { expect, test } from 'vitest'
import { upToGap } from './backup.js'

const commit = (version: number) => `${String(version).padStart(20, '0')}.json`
const checkpoint = (version: number) => `${String(version).padStart(20, '0')}.checkpoint.parquet`

test('a listing that lacks a commit ends before it', () => {
  const names = [commit(4), commit(0), commit(1), commit(3)]
  expect(upToGap(names)).toEqual([commit(0), commit(1)])
})

test('a gap before the newest checkpoint does not matter, and its commits are kept', () => {
  const names = [commit(1), commit(3), checkpoint(4), `.${checkpoint(4)}.crc32c`, commit(5)]
  expect(upToGap(names)).toEqual(names)
})

test('a checkpoint whose commits are cleaned up stands alone', () => {
  expect(upToGap([checkpoint(50), commit(52)])).toEqual([checkpoint(50)])
})

test('an empty log is copied empty', () => {
  expect(upToGap([])).toEqual([])
})
