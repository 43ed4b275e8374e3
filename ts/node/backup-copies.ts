/**
 * Tables of a cluster whose nodes keep the files on their own disks, as a backup of one node has them.
 *
 * ```text
 * <data>/files/tables/<key>   this node's copies ──checked by──> <data>/files/sums/<key>
 * ```
 *
 * The node that runs on the folder knows what the newest commit is, and has every log on its disk when
 * it is asked (`holdLogs`): its own commits are there before its log lets go of their records, those of
 * others come a moment later. Data files that are not here, or damaged, it fetches from those who have
 * them (`lend`), one by one, into a file in its folder that is taken from there: a token is one tenant's,
 * and such a file has the rows of all, so no bytes go through an answer.
 *
 * Without the node the copy is of what this disk has, and where that is not all that the logs name there
 * is none.
 */

import { readFile, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { OtlakeError } from '../base/errors.js'
import { copyDurably, files, folders, isAbsent, kind } from './backup-files.js'
import { LOG, type TablesSource } from './backup-source.js'
import { keptName } from './cluster/identity.js'

/** Attempts at one file: it can go, or come, while it is copied. */
const ATTEMPTS = 5
const FILES = 'files'
const ABSENT = 'is not on its disk'

/** What the native module tells of copies. */
export interface CopiesPort {
  copiesAreOpen(dataDir: string): Promise<boolean>
  /** Null: it is whole; else what is wrong. */
  checkCopy(path: string, sums: string): Promise<string | null>
  namedFiles(dataDir: string, table: string): Promise<string[]>
}

/** What the node does that runs on the folder. */
export interface NodeFiles {
  /** Of one table, or all. */
  holdLogs(
    table: string | null,
  ): Promise<{ node: string; logs: { table: string; names: string[] }[] }>
  /** The path is below the data folder; null: the node has a sound copy of its own. */
  lend(key: string): Promise<{ path: string; sums: string } | null>
}

/** Whether a data folder has copies of a cluster's tables. */
export async function hasCopies(dataDir: string): Promise<boolean> {
  return (await folders(join(dataDir, FILES, 'tables'))).length > 0
}

export class CopiedTables implements TablesSource {
  readonly folder: string
  /** Null: no node runs on the folder. */
  #running: NodeFiles | null = null
  /** The first listing of each table. */
  readonly #listed = new Map<string, string[]>()

  /** `node`: the one that runs on the folder, where one does. */
  constructor(
    private readonly dataDir: string,
    private readonly copies: CopiesPort,
    private readonly node: NodeFiles,
  ) {
    this.folder = join(resolve(dataDir), FILES)
  }

  async open(): Promise<void> {
    this.#running = (await this.copies.copiesAreOpen(this.dataDir)) ? this.node : null
  }

  async names(): Promise<string[]> {
    if (this.#running === null) {
      const tables = await folders(join(this.folder, 'tables'))
      const kinds = await Promise.all(tables.map((name) => kind(this.#copy(join(name, LOG)))))
      return tables.filter((_, index) => kinds[index] === 'folder')
    }
    const { node, logs } = await this.#running.holdLogs(null)
    const own = await keptName(this.dataDir)
    if (node !== own) {
      const message = `${node} answers, and ${this.dataDir} is of ${own || 'no node'}: give with --url the control address of the node that runs on it`
      throw new OtlakeError('CLI_USAGE', message)
    }
    for (const { table, names } of logs) this.#listed.set(table, names)
    return logs.map(({ table }) => table)
  }

  async log(table: string): Promise<string[]> {
    const listed = this.#listed.get(table)
    if (listed !== undefined) {
      this.#listed.delete(table)
      return listed
    }
    if (this.#running !== null) {
      const { logs } = await this.#running.holdLogs(table)
      return logs.find((log) => log.table === table)?.names ?? []
    }
    // What begins with these is being written, or has no name yet.
    const names = (await files(this.#copy(join(table, LOG)))).filter(
      (name) => !name.startsWith('.part-') && !name.startsWith('.staged-'),
    )
    const isChecked = (name: string) => names.includes(`.${name}.crc32c`)
    return names.filter(
      (name) => !name.includes('.checkpoint.') || isChecked(name) || name[0] === '.',
    )
  }

  async data(table: string, copy: string): Promise<string[]> {
    const named = await this.copies.namedFiles(copy, table)
    return named.map((path) => join(table, path))
  }

  async copy(path: string, target: string): Promise<number | null> {
    const isLog = path.split('/').includes(LOG)
    let problem = ''
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const own = await this.#take(this.#copy(path), await this.#sums(path), target)
      if (typeof own === 'number') return own
      problem = own
      // The next listing has the node look at its disk again.
      if (isLog && this.#running !== null) return null
      if (this.#running === null) break
      const lent = await this.#lent(path, this.#running)
      if (lent === null) continue
      const from = join(this.dataDir, lent.path)
      const taken = await this.#take(from, lent.sums, target)
      await rm(from, { force: true })
      if (typeof taken === 'number') return taken
      problem = taken
    }
    throw this.#missing(path, problem)
  }

  #copy(path: string): string {
    return join(this.folder, 'tables', path)
  }

  async #sums(path: string): Promise<string> {
    try {
      return await readFile(join(this.folder, 'sums', path), 'utf8')
    } catch (error) {
      if (isAbsent(error)) return ''
      throw error
    }
  }

  /** Copies a file and reads what came of it; its bytes, or what is wrong. */
  async #take(source: string, sums: string, target: string): Promise<number | string> {
    const bytes = await copyDurably(source, target)
    if (bytes === null) return ABSENT
    const problem = await this.copies.checkCopy(target, sums)
    if (problem === null) return bytes
    await rm(target, { force: true })
    return `is damaged on its disk (${problem})`
  }

  async #lent(path: string, node: NodeFiles): Promise<{ path: string; sums: string } | null> {
    try {
      return await node.lend(path)
    } catch (thrown) {
      const error = OtlakeError.from(thrown)
      if (error.code !== 'TABLE_IO') throw error
      const message = `${described(path)} cannot be had: ${error.message}. Start the nodes that are away, then make the backup again`
      throw new OtlakeError('TABLE_IO', message, { cause: thrown })
    }
  }

  #missing(path: string, problem: string): OtlakeError {
    const fix =
      this.#running === null
        ? 'no node runs on the folder, so that it cannot be fetched: start it, or back up a node that runs'
        : 'make the backup again'
    return new OtlakeError('TABLE_IO', `${described(path)} ${problem}: ${fix}`)
  }
}

/** A file with its table, as an error names it. */
function described(path: string): string {
  const [table, ...rest] = path.split('/')
  return `table ${table}: the file ${rest.join('/')}`
}
