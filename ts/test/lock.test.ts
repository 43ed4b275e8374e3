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

test('the targets of cargo-fuzz are built with the versions of the product', () => {
  const locked = (path: string) => {
    const text = readFileSync(`${root}/${path}`, 'utf8')
    const versions = new Map<string, Set<string>>()
    for (const [, name = '', version = ''] of text.matchAll(/name = "(.+)"\nversion = "(.+)"/g)) {
      versions.set(name, (versions.get(name) ?? new Set()).add(version))
    }
    return versions
  }
  const product = locked('Cargo.lock')
  const fuzzed = [...locked('native/decode/fuzz/Cargo.lock')]
  const others = fuzzed.flatMap(([name, versions]) =>
    [...versions].filter((version) => product.has(name) && !product.get(name)?.has(version)),
  )
  expect(fuzzed.length).toBeGreaterThan(20)
  expect(others).toEqual([])
})
