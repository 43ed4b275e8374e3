/** Where a backup has tables from: the port, and tables in a folder. */

import { join } from 'node:path'
import { OtlakeError } from '../base/errors.js'
import { copyDurably, files, folders, kind } from './backup-files.js'
import { isBucket } from './storage-config.js'

export const LOG = '_delta_log'

/** Tables, as a backup copies them. Paths are below the folder of tables. */
export interface TablesSource {
  /** The folder that they are in: a copy does not go there. */
  readonly folder: string
  /** Throws where they cannot be copied. */
  open(): Promise<void>
  /** The tables. What is told from here on is no older than this call. */
  names(): Promise<string[]>
  /** The names of a table's log, as one listing has them. */
  log(table: string): Promise<string[]>
  /** The data files that belong into `copy`, a data directory that has the table's log by now. */
  data(table: string, copy: string): Promise<string[]>
  /**
   * Copies a file; its bytes, or null where it is gone, as what a newer listing does without. Throws for
   * one that the copy cannot do without.
   */
  copy(path: string, target: string): Promise<number | null>
}

/** Tables in a folder that any process reads. */
export class FolderTables implements TablesSource {
  constructor(readonly folder: string) {}

  async open(): Promise<void> {
    if (isBucket(this.folder)) {
      const message = `${this.folder} is not copied here: turn on versioning of the bucket, or copy the prefix with a tool of the store's (aws s3 sync), each table's _delta_log first`
      throw new OtlakeError('CLI_USAGE', message)
    }
    if ((await kind(this.folder)) !== 'folder') {
      const message = `there is no folder ${this.folder}: name the data directory, and with --tables the tables where they are elsewhere`
      throw new OtlakeError('NODE_DIRECTORY_UNUSABLE', message)
    }
  }

  names(): Promise<string[]> {
    return folders(this.folder)
  }

  log(table: string): Promise<string[]> {
    return files(join(this.folder, table, LOG))
  }

  /** All that are there: what is newer than the log goes when the copy is opened. */
  async data(table: string): Promise<string[]> {
    const paths: string[] = []
    const left = [table]
    for (let path = left.pop(); path !== undefined; path = left.pop()) {
      for (const name of await files(join(this.folder, path))) paths.push(join(path, name))
      for (const name of await folders(join(this.folder, path))) {
        if (name !== LOG) left.push(join(path, name))
      }
    }
    return paths
  }

  copy(path: string, target: string): Promise<number | null> {
    return copyDurably(join(this.folder, path), target)
  }
}
