import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { backup, upToGap } from './backup.js'
import { FolderTables } from './backup-source.js'

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

test('tables that are elsewhere are in the copy, where a data directory has them', async () => {
  const root = mkdtempSync(join(tmpdir(), 'otlake-backup-'))
  try {
    const [data, tables, copy] = ['data', 'shared', 'copy'].map((name) => join(root, name)) as [
      string,
      string,
      string,
    ]
    const put = (path: string, text: string) => {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
    }
    put(join(data, 'log', 'stream', '1.log'), 'log')
    put(join(tables, 'spans', '_delta_log', commit(0)), 'commit')
    put(join(tables, 'spans', 'tenant=a', 'part.parquet'), 'rows')
    const inside = new FolderTables(join(data, 'tables'))
    await expect(backup(data, copy, inside)).rejects.toMatchObject({
      code: 'NODE_DIRECTORY_UNUSABLE',
    })
    await expect(
      backup(data, join(tables, 'copy'), new FolderTables(tables)),
    ).rejects.toMatchObject({
      code: 'CLI_USAGE',
    })
    expect(await backup(data, copy, new FolderTables(tables))).toEqual({ files: 3, bytes: 13 })
    expect(readFileSync(join(copy, 'tables', 'spans', 'tenant=a', 'part.parquet'), 'utf8')).toBe(
      'rows',
    )
    expect(readFileSync(join(copy, 'tables', 'spans', '_delta_log', commit(0)), 'utf8')).toBe(
      'commit',
    )
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
})
