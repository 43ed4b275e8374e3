import { execFileSync, spawnSync } from 'node:child_process'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { temporaryFolder } from '../testing/server.js'

const SCRIPT = fileURLToPath(new URL('../../scripts/kept-builds.mjs', import.meta.url))
const TOOLCHAIN = fileURLToPath(new URL('../../rust-toolchain.toml', import.meta.url))
const CRATES = ['otlake-one', 'otlake-two']

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let target: string

beforeEach(async () => {
  folder = await temporaryFolder()
  target = join(folder.path, 'target')
  const first = join(folder.path, 'first')
  for (const name of CRATES) await mkdir(join(first, name, 'src'), { recursive: true })
  await copyFile(TOOLCHAIN, join(first, 'rust-toolchain.toml'))
  await writeFile(
    join(first, 'Cargo.toml'),
    `[workspace]\nresolver = "3"\nmembers = ${JSON.stringify(CRATES)}\n`,
  )
  for (const name of CRATES) {
    const manifest = `[package]\nname = "${name}"\nversion = "0.1.0"\nedition = "2024"\n`
    await writeFile(join(first, name, 'Cargo.toml'), manifest)
    await writeFile(join(first, name, 'src/main.rs'), 'fn main() { println!("first"); }\n')
  }
  cargo(first)
  git(first, 'init', '-q')
  commit(first, 'the first')
  kept('keepBuild', first)
})

afterEach(() => folder.remove())

function git(root: string, ...args: string[]): void {
  execFileSync('git', args, { cwd: root })
}

function commit(root: string, message: string): void {
  git(root, 'add', '-A')
  const author = ['-c', 'user.name=test', '-c', 'user.email=test@localhost']
  git(root, ...author, 'commit', '-q', '-m', message)
}

function clone(): string {
  const second = join(folder.path, 'second')
  git(folder.path, 'clone', '-q', 'first', second)
  return second
}

/** Builds everything, as scripts do, and says which crates were compiled. */
function cargo(root: string): string[] {
  const { stderr, status } = spawnSync('cargo', ['build', '--release', '--offline'], {
    cwd: root,
    env: { ...process.env, CARGO_TARGET_DIR: target, CARGO_TERM_COLOR: 'never' },
    encoding: 'utf8',
  })
  expect(status, stderr).toBe(0)
  return CRATES.filter((name) => stderr.includes(`Compiling ${name} `))
}

/** Runs one of the script's functions in a process of its own, as its users do. */
function kept(what: 'keepBuild' | 'recallBuild', root: string): void {
  const call = `import(process.argv[1]).then((script) => script.${what}(process.argv[2], process.argv[3]))`
  execFileSync(process.execPath, ['-e', call, SCRIPT, root, target])
}

const program = (name: string) => execFileSync(join(target, 'release', name), { encoding: 'utf8' })

async function change(root: string): Promise<void> {
  const file = join(root, 'otlake-two/src/main.rs')
  await writeFile(file, (await readFile(file, 'utf8')).replace('first', 'second'))
}

test('a clone compiles nothing that was compiled from the same contents', () => {
  const second = clone()
  kept('recallBuild', second)
  expect(cargo(second)).toEqual([])
})

test('a clone compiles what has other contents', async () => {
  const second = clone()
  await change(second)
  kept('recallBuild', second)
  expect(cargo(second)).toEqual(['otlake-two'])
  expect(program('otlake-two')).toBe('second\n')
  // And so does the first checkout after it, whose file is older than that.
  kept('keepBuild', second)
  kept('recallBuild', join(folder.path, 'first'))
  expect(cargo(join(folder.path, 'first'))).toEqual(['otlake-two'])
  expect(program('otlake-two')).toBe('first\n')
})

test('where cargo compiled something else since, nothing of it is used', async () => {
  const first = join(folder.path, 'first')
  await change(first)
  expect(cargo(first)).toEqual(['otlake-two'])
  git(first, 'checkout', '-q', '.')
  const second = clone()
  kept('recallBuild', second)
  expect(cargo(second)).toEqual(CRATES)
  expect(program('otlake-two')).toBe('first\n')
})

test('a checkout that is written anew at the same place is compiled no more than a clone', () => {
  const first = join(folder.path, 'first')
  git(first, 'rm', '-q', '-r', '.')
  git(first, 'checkout', '-q', 'HEAD', '--', '.')
  kept('recallBuild', first)
  expect(cargo(first)).toEqual([])
})
