/**
 * Builds the native module and puts it where ts/native looks for it:
 * native/otlake.<platform>-<arch>[-<libc>].node.
 *
 * `--published` builds what is published instead: the profile `dist`, for any platform of
 * scripts/platforms.mjs (`--platform NAME`; this machine's by default), and leaves native/ alone:
 * packages/otlake.<platform>.node, which scripts/pack.mjs takes. Linux modules are linked by zig,
 * against the glibc or musl of the table, whatever this machine has: `pip install cargo-zigbuild`.
 *
 * Only node: modules are imported, because this runs before `npm ci` on a fresh checkout.
 */

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { keepBuild, recallBuild } from './kept-builds.mjs'
import { cargoEnvironment, nativeModule, publishedModule } from './places.mjs'
import { GLIBC_MOST, platformOf, thisPlatform } from './platforms.mjs'
import { checkPublished, describePublished } from './published.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const LIBRARIES = {
  linux: 'libotlake_binding.so',
  darwin: 'libotlake_binding.dylib',
  win32: 'otlake_binding.dll',
}
const REPORT_INTERVAL_MS = 30_000

function has(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0
}

/** Fails with the sentence that names the fix when a tool the build needs is absent. */
function requireTools() {
  if (!has('cargo')) {
    throw new Error(
      'cargo is not on the PATH: install Rust from https://rustup.rs, then run this again.',
    )
  }
  if (process.platform !== 'win32' && !has('cc')) {
    throw new Error(
      process.platform === 'darwin'
        ? 'There is no C compiler: run `xcode-select --install`, then run this again.'
        : 'There is no C compiler: install build-essential (Debian, Ubuntu) or gcc and make, then run this again.',
    )
  }
  // jemalloc is built with it.
  if (process.platform === 'linux' && !has('make')) {
    throw new Error(
      'There is no make: install build-essential (Debian, Ubuntu) or make, then run this again.',
    )
  }
}

/** How many packages the module is made of; null when cargo cannot tell. */
function countPackages() {
  try {
    const tree = execFileSync(
      'cargo',
      ['tree', '--locked', '-p', 'otlake-binding', '-e', 'normal,build', '--prefix', 'none'],
      {
        cwd: root,
        encoding: 'utf8',
        maxBuffer: 64 * 1024 * 1024,
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    )
    const packages = tree
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' ').slice(0, 2).join(' '))
    return new Set(packages).size
  } catch {
    return null
  }
}

function clock(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000)
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
}

/** Runs cargo and says how far it is; resolves when it succeeded. */
async function compile(build, environment) {
  const total = countPackages()
  const started = performance.now()
  const done = new Set()
  let latest = 'starting'
  const line = () =>
    `native: ${clock(performance.now() - started)}  ${done.size}${total === null ? '' : ` of ${total}`} packages  ${latest}`
  const terminal = process.stdout.isTTY
  const show = () => process.stdout.write(terminal ? `\r\x1b[K${line()}` : `${line()}\n`)

  const cargo = spawn(
    'cargo',
    [...build, '--locked', '-p', 'otlake-binding', '--message-format', 'json-render-diagnostics'],
    { cwd: root, env: environment, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const timer = setInterval(show, terminal ? 1000 : REPORT_INTERVAL_MS)
  const exit = new Promise((resolve, reject) => {
    cargo.once('error', reject)
    cargo.once('close', resolve)
  })
  try {
    for await (const text of createInterface({ input: cargo.stdout })) {
      if (!text.startsWith('{')) continue
      const message = JSON.parse(text)
      if (message.reason !== 'compiler-artifact') continue
      done.add(message.package_id)
      latest = message.target.name
    }
    const status = await exit
    show()
    if (terminal) process.stdout.write('\n')
    if (status !== 0)
      throw new Error('cargo could not build the native module: its message is above.')
  } finally {
    clearInterval(timer)
  }
}

/** Builds the module for this machine and returns its path. */
export async function buildNative() {
  requireTools()
  const library = LIBRARIES[process.platform]
  if (library === undefined)
    throw new Error(`otlake does not run on ${process.platform}: use Linux, macOS or Windows.`)
  const environment = cargoEnvironment()
  console.log(
    'Building the native module; the first build compiles every dependency and takes a while.',
  )
  recallBuild(root, environment.CARGO_TARGET_DIR)
  await compile(['build', '--release'], environment)
  keepBuild(root, environment.CARGO_TARGET_DIR)
  return put(`${environment.CARGO_TARGET_DIR}/release/${library}`, nativeModule())
}

/** Builds a platform's module as it is published and returns its path. */
export async function buildPublished(name) {
  requireTools()
  const { os, cpu, libc, target, linker } = platformOf(name)
  const environment = cargoEnvironment()
  if (linker === 'zig' && !has('cargo-zigbuild')) {
    throw new Error(
      'cargo-zigbuild is not on the PATH: run `pip install cargo-zigbuild`, then run this again.',
    )
  }
  if (libc === 'musl') {
    // A module is a shared library: it has to take its C library from the process.
    environment.RUSTFLAGS = `${environment.RUSTFLAGS ?? ''} -C target-feature=-crt-static`.trim()
  }
  // The module has to run where pages are of 64 KiB, not only with those of the machine that builds it.
  if (cpu === 'arm64') environment.JEMALLOC_SYS_WITH_LG_PAGE = '16'
  const build = linker === 'zig' ? 'zigbuild' : 'build'
  const triple = libc === 'glibc' ? `${target}.${GLIBC_MOST}` : target
  await compile([build, '--profile', 'dist', '--target', triple], environment)
  const built = `${environment.CARGO_TARGET_DIR}/${target}/dist/${LIBRARIES[os]}`
  console.log(`${name}: ${describePublished(checkPublished(built, name))}`)
  return put(built, publishedModule(name))
}

/** A running node may have the old file mapped: a rename replaces the name and leaves its bytes alone. */
function put(built, target) {
  const temporary = `${target}.${process.pid}.tmp`
  mkdirSync(dirname(target), { recursive: true })
  try {
    copyFileSync(built, temporary)
    renameSync(temporary, target)
  } finally {
    rmSync(temporary, { force: true })
  }
  return target
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    const { values } = parseArgs({
      options: { published: { type: 'boolean' }, platform: { type: 'string' } },
    })
    const published = values.published || values.platform !== undefined
    console.log(
      await (published ? buildPublished(values.platform ?? thisPlatform()) : buildNative()),
    )
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
