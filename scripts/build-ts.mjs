/** Compiles ts/ to dist/, and builds the page; a run without changes takes a moment. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { buildUi } from './build-ui.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const { status } = spawnSync(
  process.execPath,
  ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'],
  { cwd: root, stdio: 'inherit' },
)
process.exitCode = status ?? 1
if (status === 0) {
  try {
    await buildUi()
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
