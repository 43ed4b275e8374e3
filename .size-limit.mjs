/** What the first view loads, as it is sent: the entry, what it imports, and the editor of its bar. */

import { readFileSync } from 'node:fs'

const PAGE = 'dist/ui'
/** Loaded by the first view once it is there. */
const LATER = ['editor/traceql.ts']

const manifest = JSON.parse(readFileSync(`${PAGE}/manifest.json`, 'utf8'))
const files = new Set()

function add(key) {
  const { file, imports = [], css = [], assets = [] } = manifest[key]
  if (files.has(file)) return
  for (const each of [file, ...css, ...assets]) files.add(each)
  for (const each of imports) add(each)
}

for (const key of ['index.html', ...LATER]) add(key)

export default [
  {
    name: 'first view, gzip',
    path: ['index.html', ...files].map((file) => `${PAGE}/${file}.gz`),
    limit: '350 KB',
    // The files are compressed already.
    gzip: false,
    brotli: false,
  },
]
