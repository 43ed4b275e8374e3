/** Where the build puts things, for the scripts that share it. */

import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { thisPlatform } from './platforms.mjs'

/** The folder of packages that are ready to be published, and of the modules that go into them. */
export const PACKAGES = fileURLToPath(new URL('../packages', import.meta.url))

/** The path of this machine's native module. */
export function nativeModule() {
  return fileURLToPath(new URL(`../native/otlake.${thisPlatform()}.node`, import.meta.url))
}

/** The path of a platform's module as it is published. */
export function publishedModule(name) {
  return join(PACKAGES, `otlake.${name}.node`)
}

/** The environment for cargo: one target directory for every checkout, unless the caller names one. */
export function cargoEnvironment() {
  return {
    ...process.env,
    CARGO_TARGET_DIR: process.env.CARGO_TARGET_DIR || join(homedir(), '.cache', 'otlake', 'target'),
  }
}
