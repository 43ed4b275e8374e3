/** A release publishes every package of a version or none, the main one last. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { parse } from 'yaml'
import { platformName, thisMachine } from '../native/loader.js'
import { platforms, tarballs } from '../testing/packages.js'

const file = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const { version } = JSON.parse(readFileSync(file('package.json'), 'utf8')) as { version: string }

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'otlake-publish-'))
})

afterEach(() => rmSync(folder, { recursive: true }))

function publish() {
  const args = [file('scripts/publish.mjs'), folder, '--dry-run']
  return spawnSync(process.execPath, args, { encoding: 'utf8' })
}

test('the main package is published last, and not at all where a platform is missing', async () => {
  const names = (await platforms()).map(({ name }) => name)
  for (const name of names) writeFileSync(join(folder, `otlake-native-${name}-${version}.tgz`), '')
  const refused = publish()
  expect(refused.status).toBe(1)
  expect(refused.stderr).toContain(`lacks otlake-${version}.tgz`)

  writeFileSync(join(folder, `otlake-${version}.tgz`), '')
  const { status, stdout } = publish()
  expect(status).toBe(0)
  const order = stdout.trim().split('\n')
  expect(order).toHaveLength(names.length + 1)
  expect(order.at(-1)).toBe(`otlake@${version} (latest)`)
})

test('the release workflow runs scripts that exist, and publishes only what was tested', () => {
  const text = readFileSync(file('.github/workflows/release.yml'), 'utf8')
  const { jobs } = parse(text) as { jobs: Record<string, { needs?: string | string[] }> }
  for (const [, script] of text.matchAll(/(?:node|run) ((?:scripts|ts)\/[\w./-]+)/g)) {
    expect(() => readFileSync(file(script as string)), script).not.toThrow()
  }
  expect(jobs.publish?.needs).toBe('test')
  expect(jobs.test?.needs).toEqual(['platforms', 'main', 'native'])
})

test('the packages under test are found wherever npm runs, also in a folder named from the checkout', async () => {
  const names = [
    `otlake-${version}.tgz`,
    `otlake-native-${platformName(thisMachine())}-${version}.tgz`,
  ]
  for (const name of names) writeFileSync(join(folder, name), '')
  vi.stubEnv('OTLAKE_PACKAGES', relative(file('.'), folder))
  try {
    expect(await tarballs(folder)).toEqual(names.map((name) => join(folder, name)))
  } finally {
    vi.unstubAllEnvs()
  }
})
