/** A node keeps its name and those it knew, whatever its host is called by then. */

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isName } from '../../cluster/messages.js'
import { SeededRandom } from '../../testing/seeded-random.js'
import { keepMembers, knownMembers, nodeName } from './identity.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'otlake-identity-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const name = (wanted: string | null, host?: string) =>
  nodeName(folder, wanted, new SeededRandom(1), host)

test('a name is made once, of the host’s and chance, and kept', async () => {
  const made = await name(null, 'Web_1.example.org')
  expect(made).toMatch(/^Web-1\.example\.org-[0-9a-f]{8}$/)
  expect(await name(null, 'another')).toBe(made)
  expect(await name(made)).toBe(made)
  expect(readdirSync(join(folder, 'cluster'))).toEqual(['name'])
})

test('whatever the host is called, it is a name that a member can have', async () => {
  for (const host of ['', '---', 'x'.repeat(300), 'ü.example']) {
    rmSync(join(folder, 'cluster'), { recursive: true, force: true })
    const made = await name(null, host)
    expect(isName(made)).toBe(true)
    expect(made).toMatch(/^[A-Za-z0-9]/)
  }
})

test('a name that is wanted is kept, and another one refused with the fix', async () => {
  expect(await name('n1')).toBe('n1')
  expect(await name(null)).toBe('n1')
  await expect(name('n2')).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('`n1`'),
  })
})

test('a folder that cannot be written is told', async () => {
  const file = join(folder, 'file')
  writeFileSync(file, '')
  await expect(nodeName(file, null, new SeededRandom(1))).rejects.toMatchObject({
    code: 'NODE_DIRECTORY_UNUSABLE',
  })
})

test('the members that were known are known again; what is no address is passed over', async () => {
  expect(await knownMembers(folder)).toEqual([])
  await keepMembers(folder, ['10.0.0.1:4321', '[fd00::1]:4321'])
  expect(await knownMembers(folder)).toEqual(['10.0.0.1:4321', '[fd00::1]:4321'])
  writeFileSync(join(folder, 'cluster', 'members'), 'nonsense\n\n10.0.0.2:1\n')
  expect(await knownMembers(folder)).toEqual(['10.0.0.2:1'])
})
