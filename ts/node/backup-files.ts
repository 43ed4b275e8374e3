/** What a backup does with files and folders. */

import { constants } from 'node:fs'
import { copyFile, open, readdir, stat } from 'node:fs/promises'

/** The names of the files in a folder; none where it is absent. */
export async function files(path: string): Promise<string[]> {
  return (await entries(path)).filter((entry) => entry.isFile()).map(({ name }) => name)
}

export async function folders(path: string): Promise<string[]> {
  return (await entries(path)).filter((entry) => entry.isDirectory()).map(({ name }) => name)
}

async function entries(path: string) {
  try {
    return await readdir(path, { withFileTypes: true })
  } catch (error) {
    if (isAbsent(error)) return []
    throw error
  }
}

export async function kind(path: string): Promise<'absent' | 'folder' | 'file'> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file'
  } catch {
    return 'absent'
  }
}

/** Copies a file, whose content is on stable storage then; its bytes, or null where it is gone. */
export async function copyDurably(source: string, target: string): Promise<number | null> {
  try {
    // Shares the blocks where the file system can.
    await copyFile(source, target, constants.COPYFILE_FICLONE)
  } catch (error) {
    if (isAbsent(error)) return null
    throw error
  }
  const file = await open(target, 'r+')
  try {
    await file.sync()
    return (await file.stat()).size
  } finally {
    await file.close()
  }
}

export async function syncFolder(path: string): Promise<void> {
  // Windows opens no folders, and its file system orders names by itself.
  if (process.platform === 'win32') return
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

export function isAbsent(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}
