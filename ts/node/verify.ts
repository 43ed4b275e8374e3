/** Checks every file of a data folder against its checksums (I6), beside a node or without one. */

import { OtlakeError } from '../base/errors.js'
import { type ByteStream, native, type StoreConfig } from '../native/binding.js'

/** What one file turned out to be. */
export interface Finding {
  /** The file, below the data folder or with its whole path; null where it could not be read, as the message says. */
  path: string | null
  /** A log segment, a file of a table's log, a data file, a resend window, or a whole table. */
  kind: 'segment' | 'commit' | 'file' | 'window' | 'table' | null
  bytes: number
  /** `no_checksum`: another writer's. `gone`: superseded since the check began. */
  outcome: 'whole' | 'no_checksum' | 'gone' | 'damaged' | 'unreadable'
  message: string | null
  checked_bytes: number
  total_bytes: number
}

/** Where the tables are, unless in the data folder. */
export interface Tables {
  tablesDir: string | null
  store: StoreConfig | null
}

/**
 * Each file's finding, as it is checked. Takes no lock and writes nothing.
 *
 * Throws `NODE_DIRECTORY_UNUSABLE` for a folder without data of ours.
 */
export async function* verify(
  dataDir: string,
  { tablesDir, store }: Tables = { tablesDir: null, store: null },
): AsyncGenerator<Finding> {
  let lines: ByteStream | undefined
  try {
    lines = await native().verify(dataDir, tablesDir, store)
    // The first line tells the total alone.
    await lines.next()
    for (let line = await lines.next(); line !== null; line = await lines.next()) {
      yield JSON.parse(line.toString()) as Finding
    }
  } catch (error) {
    throw OtlakeError.from(error)
  } finally {
    lines?.close()
  }
}

/** Whether a finding means that data is lost or may be. */
export function isDamage({ outcome }: Finding): boolean {
  return outcome === 'damaged' || outcome === 'unreadable'
}
