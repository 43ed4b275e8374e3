/**
 * What a module has to be to be published: no larger than scripts/platforms.mjs
 * allows, and on Linux content with an old C library.
 *
 *   node scripts/published.mjs FILE [--platform NAME]
 */

import { statSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { compareVersions, highestGlibc } from './glibc.mjs'
import { GLIBC_MOST, MEGABYTES_MOST, platformOf, thisPlatform } from './platforms.mjs'

/** The module's megabytes and the glibc that it needs, if any. Throws what must not be published. */
export function checkPublished(path, name) {
  const { os, libc } = platformOf(name)
  const glibc = os === 'linux' ? highestGlibc(path) : null
  if (glibc !== null && (libc === 'musl' || compareVersions(glibc, GLIBC_MOST) > 0)) {
    const most = libc === 'musl' ? 'none' : `${GLIBC_MOST} at most`
    throw new Error(`${path} needs glibc ${glibc}; ${name} may need ${most}.`)
  }
  const megabytes = statSync(path).size / 1e6
  if (megabytes > MEGABYTES_MOST) {
    throw new Error(
      `${path} has ${megabytes.toFixed(1)} MB; ${name} may have ${MEGABYTES_MOST}: look for what came in, or raise the bound in scripts/platforms.mjs.`,
    )
  }
  return { megabytes, glibc }
}

/** The same in words. */
export function describePublished({ megabytes, glibc }) {
  return `${megabytes.toFixed(1)} MB, ${glibc === null ? 'no glibc' : `glibc ${glibc}`}`
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { platform: { type: 'string' } },
  })
  if (positionals.length !== 1) {
    console.error('node scripts/published.mjs FILE [--platform NAME]')
    process.exit(2)
  }
  try {
    const name = values.platform ?? thisPlatform()
    console.log(`${name}: ${describePublished(checkPublished(positionals[0], name))}`)
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
