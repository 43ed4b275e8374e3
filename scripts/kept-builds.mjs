/**
 * Lets a fresh clone use what was compiled for the checkout before it. Cargo tells by the times of
 * files whether it compiles again, and all files of a clone are new. So what the target directory
 * was last compiled from is kept beside it, each file's time with the hash of its contents; in another
 * checkout a file with the same contents gets that time, and every other file is as of now.
 *
 * Where cargo ran without these scripts since, nothing is known of what it compiled, and all files
 * are as of now: everything is compiled again.
 *
 * Only node: modules are imported, because this runs before `npm ci`.
 */

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** In the target directory. */
const KEPT = 'otlake-sources.json'

/** The files of a checkout that git knows or would; none where this is no checkout. */
function sources(root) {
  const listing = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const { status, stdout } = spawnSync('git', listing, { cwd: root, maxBuffer: 64 * 1024 * 1024 })
  if (status !== 0) return []
  const files = new Set(stdout.toString().split('\0').filter(Boolean))
  return [...files].filter((file) =>
    statSync(join(root, file), { throwIfNoEntry: false })?.isFile(),
  )
}

const hashOf = (path) => createHash('sha256').update(readFileSync(path)).digest('hex')

/** When cargo last compiled one of our crates, in milliseconds since 1970. */
function lastCompiled(target) {
  const folder = join(target, 'release/.fingerprint')
  const ours = readdirSync(folder).filter((name) => name.startsWith('otlake-'))
  const stamps = ours.map((name) => join(folder, name, 'invoked.timestamp'))
  const times = stamps.map((stamp) => statSync(stamp, { throwIfNoEntry: false })?.mtimeMs ?? 0)
  return Math.max(0, ...times)
}

function kept(target) {
  try {
    return JSON.parse(readFileSync(join(target, KEPT), 'utf8'))
  } catch {
    // None yet, or one that a crash cut off.
    return null
  }
}

/** Before cargo runs: gives the files of this checkout the times that what is compiled is judged by. */
export function recallBuild(root, target) {
  const last = kept(target)
  if (last === null) return
  const here = last.root === root
  const known = lastCompiled(target) <= last.at
  // Cargo by itself judges the checkout right that it compiled last.
  if (here && !known) return
  const now = new Date()
  for (const file of sources(root)) {
    const path = join(root, file)
    const [hash, time] = last.files[file] ?? []
    if (known && hash === hashOf(path)) utimesSync(path, now, new Date(time))
    else if (!here) utimesSync(path, now, now)
  }
}

/** After cargo ran: keeps what it compiled from. */
export function keepBuild(root, target) {
  const files = {}
  for (const file of sources(root)) {
    const path = join(root, file)
    files[file] = [hashOf(path), Math.floor(statSync(path).mtimeMs)]
  }
  writeFileSync(join(target, KEPT), JSON.stringify({ root, at: Date.now(), files }))
}
