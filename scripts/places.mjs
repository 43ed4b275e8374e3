/** Where the build puts things, for the scripts that share it. */

import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The path of this machine's native module. */
export function nativeModule() {
  let name = `${process.platform}-${process.arch}`
  if (process.platform === 'linux') {
    // Only glibc reports its version; its absence means musl.
    const glibc = process.report.getReport().header.glibcVersionRuntime
    name += glibc === undefined ? '-musl' : '-gnu'
  }
  if (process.platform === 'win32') name += '-msvc'
  return fileURLToPath(new URL(`../native/otlake.${name}.node`, import.meta.url))
}

/** The environment for cargo: one target directory for every checkout, unless the caller names one. */
export function cargoEnvironment() {
  return {
    ...process.env,
    CARGO_TARGET_DIR: process.env.CARGO_TARGET_DIR || join(homedir(), '.cache', 'otlake', 'target'),
  }
}
