/**
 * Copies a data directory while its node runs.
 *
 * ```text
 * 1. dedupe/             what it says is stored has to be in the copy
 * 2. log/                each stream's segments, newest first
 * 3. tables/*\/_delta_log commits and checkpoints, as one listing has them
 * 4. tables/             the files that those commits name
 * 5. sampling/           what was decided of their traces, and perhaps of some more
 * ```
 *
 * The order is what makes the copy whole (I2). A record moves from the log to the tables, never
 * back, so what left the log before step 2 reached it is in the tables of step 3; what is in both
 * is passed over by the replay, because a commit says which log positions it holds (I3). A file is
 * complete before a commit names it and stays when a later one removes it, so step 4 finds what
 * step 3 names. The window of resends comes first: a hash whose record the copy lacks would have
 * a resend acknowledged that is nowhere. Decisions of sampling come last: they are durable before the
 * commit that they are of, so the copy has those of all that it holds.
 */

import { mkdir, rename } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { OtlakeError } from '../base/errors.js'
import { copyDurably, files, folders, kind, syncFolder } from './backup-files.js'
import { LOG, type TablesSource } from './backup-source.js'

/** A folder whose files go while they are copied is listed again this often. */
const LISTINGS = 5
/** Files that are copied at a time. */
const COPIES = 4
const TABLES = 'tables'

/** What a backup holds. */
export interface Backup {
  files: number
  bytes: number
}

/**
 * Makes `to`, which must not exist, a copy of the data directory `from` and of `tables`. It holds
 * everything that was acknowledged before the call, each record once, and opens as a data directory.
 * While it is made, it is called `<to>.partial`; it is on stable storage when the promise resolves.
 *
 * @throws OtlakeError `NODE_DIRECTORY_UNUSABLE` for a folder that is no data directory,
 *   `CLI_USAGE` for a destination that exists and for tables in a bucket, `TABLE_IO` where a copy fails.
 */
export async function backup(from: string, to: string, tables: TablesSource): Promise<Backup> {
  const target = resolve(to)
  const partial = `${target}.partial`
  await tables.open()
  for (const path of [target, partial]) {
    if ((await kind(path)) !== 'absent') throw new OtlakeError('CLI_USAGE', `${path} exists`)
  }
  for (const source of [from, tables.folder]) {
    if (!relative(resolve(source), target).startsWith('..')) {
      throw new OtlakeError('CLI_USAGE', `${to} lies in ${source}`)
    }
  }
  const copier = new Copier(resolve(from), tables, partial)
  try {
    await mkdir(partial, { recursive: true })
    await copier.folder('dedupe')
    for (const stream of await folders(join(from, 'log'))) await copier.stream(join('log', stream))
    const names = await tables.names()
    for (const name of names) await copier.tableLog(name)
    for (const name of names) await copier.data(name)
    if ((await kind(join(from, 'sampling'))) === 'folder') await copier.folder('sampling')
    await copier.sync()
    await rename(partial, target)
    await syncFolder(dirname(target))
  } catch (error) {
    if (error instanceof OtlakeError) throw error
    throw new OtlakeError('TABLE_IO', `the backup stopped: ${(error as Error).message}`, {
      cause: error,
    })
  }
  return { files: copier.files, bytes: copier.bytes }
}

class Copier {
  files = 0
  bytes = 0
  readonly #folders = new Set<string>()

  constructor(
    private readonly from: string,
    private readonly tables: TablesSource,
    private readonly to: string,
  ) {}

  /** The files of one folder as one listing has them; one that is gone since is in no need. */
  async folder(path: string): Promise<void> {
    await this.#copy(path, await files(join(this.from, path)))
  }

  /**
   * The log's segments of one stream, newest first. They are deleted oldest first, once the tables
   * hold them, so where one is gone the older ones are in no need either; without them the copy
   * has no hole, which a replay would report as damage.
   */
  async stream(path: string): Promise<void> {
    const names = (await files(join(this.from, path))).sort().reverse()
    for (const name of names) if (!(await this.#copy(path, [name]))) break
  }

  /**
   * A table's log. Its hint to the newest checkpoint stays behind: it may speak of one that the
   * listing does not have, and a reader finds the checkpoints without it. Where files go
   * meanwhile, a newer checkpoint stands for them, which another listing has.
   */
  async tableLog(table: string): Promise<void> {
    const path = join(TABLES, table, LOG)
    for (let attempt = 0; attempt < LISTINGS; attempt += 1) {
      const names = await this.tables.log(table)
      // `<name>#<number>` is a file that is still being written.
      const whole = names.filter(
        (name) => !name.includes('_last_checkpoint') && !name.includes('#'),
      )
      if (await this.#copy(path, upToGap(whole))) return
    }
    throw new OtlakeError('TABLE_IO', `${path} changed at each of ${LISTINGS} listings`)
  }

  /** A table's data files. */
  async data(table: string): Promise<void> {
    const names = new Map<string, string[]>()
    for (const path of await this.tables.data(table, this.to)) {
      const folder = dirname(path)
      const of = names.get(folder)
      if (of === undefined) names.set(folder, [basename(path)])
      else of.push(basename(path))
    }
    for (const [folder, of] of names) await this.#copy(join(TABLES, folder), of)
  }

  /** Makes the names durable; the contents are. */
  async sync(): Promise<void> {
    for (const folder of this.#folders) await syncFolder(folder)
  }

  /** True when every file was there. */
  async #copy(path: string, names: string[]): Promise<boolean> {
    const target = join(this.to, path)
    await mkdir(target, { recursive: true })
    for (let folder = target; folder.length >= this.to.length; folder = dirname(folder)) {
      this.#folders.add(folder)
    }
    const left = [...names]
    let whole = true
    const workers = Array.from({ length: COPIES }, async () => {
      for (let name = left.shift(); name !== undefined; name = left.shift()) {
        if (!(await this.#file(join(path, name), join(target, name)))) whole = false
      }
    })
    await Promise.all(workers)
    return whole
  }

  /** Copies what is `path` in the copy from where that comes from. */
  async #file(path: string, target: string): Promise<boolean> {
    const [first, ...rest] = path.split(sep)
    const bytes =
      first === TABLES
        ? await this.tables.copy(rest.join(sep), target)
        : await copyDurably(join(this.from, path), target)
    if (bytes === null) return false
    this.bytes += bytes
    this.files += 1
    return true
  }
}

/**
 * The names without the commits behind the first gap after the newest checkpoint: a listing that
 * is made while commits come may have a later one and lack an earlier one.
 */
export function upToGap(names: string[]): string[] {
  const version = (name: string) => {
    const digits = /^\.?(\d{20})\./.exec(name)?.[1]
    return digits === undefined ? null : BigInt(digits)
  }
  const commits = names
    .filter((name) => /^\d{20}\.json$/.test(name))
    .map((name) => version(name) as bigint)
    .sort((a, b) => (a < b ? -1 : 1))
  const checkpoints = names.filter((name) => /^\d{20}\.checkpoint\./.test(name)).map(version)
  const newest = checkpoints.reduce((a, b) => ((b ?? -1n) > (a ?? -1n) ? b : a), null)
  let last = newest ?? (commits[0] === undefined ? -1n : commits[0] - 1n)
  for (const commit of commits) if (commit === last + 1n) last = commit
  return names.filter((name) => (version(name) ?? last) <= last)
}
