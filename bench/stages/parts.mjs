/** The native parts beside their references: decode, log, Parquet. */

import { execFileSync } from 'node:child_process'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { ROOT } from '../node.mjs'

export function parts(crates) {
  const env = {
    ...process.env,
    CARGO_TARGET_DIR: process.env.CARGO_TARGET_DIR ?? join(homedir(), '.cache/otlake/target'),
  }
  const lines = []
  for (const crate of crates) {
    // Examples are built with the profile of everything else, so that nothing is compiled twice.
    const args = ['run', '-q', '--release', '-p', `otlake-${crate}`, '--example', `bench-${crate}`]
    const output = execFileSync('cargo', args, {
      cwd: ROOT,
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    lines.push(
      `[${crate}]`,
      ...output
        .trimEnd()
        .split('\n')
        .map((line) => `  ${line}`),
    )
  }
  return lines
}
