/** The page over both HTTP adapters' real sockets. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliCompressSync, brotliDecompressSync, gunzipSync, gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { listenNode } from '../base/http/node.js'
import type { HttpServer, Listen } from '../base/http/port.js'
import { loadUws } from '../base/http/uws.js'
import { router } from './answers.js'
import { pageRoutes } from './page.js'

const uws = await loadUws()
const adapters: { name: string; listen: Listen }[] = [{ name: 'node:http', listen: listenNode }]
if (uws) adapters.push({ name: 'uWebSockets.js', listen: uws })

const FILES: Record<string, string> = {
  'index.html': '<!doctype html><title>otlake</title>',
  'assets/index-1a2b.js': 'console.log("otlake")'.repeat(100),
  'assets/reader-3c4d.wasm': 'not really',
  'licenses.txt': 'MIT',
}
const ADDRESSES = {
  otlpGrpc: null,
  otlpHttp: '127.0.0.1:1',
  http: null,
  flight: null,
  cluster: null,
}

interface Answer {
  status: number | undefined
  headers: Record<string, string | string[] | undefined>
  body: Buffer
}

describe.each(adapters)('$name', ({ listen }) => {
  let folder: string
  let server: HttpServer

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'otlake-page-'))
    mkdirSync(join(folder, 'assets'))
    for (const [name, text] of Object.entries(FILES)) {
      writeFileSync(join(folder, `${name}.gz`), gzipSync(text))
      writeFileSync(join(folder, `${name}.br`), brotliCompressSync(text))
    }
    await start([])
  })
  afterEach(async () => {
    await server.close(100)
    rmSync(folder, { recursive: true })
  })

  async function start(tokens: { sha256: string; tenant: string }[]) {
    const routes = pageRoutes({
      ...{ addresses: () => ADDRESSES, version: '1.2.3', cluster: 'c', tokens, folder },
      history: (after) => ({ after }),
    })
    server = await listen(
      '127.0.0.1:0',
      router(routes, () => undefined),
    )
  }

  /** Without fetch: what came is looked at as it came. */
  const ask = (path: string, headers: Record<string, string> = {}) =>
    new Promise<Answer>((resolve, reject) => {
      get(`http://${server.address}${path}`, { headers }, (incoming) => {
        const chunks: Buffer[] = []
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
        incoming.on('end', () =>
          resolve({
            status: incoming.statusCode,
            headers: incoming.headers,
            body: Buffer.concat(chunks),
          }),
        )
      }).on('error', reject)
    })

  test('files go out compressed as the client takes them', async () => {
    const path = '/assets/index-1a2b.js'
    const wanted = FILES['assets/index-1a2b.js']
    const brotli = await ask(path, { 'accept-encoding': 'gzip, deflate, br' })
    expect(brotli.headers['content-encoding']).toBe('br')
    expect(brotliDecompressSync(brotli.body).toString()).toBe(wanted)
    const gzip = await ask(path, { 'accept-encoding': 'gzip, br;q=0' })
    expect(gzip.headers['content-encoding']).toBe('gzip')
    expect(gunzipSync(gzip.body).toString()).toBe(wanted)
    const plain = await ask(path)
    expect(plain.headers['content-encoding']).toBeUndefined()
    expect(plain.body.toString()).toBe(wanted)
    for (const { headers } of [brotli, gzip, plain]) {
      expect(headers.vary).toBe('accept-encoding')
      expect(headers['content-type']).toBe('text/javascript; charset=utf-8')
    }
    const wasm = await ask('/assets/reader-3c4d.wasm')
    expect(wasm.headers['content-type']).toBe('application/wasm')
  })

  test('what has a hash in its name is kept for ever, the page is asked for again', async () => {
    const asset = await ask('/assets/index-1a2b.js')
    expect(asset.headers['cache-control']).toBe('public, max-age=31536000, immutable')
    const page = await ask('/')
    expect(page.headers['cache-control']).toBe('no-cache')
    const again = await ask('/', { 'if-none-match': String(page.headers.etag) })
    expect([again.status, again.body.length]).toEqual([304, 0])
  })

  test('the page may load and ask nothing but its own node', async () => {
    const { headers } = await ask('/')
    const policy = String(headers['content-security-policy'])
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("connect-src 'self'")
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toContain('unsafe-inline')
    expect(policy).not.toMatch(/'unsafe-eval'|https?:|\*/)
    expect(headers['x-content-type-options']).toBe('nosniff')
  })

  test.each([
    '/assets/none.js',
    '/assets/..%2Findex.html',
    '/assets/%2E%2E%2F%2E%2E%2Fpackage.json',
  ])('%s is not there', async (path) => {
    const { status, body } = await ask(path)
    expect([status, JSON.parse(body.toString()).error.code]).toEqual([404, 'HTTP_NOT_FOUND'])
  })

  test('the node is told to who may ask, its page to everybody', async () => {
    const node = JSON.parse((await ask('/api/v1/node')).body.toString())
    expect(node).toEqual({ version: '1.2.3', cluster: 'c', addresses: ADDRESSES })
    await server.close(100)
    await start([{ sha256: '0'.repeat(64), tenant: 'a' }])
    expect([(await ask('/')).status, (await ask('/api/v1/node')).status]).toEqual([200, 401])
    expect((await ask('/api/v1/history')).status).toBe(401)
  })

  test('the past is told from a moment on', async () => {
    const told = async (path: string) => JSON.parse((await ask(path)).body.toString())
    expect(await told('/api/v1/history')).toEqual({ after: 0 })
    expect(await told('/api/v1/history?after=1800000000000')).toEqual({ after: 1_800_000_000_000 })
    expect((await told('/api/v1/history?after=then')).error.code).toBe('HTTP_MALFORMED')
  })
})
