/** Nobody but jemalloc can tell whether the module allocates with it, and what it was told. */

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { builtModule } from '../testing/packages.js'
import { thisMachine } from './loader.js'

const source = readFileSync(new URL('../../native/allocator/src/lib.rs', import.meta.url), 'utf8')

test.runIf(thisMachine().glibc !== null)('the module allocates with jemalloc as it is told', () => {
  const options = /const OPTIONS: &CStr =\s*c"([^"]+)"/.exec(source)?.[1] ?? 'no options'
  // As Node.js loads it: a library that comes after the process has begun.
  const loading = spawnSync(process.execPath, ['-e', `require('${builtModule()}')`], {
    env: { ...process.env, _RJEM_MALLOC_CONF: 'confirm_conf:true' },
    encoding: 'utf8',
  })
  expect(loading.status).toBe(0)
  expect(loading.stderr).toContain(`"${options}"`)
})
