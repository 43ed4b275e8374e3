/**
 * Builds the native module and puts it where ts/native looks for it:
 * native/otlake.<platform>-<arch>[-<libc>].node.
 *
 * Only node: modules are imported, because this runs before `npm ci` on a fresh checkout.
 */

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { copyFileSync, renameSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { cargoEnvironment, nativeModule } from './places.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const LIBRARIES = {
  linux: 'libotlake_binding.so',
  darwin: 'libotlake_binding.dylib',
  win32: 'otlake_binding.dll',
}
const REPORT_INTERVAL_MS = 30_000

/** Fails with the sentence that names the fix when a tool the build needs is absent. */
function requireTools() {
  const has = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0
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
async function compile(environment) {
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
    [
      'build',
      '--release',
      '--locked',
      '-p',
      'otlake-binding',
      '--message-format',
      'json-render-diagnostics',
    ],
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

/** Builds the module and returns its path. */
export async function buildNative() {
  requireTools()
  const library = LIBRARIES[process.platform]
  if (library === undefined)
    throw new Error(`otlake does not run on ${process.platform}: use Linux or macOS.`)
  const environment = cargoEnvironment()
  console.log(
    'Building the native module; the first build compiles every dependency and takes a while.',
  )
  await compile(environment)
  // A running node may have the old file mapped: a rename replaces the name and leaves its bytes alone.
  const target = nativeModule()
  const temporary = `${target}.${process.pid}.tmp`
  try {
    copyFileSync(`${environment.CARGO_TARGET_DIR}/release/${library}`, temporary)
    renameSync(temporary, target)
  } finally {
    rmSync(temporary, { force: true })
  }
  return target
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    console.log(await buildNative())
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
