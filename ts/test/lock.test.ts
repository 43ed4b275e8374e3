/** A clean checkout can run `npm ci`, wherever its packages come from. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

test('the lock names the optional packages of every platform', () => {
  const check = () =>
    execFileSync(process.execPath, ['scripts/complete-lock.mjs', '--check'], {
      cwd: root,
      stdio: 'pipe',
    })
  expect(check).not.toThrow()
})

test('the lock names no host that packages came from', () => {
  const { packages } = JSON.parse(readFileSync(`${root}/package-lock.json`, 'utf8')) as {
    packages: Record<string, { resolved?: string }>
  }
  expect(Object.values(packages).filter(({ resolved }) => resolved !== undefined)).toEqual([])
})
