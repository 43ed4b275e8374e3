/**
 * Brings a checkout to the point where it runs: packages, the native module, dist/.
 * Each step is skipped when its result is newer than what it is made from.
 *
 * Only node: modules are imported, because this runs before `npm ci`. The TypeScript build needs
 * the development packages, so a checkout always installs them; `--dev` says so and changes nothing.
 */

import { spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildNative } from './build-native.mjs'
import { nativeModule } from './places.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const NODE = [20, 19]
const NATIVE_INPUTS = ['Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml']

/** The time of the last change in milliseconds; -1 when there is no such file. */
function changed(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? -1
}

/** The latest change under a directory to files that `wanted` accepts by name. */
function latestUnder(directory, wanted) {
  let latest = -1
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (entry.isFile() && wanted(entry.name)) {
      latest = Math.max(latest, changed(join(entry.parentPath ?? entry.path, entry.name)))
    }
  }
  return latest
}

/** Runs a command in the root with its output on the terminal; true when it succeeded. */
function attempt(command, args) {
  const shell = process.platform === 'win32'
  return spawnSync(command, args, { cwd: root, stdio: 'inherit', shell }).status === 0
}

function run(command, args, fix) {
  if (!attempt(command, args)) throw new Error(fix)
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < NODE[0] || (major === NODE[0] && minor < NODE[1])) {
    throw new Error(
      `Node ${process.versions.node} is too old: install Node ${NODE.join('.')} or later from https://nodejs.org.`,
    )
  }
}

function installPackages() {
  if (
    changed(join(root, 'node_modules/.package-lock.json')) >=
    changed(join(root, 'package-lock.json'))
  )
    return
  console.log('Installing packages.')
  const quiet = ['--include=dev', '--no-audit', '--no-fund']
  if (attempt('npm', ['ci', '--loglevel=silent', ...quiet])) return
  // npm ci refuses a lock that lacks optional packages of other platforms, and a lock lacks them
  // when it was written against a registry without them. npm install keeps the locked versions.
  run(
    'npm',
    ['install', '--no-save', ...quiet],
    'npm could not install the packages: its message is above; check the network and run this again.',
  )
}

async function prepareNative() {
  const built = changed(nativeModule())
  const sources = latestUnder(
    join(root, 'native'),
    (name) => name.endsWith('.rs') || name === 'Cargo.toml',
  )
  const newest = Math.max(sources, ...NATIVE_INPUTS.map((name) => changed(join(root, name))))
  if (built < newest) await buildNative()
}

try {
  checkNode()
  installPackages()
  await prepareNative()
  run(
    process.execPath,
    ['scripts/build-ts.mjs'],
    'The TypeScript build failed: correct what tsc names above.',
  )
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
