/** The inventory of exports is the same on both sides: names, order and nesting. */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ERRORS } from '../base/errors.generated.js'
import { OtlakeError } from '../base/errors.js'
import { native, openEngine } from './binding.js'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
const camel = (name: string) =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())

/** The methods of each `#[napi] impl` block, and the free functions under ''. */
function rustInventory(): Record<string, string[]> {
  const inventory: Record<string, string[]> = { '': [] }
  for (const file of ['lib.rs', 'byte_stream.rs', 'servers.rs', 'cluster.rs']) {
    let block = ''
    let isExport = false
    for (const line of read(`../../native/binding/src/${file}`).split('\n')) {
      const impl = /^impl (\w+) \{/.exec(line)
      if (impl) block = isExport ? (impl[1] ?? '') : 'private'
      if (line === '}') block = ''
      const method = /^ *pub (?:async )?fn (\w+)/.exec(line)
      if (method?.[1] && isExport && block !== 'private') {
        inventory[block] = [...(inventory[block] ?? []), camel(method[1])]
      }
      if (line.trim() !== '' && !line.trim().startsWith('///')) {
        isExport = line.trim().startsWith('#[napi')
      }
    }
  }
  return inventory
}

function typescriptInventory(): Record<string, string[]> {
  const inventory: Record<string, string[]> = {}
  const names: Record<string, string> = { NativeModule: '' }
  const source = read('./binding.ts') + read('./cluster.ts')
  const handles = ['NativeModule', 'Engine', 'ByteStream', 'Receiver', 'FlightServer']
  for (const handle of [...handles, 'NativeCluster']) {
    const body = new RegExp(`export interface ${handle} \\{\\n([\\s\\S]*?)\\n\\}`).exec(source)?.[1]
    const members = [...(body ?? '').matchAll(/^ {2}(?:readonly )?(\w+)[(:]/gm)]
    inventory[names[handle] ?? handle] = members.map((member) => member[1] ?? '')
  }
  return inventory
}

test('TypeScript and Rust list the same exports', () => {
  expect(typescriptInventory()).toEqual(rustInventory())
})

test('the .node file exports what the inventory says', () => {
  const exported = native() as unknown as Record<string, { prototype?: object }>
  for (const [handle, members] of Object.entries(typescriptInventory())) {
    for (const member of members) {
      if (handle === '') expect(exported[member], member).toBeTypeOf('function')
      else {
        const prototype = exported[handle]?.prototype ?? {}
        expect(Object.getOwnPropertyNames(prototype), handle).toContain(member)
      }
    }
  }
})

test('the table of errors is the one the TypeScript was generated from', () => {
  const table = Object.fromEntries(
    native()
      .errorTable()
      .map(({ code, kind, fix }) => [code, { kind, fix }]),
  )
  expect(ERRORS, 'run `npm run generate:errors`').toEqual(table)
})

test('a native error has its code', async () => {
  const opening = openEngine({} as never, () => undefined)
  await expect(opening).rejects.toBeInstanceOf(OtlakeError)
})
