/**
 * The overload tests with a longer load: `node bench/overload.mjs [times]` (20). Prints each test's
 * resident memory against its limit, refusals and what each party got; fails as the tests do.
 */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const times = process.argv[2] ?? '20'
const root = fileURLToPath(new URL('..', import.meta.url))
const timeout = String(Number(times) * 120_000)
const { status } = spawnSync(
  'npx',
  ['vitest', 'run', 'ts/test/overload.e2e.test.ts', '--testTimeout', timeout],
  { cwd: root, stdio: 'inherit', env: { ...process.env, OTLAKE_BENCH_OVERLOAD: times } },
)
process.exitCode = status ?? 1
