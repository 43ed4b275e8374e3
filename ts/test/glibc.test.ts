/** The check of a module's glibc reads what the system's own tools read; that of its size measures. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { thisMachine } from '../native/loader.js'
import { builtModule } from '../testing/packages.js'

const SCRIPT = fileURLToPath(new URL('../../scripts/glibc.mjs', import.meta.url))
const PUBLISHED = fileURLToPath(new URL('../../scripts/published.mjs', import.meta.url))
const onGlibc = thisMachine().glibc !== null

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'otlake-glibc-'))
})

afterEach(() => rmSync(folder, { recursive: true }))

/** Runs the check; `most` is the highest version it may find. */
function check(file: string, ...most: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, file, ...most], {
    encoding: 'utf8',
  })
  return { status, stdout: stdout.trim(), stderr }
}

/** A shared library that asks for symbols, each in the version that is given. */
function library(...symbols: string[]): string {
  const source = join(folder, 'library.c')
  const lines = symbols.flatMap((symbol, index) => [
    `__asm__(".symver wanted${index}, ${symbol}");`,
    `extern int wanted${index}(void);`,
    `int call${index}(void) { return wanted${index}(); }`,
  ])
  writeFileSync(source, `${lines.join('\n')}\n`)
  const file = join(folder, 'library.so')
  execFileSync('cc', ['-shared', '-fPIC', '-o', file, source])
  return file
}

test.runIf(onGlibc)('the highest version is compared number by number, not as text', () => {
  // Sorted as text, 2.4 and 2.9 stand behind 2.25.
  const old = process.arch === 'x64' ? ['__stack_chk_fail@GLIBC_2.4'] : []
  const file = library(...old, 'getrandom@GLIBC_2.25')
  expect(check(file)).toMatchObject({ status: 0, stdout: 'GLIBC_2.25' })
  expect(check(file, '--most', '2.28').status).toBe(0)
  const refused = check(file, '--most', '2.9')
  expect(refused.status).toBe(1)
  expect(refused.stderr).toContain('needs glibc 2.25; at most 2.9 is allowed')
})

test.runIf(onGlibc)('it finds in the native module what readelf finds', () => {
  const { stdout } = check(builtModule())
  const text = execFileSync('readelf', ['--version-info', '--wide', builtModule()], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  const names = [...text.matchAll(/Name: GLIBC_(\d+)\.(\d+)/g)]
  const minor = Math.max(...names.map((name) => Number(name[2])))
  expect(stdout).toBe(`GLIBC_2.${minor}`)
  const megabytes = (readFileSync(builtModule()).byteLength / 1e6).toFixed(1)
  console.log(`this checkout's module: ${megabytes} MB, ${stdout}`)
})

test('a file that is no shared library is refused', () => {
  const file = join(folder, 'text.node')
  writeFileSync(file, 'this is text, and longer than the head of an ELF file'.repeat(2))
  expect(check(file).stderr).toContain('is not a 64-bit little-endian ELF file')
})

test('a module that is larger than the bound is not published', async () => {
  const scripts = new URL('../../scripts/', import.meta.url)
  const { MEGABYTES_MOST: most } = await import(new URL('platforms.mjs', scripts).href)
  const file = join(folder, 'large.node')
  // No ELF file is expected of this platform: only the size is looked at.
  const sized = (bytes: number) => {
    writeFileSync(file, '')
    truncateSync(file, bytes)
    const args = [PUBLISHED, file, '--platform', 'darwin-arm64']
    return spawnSync(process.execPath, args, { encoding: 'utf8' })
  }
  const largest = sized(most * 1e6)
  expect(largest.stdout).toBe(`darwin-arm64: ${most.toFixed(1)} MB, no glibc\n`)
  const larger = sized(most * 1e6 + 1e5)
  expect(larger.status).toBe(1)
  expect(larger.stderr).toContain(
    `has ${(most + 0.1).toFixed(1)} MB; darwin-arm64 may have ${most}`,
  )
})

test('this checkout’s ordinary module, which keeps its symbols, is not published', () => {
  const refused = spawnSync(process.execPath, [PUBLISHED, builtModule()], { encoding: 'utf8' })
  expect(refused.status).toBe(1)
  expect(refused.stderr).toMatch(/may (need|have)/)
})
