/**
 * The packages as users get them: packed, installed in an empty folder, and run by other versions
 * of Node.js with nothing else on the PATH.
 */

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { platformName, thisMachine } from '../native/loader.js'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Downloaded versions of Node.js stay here between runs. */
const CACHE = join(homedir(), '.cache', 'otlake', 'node')

/** The versions of Node.js that the package is tested under; the registry has them as packages. */
export const NODE_VERSIONS = ['20.20.2', '22.23.3', '24.21.0'] as const

/** A tarball as `npm pack` describes it. */
export interface Tarball {
  name: string
  file: string
  bytes: number
  unpackedBytes: number
}

/** A script's answer: its standard output, read as JSON. */
async function script(name: string, args: string[]): Promise<unknown> {
  const { stdout } = await run(process.execPath, [join('scripts', name), ...args], { cwd: ROOT })
  return JSON.parse(stdout)
}

/** Every platform of the table, by name. */
export async function platforms(): Promise<{ name: string; os: string; libc?: string }[]> {
  return (await script('platforms.mjs', ['--matrix'])) as { name: string; os: string }[]
}

/** Packs the main package into `out`. */
export async function packMain(out: string): Promise<Tarball> {
  return (await script('pack.mjs', ['main', '--out', out])) as Tarball
}

/** Packs a platform's package around `module` into `out`. */
export async function packNative(out: string, platform: string, module: string): Promise<Tarball> {
  const args = ['native', '--platform', platform, '--module', module, '--out', out]
  return (await script('pack.mjs', args)) as Tarball
}

/** This machine's module as the checkout built it. */
export function builtModule(): string {
  return join(ROOT, 'native', `otlake.${platformName(thisMachine())}.node`)
}

/**
 * The tarballs to test, main first: packed from the checkout, or those in the folder that
 * OTLAKE_PACKAGES names (from the checkout on), which is how a release tests what it is about to
 * publish.
 */
export async function tarballs(out: string): Promise<[main: string, native: string]> {
  const platform = platformName(thisMachine())
  const given = process.env.OTLAKE_PACKAGES
  if (given === undefined) {
    const main = await packMain(out)
    const native = await packNative(out, platform, builtModule())
    return [main.file, native.file]
  }
  // npm reads a path from the folder it installs into, which is another one.
  const folder = resolve(ROOT, given)
  const files = await readdir(folder)
  const find = (pattern: RegExp): string => {
    const file = files.find((name) => pattern.test(name))
    if (file === undefined) throw new Error(`no ${pattern} in ${folder}`)
    return join(folder, file)
  }
  return [find(/^otlake-\d.*\.tgz$/), find(new RegExp(`^otlake-native-${platform}-\\d.*\\.tgz$`))]
}

/** Installs packages into an otherwise empty folder, with `path` as the PATH. */
export async function install(folder: string, packages: string[], path: string): Promise<void> {
  await writeFile(
    join(folder, 'package.json'),
    `${JSON.stringify({ name: 'consumer', version: '1.0.0', private: true, type: 'module' })}\n`,
  )
  const args = [await npmProgram(), 'install', '--no-audit', '--no-fund', '--prefer-offline']
  const env = { ...process.env, PATH: path, npm_config_cache: join(CACHE, 'npm') }
  await run(process.execPath, [...args, ...packages], { cwd: folder, env })
}

/** The script behind `npm`, so that no shell and no PATH is needed to run it. */
async function npmProgram(): Promise<string> {
  const shell = process.platform === 'win32'
  const { stdout } = await run('npm', ['root', '--global', '--loglevel=silent'], { shell })
  const beside = join(dirname(process.execPath), '../lib/node_modules/npm/bin/npm-cli.js')
  const known = [join(stdout.trim(), 'npm/bin/npm-cli.js'), beside]
  const found = known.find((path) => existsSync(path))
  if (found === undefined) throw new Error(`npm is at none of ${known.join(', ')}`)
  return found
}

/**
 * The PATH of a machine with Node.js and nothing else, neither Rust nor a compiler: one folder
 * below `folder`, with `node` and a shell.
 */
export async function barePath(folder: string, node: string): Promise<string> {
  if (process.platform === 'win32') return dirname(node)
  const path = join(folder, 'bin')
  await mkdir(path, { recursive: true })
  await symlink(node, join(path, 'node'))
  await symlink('/bin/sh', join(path, 'sh'))
  return path
}

/**
 * The program of a version of Node.js: this process's own where the major version is the same,
 * otherwise the registry's, kept in the cache. Null where the registry has none for this machine.
 */
export async function nodeProgram(version: string): Promise<string | null> {
  const major = (text: string) => text.split('.')[0]
  if (major(version) === major(process.versions.node)) return process.execPath
  const { platform, arch, glibc } = thisMachine()
  if (platform !== 'linux' || glibc === null || !['x64', 'arm64'].includes(arch)) return null
  const kept = join(CACHE, `node-linux-${arch}-${version}`)
  const program = join(kept, 'node_modules', `node-linux-${arch}`, 'bin', 'node')
  if (!existsSync(program)) {
    // Made whole under another name, so that an interrupted download leaves nothing behind.
    const temporary = `${kept}.${process.pid}.tmp`
    await mkdir(temporary, { recursive: true })
    try {
      await install(temporary, [`node-linux-${arch}@${version}`], process.env.PATH ?? '')
      await rm(kept, { recursive: true, force: true })
      await rename(temporary, kept)
    } finally {
      await rm(temporary, { recursive: true, force: true })
    }
  }
  return program
}
