/**
 * What a node keeps of itself and of others in its data folder:
 *
 * ```
 *  <data>/cluster/name      its name, the same over restarts
 *  <data>/cluster/members   addresses of the members that it knew last, one on each line
 * ```
 *
 * A backup leaves both out: a copy is another node.
 */

import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { OtlakeError } from '../../base/errors.js'
import type { Random } from '../../base/random.js'
import { isAddress } from '../../cluster/messages.js'
import { MAX_SEEDS } from '../../cluster/settings.js'

const ID_BYTES = 4
/** Of the host's name; with a hyphen and the id it stays within a member's name. */
const MAX_HOST_LETTERS = 48

/**
 * The node's name: the one that is wanted or, where nothing is, the host's name and a random id. It
 * is kept, and another one is refused: what the metadata group knows of the data folder is under
 * the first.
 */
export async function nodeName(
  dataDir: string,
  wanted: string | null,
  random: Random,
  host: string = hostname(),
): Promise<string> {
  const kept = await keptName(dataDir)
  if (kept !== '') {
    if (wanted === null || wanted === kept) return kept
    throw new OtlakeError(
      'CONFIG_INVALID',
      `\`cluster.node\`: the data folder is that of \`${kept}\`, not of \`${wanted}\`; name it so, or start with an empty folder`,
    )
  }
  const letters = host.replaceAll(/[^A-Za-z0-9.-]/g, '-').replace(/^[^A-Za-z0-9]+/, '')
  const id = Buffer.from(random.bytes(ID_BYTES)).toString('hex')
  const name = wanted ?? `${letters.slice(0, MAX_HOST_LETTERS) || 'node'}-${id}`
  await keep(dataDir, 'name', `${name}\n`)
  return name
}

/** The name that a data folder keeps; empty where it has none. */
export async function keptName(dataDir: string): Promise<string> {
  return (await readKept(dataDir, 'name')).trim()
}

/** The addresses of the members that the last start knew. */
export async function knownMembers(dataDir: string): Promise<string[]> {
  const lines = (await readKept(dataDir, 'members')).split('\n')
  return lines.filter(isAddress).slice(0, MAX_SEEDS)
}

export async function keepMembers(dataDir: string, addresses: readonly string[]): Promise<void> {
  await keep(dataDir, 'members', addresses.slice(0, MAX_SEEDS).join('\n'))
}

async function readKept(dataDir: string, file: string): Promise<string> {
  try {
    return await readFile(join(dataDir, 'cluster', file), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw unusable(dataDir, error)
  }
}

/** Whole or not at all: a half name would be another's. */
async function keep(dataDir: string, file: string, text: string): Promise<void> {
  const folder = join(dataDir, 'cluster')
  try {
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, `${file}.new`), text, { flush: true })
    await rename(join(folder, `${file}.new`), join(folder, file))
  } catch (error) {
    throw unusable(dataDir, error)
  }
}

function unusable(dataDir: string, cause: unknown): OtlakeError {
  const message = `${dataDir}: ${(cause as Error).message}`
  return new OtlakeError('NODE_DIRECTORY_UNUSABLE', message, { cause })
}
