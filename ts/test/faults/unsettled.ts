/** Cases that a cluster does not stand every time, as docs/faults.md tells: they run when asked for. */

import { test } from 'vitest'

export const RUNS_UNSETTLED = process.env.OTLAKE_FAULTS === 'all'

export function unsettled(name: string, run: () => Promise<void>, timeoutMs: number): void {
  test.skipIf(!RUNS_UNSETTLED)(name, run, timeoutMs)
}
