/**
 * Publishes a folder of tarballs: every platform's package first, the main one last, because the
 * main one names the others. A version that the registry has is passed over, so that a release
 * that was cut off half-way is finished by running it again.
 *
 *   node scripts/publish.mjs FOLDER [--dry-run]
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { PLATFORMS, packageName } from './platforms.mjs'

const { version } = JSON.parse(
  readFileSync(fileURLToPath(new URL('../package.json', import.meta.url)), 'utf8'),
)

/** The packages of a version in the order they are published, with the files they are packed to. */
function order() {
  const natives = Object.keys(PLATFORMS).map((name) => ({
    name: packageName(name),
    file: `${packageName(name).slice(1).replace('/', '-')}-${version}.tgz`,
  }))
  return [...natives, { name: 'otlake', file: `otlake-${version}.tgz` }]
}

/** The registry has this version already. */
function published(name) {
  return spawnSync('npm', ['view', `${name}@${version}`, 'version'], {
    encoding: 'utf8',
  }).stdout.includes(version)
}

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { 'dry-run': { type: 'boolean' } },
  })
  if (positionals.length !== 1) throw new Error('Name the folder of the tarballs.')
  const folder = resolve(positionals[0])
  const there = readdirSync(folder)
  const missing = order().filter(({ file }) => !there.includes(file))
  if (missing.length > 0) {
    throw new Error(`${folder} lacks ${missing.map(({ file }) => file).join(', ')}.`)
  }
  // A pre-release must not become what `npm install otlake` gives.
  const tag = version.includes('-') ? 'next' : 'latest'
  for (const { name, file } of order()) {
    console.log(`${name}@${version} (${tag})`)
    if (values['dry-run'] || published(name)) continue
    execFileSync('npm', ['publish', join(folder, file), '--access', 'public', '--tag', tag], {
      stdio: 'inherit',
    })
  }
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
