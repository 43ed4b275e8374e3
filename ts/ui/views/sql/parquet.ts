/** Parquet files that are dropped on the page: read here, and sent nowhere. Loaded with the first of them. */

import { tableFromIPC } from 'apache-arrow'
import init, { readParquet } from 'parquet-wasm/esm/parquet_wasm.js'
import wasm from 'parquet-wasm/esm/parquet_wasm_bg.wasm?url'
import { ResultRows } from './cells'

/** The rows of a Parquet file. Throws what the reader says where it is none. */
export async function readFile(file: File): Promise<ResultRows> {
  await init({ module_or_path: wasm })
  const bytes = new Uint8Array(await file.arrayBuffer())
  const table = tableFromIPC(readParquet(bytes).intoIPCStream())
  const rows = new ResultRows()
  for (const batch of table.batches) rows.add(batch)
  rows.bytes = bytes.length
  return rows
}
