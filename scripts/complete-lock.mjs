/**
 * Names every platform's optional packages in package-lock.json. A package source that carries
 * only some platforms makes `npm install` leave the others out, and then `npm ci` refuses the
 * lock on every machine. Their versions stand in the package that asks for them; platform and
 * processor stand in their names. `--check` only says what is missing.
 *
 * Run it after `npm install` has changed the lock.
 */

import { readFileSync, writeFileSync } from 'node:fs'

const lockFile = new URL('../package-lock.json', import.meta.url)
const lock = JSON.parse(readFileSync(lockFile, 'utf8'))

const SYSTEMS = [
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'sunos',
  'win32',
]
const PROCESSORS = ['ppc64', 'riscv64', 's390x', 'arm64', 'x64', 'ia32', 'arm', 'wasm32']

/** What npm needs to know in order to pass over a package made for another machine. */
function entry(name, version, parent) {
  const words = name.split('/').at(-1).split('-')
  const system = SYSTEMS.find((candidate) => words.includes(candidate))
  const processor = PROCESSORS.find((candidate) => words.includes(candidate))
  if (processor === undefined || (system === undefined && processor !== 'wasm32')) return null
  return {
    version,
    cpu: [processor],
    ...(parent.dev ? { dev: true } : {}),
    ...(words.includes('musl') ? { libc: ['musl'] } : {}),
    ...(words.includes('gnu') ? { libc: ['glibc'] } : {}),
    optional: true,
    ...(system === undefined ? {} : { os: [system] }),
  }
}

const missing = []
for (const [path, parent] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const hoisted = `node_modules/${name}`
    if (lock.packages[hoisted] || lock.packages[`${path}/${hoisted}`]) continue
    const added = /^\d/.test(version) ? entry(name, version, parent) : null
    if (added === null) throw new Error(`${name} ${version} of ${path}: not a platform's package`)
    missing.push(name)
    lock.packages[hoisted] = added
  }
}

if (process.argv.includes('--check')) {
  for (const name of missing) console.error(`package-lock.json lacks ${name}`)
  if (missing.length > 0) console.error('Run `node scripts/complete-lock.mjs`.')
  process.exitCode = missing.length > 0 ? 1 : 0
} else if (missing.length > 0) {
  const byPath = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  lock.packages = Object.fromEntries(byPath)
  writeFileSync(lockFile, `${JSON.stringify(lock, null, 2)}\n`)
  console.log(`${missing.length} packages of other platforms added`)
}
