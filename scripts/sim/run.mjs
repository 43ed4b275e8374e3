/** Runs the fault simulation; every argument is its own (docs/faults.md). */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { cargoEnvironment } from '../places.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { error, status } = spawnSync(
  'cargo',
  ['run', '--release', '--locked', '--quiet', '-p', 'otlake-sim', '--', ...process.argv.slice(2)],
  { cwd: root, env: cargoEnvironment(), stdio: 'inherit' },
)
if (error !== undefined) console.error(`cargo could not be started: ${error.message}`)
process.exitCode = status ?? 1
