import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { OtlakeError } from '../base/errors.js'
import { backup } from './backup.js'
import { CopiedTables, type CopiesPort, hasCopies, type NodeFiles } from './backup-copies.js'

const commit = (version: number) => `${String(version).padStart(20, '0')}.json`
const checkpoint = (version: number) => `${String(version).padStart(20, '0')}.checkpoint.parquet`
const log = (name: string) => `spans/_delta_log/${name}`
const A = 'spans/tenant=a/day=2026-01-01/a.parquet'
const B = 'spans/tenant=a/day=2026-01-01/b.parquet'

let root: string
let data: string
let to: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'otlake-copies-'))
  data = join(root, 'data')
  to = join(root, 'copy')
  put(join(data, 'cluster', 'name'), 'n1\n')
  put(join(data, 'log', 'stream', '1.seg'), 'segment')
})

afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

function put(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}

/** A copy; what stands beside it is, here, what it should hold. */
function hold(key: string, text: string, should = text): void {
  put(join(data, 'files', 'tables', key), text)
  put(join(data, 'files', 'sums', key), should)
}

const copied = (key: string) => readFileSync(join(to, 'tables', key), 'utf8')

/** A commit, here, is the names of all files of its version, a line for each. */
const naming = (...keys: string[]) => keys.map((key) => key.replace('spans/', '')).join('\n')

class Native implements CopiesPort {
  isOpen = true
  checked = 0

  async copiesAreOpen(): Promise<boolean> {
    return this.isOpen
  }

  async checkCopy(path: string, sums: string): Promise<string | null> {
    this.checked++
    return readFileSync(path, 'utf8') === sums ? null : 'bytes 0 to 9 are not what was written'
  }

  async namedFiles(dataDir: string, table: string): Promise<string[]> {
    const folder = join(dataDir, 'tables', table, '_delta_log')
    const last = readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .sort()
      .at(-1)
    return readFileSync(join(folder, last ?? ''), 'utf8')
      .split('\n')
      .filter(Boolean)
  }
}

class Node implements NodeFiles {
  name = 'n1'
  /** What other nodes have. */
  readonly others = new Map<string, string>()
  names: () => string[] = () => [commit(0), commit(1)]
  readonly lent: string[] = []

  async holdLogs() {
    return { node: this.name, logs: [{ table: 'spans', names: this.names() }] }
  }

  async lend(key: string) {
    const text = this.others.get(key)
    if (text === undefined) throw new OtlakeError('TABLE_IO', `${key}: no node has a sound copy`)
    const path = `files/tables/.part-${this.lent.length}`
    put(join(data, path), text)
    this.lent.push(path)
    return { path, sums: text }
  }
}

test('what this disk lacks or has damaged comes from the node, and everything is checked', async () => {
  const [native, node] = [new Native(), new Node()]
  hold(log(commit(0)), '')
  hold(log(commit(1)), naming(A, B))
  // Not agreed on yet, or left behind: the node does not name them.
  hold(log(commit(2)), naming(B))
  put(join(data, 'files', 'tables', log('.staged-01')), 'half')
  hold(A, 'rows, flipped', 'rows of a')
  node.others.set(A, 'rows of a').set(B, 'rows of b')
  expect(await hasCopies(data)).toBe(true)
  const made = await backup(data, to, new CopiedTables(data, native, node))
  expect([copied(A), copied(B)]).toEqual(['rows of a', 'rows of b'])
  expect(readdirSync(join(to, 'tables/spans/_delta_log')).sort()).toEqual([commit(0), commit(1)])
  expect(readFileSync(join(to, 'log/stream/1.seg'), 'utf8')).toBe('segment')
  // Two commits, the damaged copy, and what came for it and for what was absent.
  expect(native.checked).toBe(5)
  expect(made.files).toBe(5)
  expect(node.lent).toHaveLength(2)
  for (const path of node.lent) expect(existsSync(join(data, path))).toBe(false)
  expect(existsSync(join(to, 'files'))).toBe(false)
  expect(existsSync(join(to, 'cluster'))).toBe(false)
})

test('a file of a log that is damaged at first is copied once the node has made it good', async () => {
  const [native, node] = [new Native(), new Node()]
  hold(log(commit(0)), '')
  hold(log(commit(1)), 'nonsense', naming(A))
  hold(A, 'rows of a')
  let listings = 0
  node.names = () => {
    if (++listings === 2) hold(log(commit(1)), naming(A))
    return [commit(0), commit(1)]
  }
  await backup(data, to, new CopiedTables(data, native, node))
  expect(copied(log(commit(1)))).toBe(naming(A))
  expect(copied(A)).toBe('rows of a')
  expect(listings).toBe(2)
})

test('a file that no node has ends the backup, and there is no copy', async () => {
  const [native, node] = [new Native(), new Node()]
  hold(log(commit(0)), '')
  hold(log(commit(1)), naming(A, B))
  hold(A, 'rows of a')
  const failed = backup(data, to, new CopiedTables(data, native, node))
  await expect(failed).rejects.toMatchObject({ code: 'TABLE_IO' })
  await expect(failed).rejects.toThrow(/table spans: the file tenant=a\/day=2026-01-01\/b.parquet/)
  await expect(failed).rejects.toThrow(/Start the nodes that are away/)
  expect(existsSync(to)).toBe(false)
})

test('without the node the copy is of this disk, and there is none where that lacks a file', async () => {
  const [native, node] = [new Native(), new Node()]
  native.isOpen = false
  node.holdLogs = async () => {
    throw new OtlakeError('NODE_UNREACHABLE', 'nobody is to be asked')
  }
  hold(log(commit(0)), '')
  hold(log(commit(1)), naming(A))
  // A gap, and a checkpoint that cannot be checked: readers pass over both.
  hold(log(commit(3)), naming(B))
  hold(log(checkpoint(2)), 'state')
  put(join(data, 'files', 'tables', log('.part-02')), 'half')
  hold(A, 'rows of a')
  await backup(data, to, new CopiedTables(data, native, node))
  expect(readdirSync(join(to, 'tables/spans/_delta_log')).sort()).toEqual([commit(0), commit(1)])
  expect(copied(A)).toBe('rows of a')

  hold(log(commit(1)), naming(A, B))
  const second = join(root, 'second')
  const lacking = backup(data, second, new CopiedTables(data, native, node))
  await expect(lacking).rejects.toMatchObject({ code: 'TABLE_IO' })
  await expect(lacking).rejects.toThrow(/b.parquet is not on its disk: .*start it/)
  hold(B, 'flipped', 'rows of b')
  rmSync(`${second}.partial`, { recursive: true })
  const damaged = backup(data, second, new CopiedTables(data, native, node))
  await expect(damaged).rejects.toThrow(/b.parquet is damaged on its disk \(bytes 0 to 9/)
  // A commit that is damaged is not left out: what it named would be lost without a word.
  hold(log(commit(1)), 'nonsense', naming(A))
  rmSync(`${second}.partial`, { recursive: true })
  const commits = backup(data, second, new CopiedTables(data, native, node))
  await expect(commits).rejects.toThrow(/table spans: the file _delta_log\/0*1.json is damaged/)
  expect(existsSync(second)).toBe(false)
})

test('another node than that of the folder is not asked for its files', async () => {
  const [native, node] = [new Native(), new Node()]
  hold(log(commit(0)), '')
  node.name = 'n2'
  const refused = backup(data, to, new CopiedTables(data, native, node))
  await expect(refused).rejects.toMatchObject({ code: 'CLI_USAGE' })
  await expect(refused).rejects.toThrow(/n2 answers, and .* is of n1/)
})

test('a copy does not go among the files', async () => {
  hold(log(commit(0)), '')
  const inside = join(data, 'files', 'copy')
  const refused = backup(data, inside, new CopiedTables(data, new Native(), new Node()))
  await expect(refused).rejects.toMatchObject({ code: 'CLI_USAGE' })
})
