/** `otlake backup`: where the tables are, and the node that is asked where nodes keep them. */

import { join } from 'node:path'
import { native } from '../native/binding.js'
import { backup } from '../node/backup.js'
import { CopiedTables, hasCopies, type NodeFiles } from '../node/backup-copies.js'
import { FolderTables, type TablesSource } from '../node/backup-source.js'
import { areOnNodes } from '../node/storage-config.js'
import { type Control, control } from './control.js'

/** Makes the copy, and tells what it holds. `tables`: as `otlake serve` was given them. */
export async function runBackup(
  dataDir: string,
  to: string,
  tables: string | undefined,
  node: Control,
): Promise<string> {
  const { files, bytes } = await backup(dataDir, to, await sourceOf(dataDir, tables, node))
  return `${to}: ${files} files, ${bytes} bytes`
}

async function sourceOf(
  dataDir: string,
  tables: string | undefined,
  node: Control,
): Promise<TablesSource> {
  const areInDataDir = tables === undefined || areOnNodes(tables)
  if (areInDataDir && (await hasCopies(dataDir))) {
    return new CopiedTables(dataDir, native(), nodeFiles(node))
  }
  return new FolderTables(areInDataDir ? join(dataDir, 'tables') : tables)
}

/** A node's control calls as a backup asks them. */
function nodeFiles(node: Control): NodeFiles {
  return {
    holdLogs: (table) => control(node, 'HoldLogs', { table: table ?? '' }),
    lend: async (key) => {
      const lent = await control<{ path: string; sums: string }>(node, 'LendFile', { key })
      return lent.path === '' ? null : lent
    },
  }
}
