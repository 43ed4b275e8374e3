/** docs/api.md and the types say the same: every export, every member, every field. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { expect, test } from 'vitest'

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const page = readFileSync(path('docs/api.md'), 'utf8')

/** The parts of the page below headings of a level, by heading. */
function sections(text: string, level: '##' | '###'): Map<string, string> {
  const parts = text.split(new RegExp(`^${level} `, 'm')).slice(1)
  return new Map(
    parts.map((part) => {
      const end = part.indexOf('\n')
      return [part.slice(0, end), part.slice(end)]
    }),
  )
}

const program = ts.createProgram([path('ts/index.ts')], {
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
  typeRoots: [path('node_modules/@types')],
  strict: true,
  skipLibCheck: true,
})
const checker = program.getTypeChecker()

/** The exports of the package with what they stand for. */
function exported(): Map<string, ts.Symbol> {
  const source = program.getSourceFile(path('ts/index.ts'))
  const module = source && checker.getSymbolAtLocation(source)
  if (module === undefined) throw new Error('ts/index.ts is not a module')
  return new Map(
    checker
      .getExportsOfModule(module)
      .map((symbol) => [symbol.name, checker.getAliasedSymbol(symbol)]),
  )
}

/** The members that the package itself declares for users of a type. */
function members(symbol: ts.Symbol): string[] {
  const declared = checker.getDeclaredTypeOfSymbol(symbol)
  return declared
    .getProperties()
    .filter((property) => {
      const declaration = property.declarations?.[0]
      const own = declaration?.getSourceFile().fileName.startsWith(path('ts/'))
      const hidden =
        declaration && ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Private
      return own && !hidden
    })
    .map(({ name }) => (name.startsWith('__@asyncDispose') ? '[Symbol.asyncDispose]' : name))
}

test('each export has a section, and each section is an export', () => {
  expect([...sections(page, '##').keys()].sort()).toEqual([...exported().keys()].sort())
})

test('each method of Otlake has a section of its own', () => {
  const store = exported().get('Otlake') as ts.Symbol
  const described = [...sections(sections(page, '##').get('Otlake') ?? '', '###').keys()]
  expect(described.sort()).toEqual([...members(store), 'Otlake.open'].sort())
})

test('the section of each type names its fields and no others', () => {
  for (const [name, symbol] of exported()) {
    const isRecord = symbol.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.Class)
    if (!isRecord || name === 'Otlake') continue
    const rows = (sections(page, '##').get(name) ?? '').matchAll(/^\| (`[^|]+`) \|/gm)
    const described = [...rows].flatMap((row) => [...(row[1] ?? '').matchAll(/`(\w+)`/g)])
    const inherited = name === 'OtlakeError' ? ['message', 'cause'] : []
    const own = members(symbol).filter((member) => member !== 'name')
    expect(described.map((match) => match[1]).sort(), name).toEqual([...own, ...inherited].sort())
  }
})

/** A method's signature as a caller sees it: a parameter with a default is an optional one. */
function signature(method: ts.MethodDeclaration): string {
  const parameters = method.parameters.map((parameter) => {
    const optional = (parameter.questionToken ?? parameter.initializer) ? '?' : ''
    return `${parameter.name.getText()}${optional}: ${parameter.type?.getText()}`
  })
  const fixed = ts.getCombinedModifierFlags(method) & ts.ModifierFlags.Static ? 'static ' : ''
  return `${fixed}${method.name.getText()}(${parameters.join(', ')}): ${method.type?.getText()}`
}

test('the signatures on the page are those of the types', () => {
  const declared = ['Otlake', 'OtlakeError'].flatMap((name) => {
    const declaration = exported().get(name)?.valueDeclaration as ts.ClassDeclaration
    return declaration.members.filter(ts.isMethodDeclaration).map(signature)
  })
  const named = declared.filter((text) => !text.startsWith('[Symbol.asyncDispose]'))
  const described = [...page.matchAll(/^`((?:static )?\w+\(.*?\): [^`]+)`/gm)].map((m) => m[1])
  expect(described.sort()).toEqual(named.sort())
})
