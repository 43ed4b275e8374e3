/**
 * `npm run bench:peers`: builds the peers that the Go module registry serves into
 * ~/.cache/otlake/peers, one at a time and in the background's priority, then runs the comparison.
 * `--install` only builds; what else is given goes to the benchmark.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync, renameSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { ROOT } from '../node.mjs'
import { builtAt, CACHE, PEERS, programOf } from './peers.mjs'

const settings = {
  cwd: ROOT,
  stdio: 'inherit',
  env: { ...process.env, PATH: [process.env.PATH, '/usr/local/go/bin'].join(delimiter) },
}

/** Builds what a folder's go.mod and go.sum pin; true when it did. */
function build(name, { module, main }) {
  const [source, unfinished] = [join(ROOT, module), `${builtAt(name)}.${process.pid}`]
  const flags = ['-mod=readonly', '-p', '1', '-trimpath']
  const args = ['-n', '10', 'go', 'build', '-C', source, ...flags, '-o', unfinished, main]
  const { status, error } = spawnSync('nice', args, settings)
  if (status !== 0) {
    console.error(`${name}: not built: ${error?.message ?? 'what go says is above'}`)
    return false
  }
  // Renamed when it is whole: a build that was cut off leaves nothing that looks finished.
  renameSync(unfinished, builtAt(name))
  return true
}

mkdirSync(CACHE, { recursive: true })
for (const [name, peer] of Object.entries(PEERS)) {
  const program = programOf(name)
  if (program !== null) console.log(`${name}: ${program}`)
  else if (peer.build === undefined) {
    console.log(`${name}: skipped: ${peer.notBuilt}; name a program by ${peer.variable}`)
  } else if (build(name, peer.build)) console.log(`${name}: ${builtAt(name)}`)
  else process.exitCode = 1
}

const passed = process.argv.slice(2)
if (!passed.includes('--install')) {
  const bench = [join(ROOT, 'bench/run.mjs'), '--only', 'core,machine,peers', ...passed]
  const { status } = spawnSync(process.execPath, bench, settings)
  process.exitCode = status || process.exitCode
}
