/**
 * The platforms that otlake is published for: one table, from which follow the platforms' packages
 * (scripts/pack.mjs), the builds (scripts/build-native.mjs) and the release workflow's matrix.
 *
 *   node scripts/platforms.mjs            this machine's platform
 *   node scripts/platforms.mjs --matrix   the matrix, as JSON on one line
 */

import { pathToFileURL } from 'node:url'

/** The C library that published gnu modules may ask for at most: the one that Node.js 20 needs. */
export const GLIBC_MOST = '2.28'
/** Megabytes that a published module may have on any platform; docs/releasing.md has what one has. */
export const MEGABYTES_MOST = 110
export const SCOPE = '@otlake'

/**
 * `target` is rustc's name, `linker` what a published module is linked with, `builder` the machine
 * that builds it and `tester` the one that tests its package, both in GitHub's words; `image` is
 * the container that the test runs in.
 */
export const PLATFORMS = {
  'linux-x64-gnu': {
    ...{ os: 'linux', cpu: 'x64', libc: 'glibc', target: 'x86_64-unknown-linux-gnu' },
    ...{ linker: 'zig', builder: 'ubuntu-24.04', tester: 'ubuntu-24.04' },
  },
  'linux-arm64-gnu': {
    ...{ os: 'linux', cpu: 'arm64', libc: 'glibc', target: 'aarch64-unknown-linux-gnu' },
    ...{ linker: 'zig', builder: 'ubuntu-24.04', tester: 'ubuntu-24.04-arm' },
  },
  'linux-x64-musl': {
    ...{ os: 'linux', cpu: 'x64', libc: 'musl', target: 'x86_64-unknown-linux-musl' },
    ...{ linker: 'zig', builder: 'ubuntu-24.04', tester: 'ubuntu-24.04', image: 'alpine' },
  },
  'darwin-x64': {
    ...{ os: 'darwin', cpu: 'x64', target: 'x86_64-apple-darwin' },
    ...{ linker: 'system', builder: 'macos-15', tester: 'macos-15-intel' },
  },
  'darwin-arm64': {
    ...{ os: 'darwin', cpu: 'arm64', target: 'aarch64-apple-darwin' },
    ...{ linker: 'system', builder: 'macos-15', tester: 'macos-15' },
  },
  'win32-x64-msvc': {
    ...{ os: 'win32', cpu: 'x64', target: 'x86_64-pc-windows-msvc' },
    ...{ linker: 'system', builder: 'windows-2025', tester: 'windows-2025' },
  },
}

/** The platform of the machine this runs on, in the words of the table. */
export function thisPlatform() {
  if (process.platform === 'win32') return `win32-${process.arch}-msvc`
  if (process.platform !== 'linux') return `${process.platform}-${process.arch}`
  // Only glibc reports its version; its absence means musl.
  const glibc = process.report.getReport().header.glibcVersionRuntime
  return `linux-${process.arch}-${glibc === undefined ? 'musl' : 'gnu'}`
}

/** The table's row of a platform. Throws with the platforms there are. */
export function platformOf(name) {
  const platform = PLATFORMS[name]
  if (platform === undefined) {
    throw new Error(`${name} is not one of ${Object.keys(PLATFORMS).join(', ')}.`)
  }
  return platform
}

/** The package that carries a platform's module. */
export function packageName(name) {
  return `${SCOPE}/native-${name}`
}

/** package.json of a platform's package; what both packages share comes from the main one. */
export function platformManifest(name, { version, license, engines, repository }) {
  const { os, cpu, libc } = platformOf(name)
  const file = `otlake.${name}.node`
  return {
    name: packageName(name),
    version,
    description: `The native module of otlake for ${name}.`,
    license,
    ...(repository ? { repository } : {}),
    type: 'commonjs',
    engines,
    os: [os],
    cpu: [cpu],
    ...(libc ? { libc: [libc] } : {}),
    main: `./${file}`,
    files: [file],
    publishConfig: { access: 'public' },
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const matrix = Object.entries(PLATFORMS).map(([name, row]) => ({ name, image: '', ...row }))
  console.log(process.argv.includes('--matrix') ? JSON.stringify(matrix) : thisPlatform())
}
