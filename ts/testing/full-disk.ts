/** A disk without room, for tests of what a node does then. */

import { open } from 'node:fs/promises'

/** Writes a file until there is no room for more. */
export async function fill(path: string): Promise<void> {
  const file = await open(path, 'w')
  try {
    for (;;) await file.write(Buffer.alloc(4096, 1))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  } finally {
    await file.close()
  }
}
