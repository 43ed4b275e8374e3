/**
 * Builds the page, `ts/ui`, to dist/ui: names with hashes, and of each file only the compressed forms
 * (`NAME.br`, `NAME.gz`), which the server sends as they are. Nothing is done where the sources are older
 * than what was built.
 *
 *   node scripts/build-ui.mjs [--force]
 */

import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const root = fileURLToPath(new URL('..', import.meta.url))
const source = join(root, 'ts/ui')
export const PAGE = join(root, 'dist/ui')
/** What is built last: its time is the build's. */
const STAMP = join(PAGE, 'manifest.json')
/** Brotli's best takes seconds for what seldom changes, so its results are kept by content. */
const kept = join(root, 'node_modules/.cache/otlake-ui')
/** Files that nobody asks the server for. */
const PLAIN = ['manifest.json']

const changed = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? -1

function filesUnder(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
}

/** Whether dist/ui is newer than all that it is made from. */
function isBuilt() {
  const inputs = [
    ...filesUnder(source).filter((path) => !path.endsWith('.test.ts')),
    join(root, 'package-lock.json'),
    fileURLToPath(import.meta.url),
  ]
  return changed(STAMP) > Math.max(...inputs.map(changed))
}

function brotli(bytes) {
  const name = createHash('sha256').update(bytes).digest('hex')
  const path = join(kept, name)
  if (existsSync(path)) return readFileSync(path)
  const packed = brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  })
  mkdirSync(kept, { recursive: true })
  writeFileSync(path, packed)
  return packed
}

function compress() {
  for (const path of filesUnder(PAGE)) {
    if (PLAIN.some((name) => path === join(PAGE, name))) continue
    const bytes = readFileSync(path)
    writeFileSync(`${path}.br`, brotli(bytes))
    writeFileSync(`${path}.gz`, gzipSync(bytes, { level: constants.Z_BEST_COMPRESSION }))
    rmSync(path)
  }
}

/** Builds the page where it is not built yet. Throws where a source is wrong. */
export async function buildUi({ force = false } = {}) {
  if (!force && isBuilt()) return
  const { build } = await import('vite')
  rmSync(PAGE, { recursive: true, force: true })
  await build({
    configFile: false,
    root: source,
    // The page may stand below a path of a proxy.
    base: './',
    logLevel: 'warn',
    build: {
      outDir: PAGE,
      emptyOutDir: true,
      target: 'es2022',
      assetsInlineLimit: 0,
      manifest: 'manifest.build.json',
      modulePreload: { polyfill: false },
      license: { fileName: 'licenses.txt' },
      reportCompressedSize: false,
      // The reader of Parquet, which is asked for when a file is dropped.
      chunkSizeWarningLimit: 1024,
    },
  })
  const manifest = readFileSync(join(PAGE, 'manifest.build.json'))
  rmSync(join(PAGE, 'manifest.build.json'))
  compress()
  mkdirSync(dirname(STAMP), { recursive: true })
  writeFileSync(STAMP, manifest)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildUi({ force: process.argv.includes('--force') })
}
