/** `.ci/run` on a machine that has next to nothing names what is missing before it builds. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const SCRIPT = fileURLToPath(new URL('../../.ci/run', import.meta.url))

test.runIf(process.platform === 'linux')('a bare machine is told every fix at once', () => {
  const path = mkdtempSync(join(tmpdir(), 'otlake-ci-'))
  try {
    for (const tool of ['bash', 'dirname', 'env', 'head', 'id', 'ln', 'mkdir', 'sed']) {
      symlinkSync(join('/usr/bin', tool), join(path, tool))
    }
    const { status, stdout, stderr } = spawnSync('bash', [SCRIPT], {
      // A home that nothing can write to: go leaves a process behind that would.
      env: { PATH: path, HOME: '/dev/null' },
      encoding: 'utf8',
    })
    expect(status).toBe(1)
    const fixes = [
      'https://nodejs.org',
      'https://sh.rustup.rs',
      'build-essential',
      'strace',
      'cmake',
    ]
    const debian = ['binutils', 'nftables', 'iproute2', 'chromium']
    for (const fix of [...fixes, ...debian, 'clients/toolchains.sh']) {
      expect(stderr).toContain(fix)
    }
    expect(stderr).toContain('java: the clients need')
    expect(stdout).toContain('cargo: missing')
  } finally {
    rmSync(path, { recursive: true })
  }
})
