/** Which module the loader takes, and what it says where there is none. */

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { OtlakeError } from '../base/errors.js'
import { temporaryFolder } from '../testing/server.js'
import { loadNative, type Machine, manifest, platformName, thisMachine } from './loader.js'

const MUSL: Machine = { platform: 'linux', arch: 'x64', glibc: null }
const PACKED = {
  version: '1.2.3',
  optionalDependencies: {
    '@otlake/native-linux-x64-musl': '1.2.3',
    '@otlake/native-darwin-arm64': '1.2.3',
  },
}

let folder: Awaited<ReturnType<typeof temporaryFolder>>

beforeEach(async () => {
  folder = await temporaryFolder()
})

afterEach(() => folder.remove())

/** Puts a platform's package where npm puts it; its module is JavaScript that `code` gives. */
function install(platform: string, code: string): void {
  const path = join(folder.path, 'node_modules/@otlake', `native-${platform}`)
  mkdirSync(path, { recursive: true })
  writeFileSync(join(path, 'index.js'), code)
}

/** The message of the `NATIVE_MISSING` that loading ends with. */
function refusal(machine: Machine, packed?: Parameters<typeof loadNative>[2]): string {
  try {
    loadNative(machine, folder.path, packed)
  } catch (error) {
    expect(error).toBeInstanceOf(OtlakeError)
    expect((error as OtlakeError).code).toBe('NATIVE_MISSING')
    return (error as OtlakeError).message
  }
  throw new Error('a module was loaded')
}

test('a platform is its system, its processor and its C library', () => {
  const names: [string, string, string | null, string][] = [
    ['linux', 'x64', '2.28', 'linux-x64-gnu'],
    ['linux', 'arm64', '2.36', 'linux-arm64-gnu'],
    ['linux', 'x64', null, 'linux-x64-musl'],
    ['darwin', 'x64', null, 'darwin-x64'],
    ['darwin', 'arm64', null, 'darwin-arm64'],
    ['win32', 'x64', null, 'win32-x64-msvc'],
  ]
  for (const [platform, arch, glibc, name] of names) {
    expect(platformName({ platform, arch, glibc })).toBe(name)
  }
})

test('the file that the checkout built comes before the package', () => {
  const name = platformName(thisMachine())
  install(name, 'throw new Error("the package was loaded")')
  mkdirSync(join(folder.path, 'native'))
  const built = fileURLToPath(new URL(`../../native/otlake.${name}.node`, import.meta.url))
  symlinkSync(built, join(folder.path, 'native', `otlake.${name}.node`))
  const module = loadNative(thisMachine(), folder.path, manifest())
  expect(module.version()).toBe(manifest().version)
})

test('without a built file the package of the platform is loaded, on musl the one for musl', () => {
  install('linux-x64-gnu', 'throw new Error("the package for glibc was loaded")')
  install('linux-x64-musl', 'exports.version = () => "1.2.3"')
  expect(loadNative(MUSL, folder.path, PACKED).version()).toBe('1.2.3')
})

test('an absent package is named with the command that installs it', () => {
  expect(refusal(MUSL, PACKED)).toContain('npm install @otlake/native-linux-x64-musl@1.2.3')
})

test('a platform that no package is made for is told so', () => {
  const message = refusal({ platform: 'sunos', arch: 'x64', glibc: null }, PACKED)
  expect(message).toBe('otlake is not built for sunos-x64, only for linux-x64-musl, darwin-arm64')
})

test('a checkout without a build is told to build', () => {
  expect(refusal(MUSL, { version: '1.2.3' })).toContain('npm run build:native')
})

test('a package of another version is refused', () => {
  install('linux-x64-musl', 'exports.version = () => "1.2.2"')
  const message = refusal(MUSL, PACKED)
  expect(message).toContain('is version 1.2.2, not 1.2.3')
  expect(message).toContain('npm install @otlake/native-linux-x64-musl@1.2.3')
})

test('a module that the system cannot load says what the system said', () => {
  mkdirSync(join(folder.path, 'native'))
  writeFileSync(join(folder.path, 'native', 'otlake.linux-x64-musl.node'), 'cut short')
  expect(refusal(MUSL, PACKED)).toMatch(/otlake\.linux-x64-musl\.node could not be loaded: .+/)
})
