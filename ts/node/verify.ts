/**
 * Checks every file of a data folder against its checksums (I6), beside a node or without one. Where a
 * cluster's nodes keep the tables on their own disks, those of this one: what only others can have is
 * told apart, and a node that is asked says who has it.
 */

import { OtlakeError } from '../base/errors.js'
import { type ByteStream, native, type StoreConfig } from '../native/binding.js'
import type { FoundCopies } from '../native/cluster.js'
import { keptName } from './cluster/identity.js'

/** What one file turned out to be. */
export interface Finding {
  /** The file, below the data folder or with its whole path; null where it could not be read, as the message says. */
  path: string | null
  /**
   * A log segment, a file of a table's log, a data file, a resend window, decisions of tail sampling,
   * or a whole table. `unnamed`: a copy of a data file that its table does not name, or not any more.
   */
  kind: 'segment' | 'commit' | 'file' | 'unnamed' | 'window' | 'decisions' | 'table' | null
  bytes: number
  /**
   * `no_checksum`: another writer's. `gone`: superseded since the check began. Of data files that nodes
   * keep: `elsewhere`: not on this disk; `under_replicated`: fewer nodes have it than should; `missing`:
   * none that answers has.
   */
  outcome:
    | 'whole'
    | 'no_checksum'
    | 'gone'
    | 'damaged'
    | 'unreadable'
    | 'elsewhere'
    | 'under_replicated'
    | 'missing'
  message: string | null
  checked_bytes: number
  total_bytes: number
}

/** Where the tables are, unless in the data folder. */
export interface Tables {
  tablesDir: string | null
  store: StoreConfig | null
}

/** A node that says which nodes have files, by their paths below the folder of tables. */
export type AskCopies = (keys: string[]) => Promise<FoundCopies>

/** Files that a node is asked about at once. */
const ASKED = 1000
const COPIES = 'files/tables/'

/**
 * Each file's finding, as it is checked. Takes no lock and writes nothing. With `ask`, data files that
 * nodes keep have a second one where too few have them, at the end.
 *
 * Throws `NODE_DIRECTORY_UNUSABLE` for a folder without data of ours, and what `ask` does.
 */
export async function* verify(
  dataDir: string,
  { tablesDir, store }: Tables = { tablesDir: null, store: null },
  ask: AskCopies | null = null,
): AsyncGenerator<Finding> {
  let lines: ByteStream | undefined
  const named: Finding[] = []
  try {
    lines = await native().verify(dataDir, tablesDir, store)
    // The first line tells the total alone.
    await lines.next()
    for (let line = await lines.next(); line !== null; line = await lines.next()) {
      const finding = JSON.parse(line.toString()) as Finding
      const isOnNodes = finding.kind === 'file' && finding.path?.startsWith(COPIES)
      if (ask !== null && isOnNodes) named.push(finding)
      // What others have of it is told with it.
      if (ask === null || finding.outcome !== 'elsewhere') yield finding
    }
    if (ask !== null) yield* counted(dataDir, named, ask)
  } catch (error) {
    throw OtlakeError.from(error)
  } finally {
    lines?.close()
  }
}

/** How many nodes have each file, where that is to be told. */
async function* counted(
  dataDir: string,
  named: readonly Finding[],
  ask: AskCopies,
): AsyncGenerator<Finding> {
  const own = await keptName(dataDir)
  const stillNamed = new Map<string, Promise<Set<string>>>()
  for (let at = 0; at < named.length; at += ASKED) {
    const part = named.slice(at, at + ASKED)
    const { files, silent } = await ask(part.map(keyOf))
    for (const [index, finding] of part.entries()) {
      const found = verdict(finding, files[index], { own, silent })
      if (found === null) continue
      // What a job replaced since the check began is deleted by and by.
      const isGone = found.outcome === 'missing' && !(await isNamed(dataDir, found, stillNamed))
      const last = { ...found, checked_bytes: found.total_bytes }
      yield isGone ? { ...last, outcome: 'gone', message: null } : last
    }
  }
}

function keyOf({ path }: Finding): string {
  return (path ?? '').slice(COPIES.length)
}

/** What is to be told of a file besides; null: nothing. */
export function verdict(
  finding: Finding,
  holders: FoundCopies['files'][number] | undefined,
  { own, silent }: { own: string; silent: readonly string[] },
): Finding | null {
  const { wanted, nodes } = holders ?? { wanted: 1, nodes: [] }
  // The node does not know of a byte that nobody has read since it was flipped.
  const having = isDamage(finding) ? nodes.filter((name) => name !== own) : nodes
  const away = silent.length === 0 ? '' : `; not asked: ${silent.join(', ')}`
  const besides = { ...finding, bytes: 0 }
  if (having.length === 0) {
    return { ...besides, outcome: 'missing', message: `no node has a sound copy${away}` }
  }
  if (having.length < wanted) {
    const message = `${having.length} of ${wanted} nodes have it: ${[...having].sort().join(', ')}${away}`
    return { ...besides, outcome: 'under_replicated', message }
  }
  return finding.outcome === 'elsewhere' ? finding : null
}

/** Whether a table's newest version names a file; read once for each table. */
async function isNamed(
  dataDir: string,
  finding: Finding,
  known: Map<string, Promise<Set<string>>>,
): Promise<boolean> {
  const [table = '', ...path] = keyOf(finding).split('/')
  const named =
    known.get(table) ??
    native()
      .namedFiles(dataDir, table)
      .then((all) => new Set(all))
  known.set(table, named)
  return (await named).has(path.join('/'))
}

/** Whether a finding means that data is lost or may be. */
export function isDamage({ outcome }: Finding): boolean {
  return outcome === 'damaged' || outcome === 'unreadable' || outcome === 'missing'
}
