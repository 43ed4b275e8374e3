/** Cases that have not been run often enough to be taken for settled (docs/faults.md): they run when asked for. */

import { test } from 'vitest'

const RUNS_UNSETTLED = process.env.OTLAKE_FAULTS === 'all'

export function unsettled(name: string, run: () => Promise<void>, timeoutMs: number): void {
  test.skipIf(!RUNS_UNSETTLED)(name, run, timeoutMs)
}
