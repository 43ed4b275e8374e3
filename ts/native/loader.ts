/**
 * Finds the native module of this machine: the file that the checkout's build put into native/,
 * or else the platform's package (`@otlake/native-linux-x64-gnu` and the like), which npm installs
 * as an optional dependency where its `os`, `cpu` and `libc` fit.
 */

import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { OtlakeError } from '../base/errors.js'

/** The folder of this package. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** What a platform's name is made of. */
export interface Machine {
  platform: string
  arch: string
  /** The version of glibc; null on musl and on other systems. */
  glibc: string | null
}

/** The part of package.json that says where native modules come from. */
export interface Manifest {
  version: string
  /** Only a packed otlake has the platforms' packages here; a checkout builds its own module. */
  optionalDependencies?: Record<string, string>
}

/** The machine that this process runs on. */
export function thisMachine(): Machine {
  // Only a process on glibc reports its version; without it Linux means musl.
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  const glibc = report.header?.glibcVersionRuntime ?? null
  return { platform: process.platform, arch: process.arch, glibc }
}

/** `linux-x64-gnu` and the like: the platform part of the file's and the package's name. */
export function platformName({ platform, arch, glibc }: Machine): string {
  if (platform === 'linux') return `linux-${arch}-${glibc === null ? 'musl' : 'gnu'}`
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`
}

/** The package that carries a platform's module. */
export function packageName(platform: string): string {
  return `@otlake/native-${platform}`
}

/** package.json of otlake itself. */
export function manifest(): Manifest {
  return JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest
}

/**
 * Loads the module for `machine`, of the same version as the package at `root`.
 *
 * @throws OtlakeError `NATIVE_MISSING`, with the command that puts it right.
 */
export function loadNative<Module extends { version(): string }>(
  machine: Machine = thisMachine(),
  root: string = ROOT,
  { version, optionalDependencies }: Manifest = manifest(),
): Module {
  const require = createRequire(join(root, 'package.json'))
  const name = platformName(machine)
  const built = join(root, 'native', `otlake.${name}.node`)
  const source = existsSync(built) ? built : packageName(name)
  let module: Module
  try {
    module = require(source) as Module
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND'
    const reason = absent
      ? absence(name, version, optionalDependencies)
      : // What the system's loader says is the reason: an old glibc, a file cut short.
        `${source} could not be loaded: ${(error as Error).message}`
    throw new OtlakeError('NATIVE_MISSING', reason, { cause: error })
  }
  const found = module.version()
  if (found !== version) {
    const fix = source === built ? 'npm run build:native' : `npm install ${source}@${version}`
    throw new OtlakeError(
      'NATIVE_MISSING',
      `${source} is version ${found}, not ${version}: run \`${fix}\``,
    )
  }
  return module
}

/** Why there is no module for a platform, and what to do about it. */
function absence(name: string, version: string, packages?: Record<string, string>): string {
  if (packages === undefined) {
    return `this checkout has no native/otlake.${name}.node: run \`npm run build:native\``
  }
  const wanted = packageName(name)
  if (wanted in packages) {
    return `${wanted} is not installed, which --omit=optional or a lock from another machine leaves out: run \`npm install ${wanted}@${version}\``
  }
  const prefix = packageName('')
  const made = Object.keys(packages).map((other) => other.slice(prefix.length))
  return `otlake is not built for ${name}, only for ${made.join(', ')}`
}
