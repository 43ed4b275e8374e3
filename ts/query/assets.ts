/**
 * Files of the page, as `scripts/build-ui.mjs` leaves them: each is there compressed, as `NAME.br` and
 * `NAME.gz`, and goes out as it is on disk. A client that takes neither gets it unpacked.
 */

import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { OtlakeError } from '../base/errors.js'
import type { HttpRequest, HttpResponse } from '../base/http/port.js'

const TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
}
/** Names of assets carry a hash of what is in them. */
const FOREVER = 'public, max-age=31536000, immutable'
const unpack = promisify(gunzip)

type Encoding = 'br' | 'gzip' | 'identity'

interface Body {
  bytes: Buffer
  etag: string
}

export class Assets {
  /** Names without the ending of their compression. They bound what is kept in memory (I5). */
  readonly #names: ReadonlySet<string>
  readonly #bodies = new Map<string, Promise<Body>>()

  /** The files of `folder`; none where there is no such folder. */
  constructor(private readonly folder: string) {
    this.#names = new Set(
      listed(folder)
        .filter((name) => name.endsWith('.gz'))
        .map((name) => name.slice(0, -'.gz'.length)),
    )
  }

  /** Whether there is such a file: `index.html`, `assets/index-1a2b3c4d.js`. */
  has(name: string): boolean {
    return this.#names.has(name)
  }

  /** Sends a file, or 304 where the client has it. Throws `HTTP_NOT_FOUND`. */
  async send(
    request: HttpRequest,
    response: HttpResponse,
    name: string,
    headers: Record<string, string> = {},
  ): Promise<void> {
    if (!this.has(name)) throw new OtlakeError('HTTP_NOT_FOUND', `the page has no file ${name}`)
    const encoding = encodingOf(request.header('accept-encoding'))
    const { bytes, etag } = await this.#body(name, encoding)
    const all = {
      'content-type': TYPES[extname(name)] ?? 'application/octet-stream',
      'cache-control': name.startsWith('assets/') ? FOREVER : 'no-cache',
      'x-content-type-options': 'nosniff',
      vary: 'accept-encoding',
      etag,
      ...(encoding === 'identity' ? {} : { 'content-encoding': encoding }),
      ...headers,
    }
    if (request.header('if-none-match') === etag) {
      response.head(304, all)
      response.end()
      return
    }
    response.head(200, all)
    response.end(bytes)
  }

  #body(name: string, encoding: Encoding): Promise<Body> {
    const key = `${encoding} ${name}`
    const known = this.#bodies.get(key)
    if (known) return known
    const body = this.#read(name, encoding)
    this.#bodies.set(key, body)
    // A file that could not be read is tried again.
    body.catch(() => this.#bodies.delete(key))
    return body
  }

  async #read(name: string, encoding: Encoding): Promise<Body> {
    const file = await readFile(join(this.folder, `${name}.${encoding === 'br' ? 'br' : 'gz'}`))
    const bytes = encoding === 'identity' ? await unpack(file) : file
    const digest = createHash('sha256').update(bytes).digest('base64url')
    return { bytes, etag: `"${digest.slice(0, 22)}"` }
  }
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) =>
      name.replaceAll('\\', '/'),
    )
  } catch {
    return []
  }
}

/** What the client takes, the smallest first. A coding with `q=0` is one that it does not take. */
function encodingOf(accepted: string | undefined): Encoding {
  const taken = (accepted ?? '')
    .toLowerCase()
    .split(',')
    .filter((part) => !/;\s*q=0(\.0*)?\s*$/.test(part))
    .map((part) => part.split(';')[0]?.trim())
  if (taken.includes('br')) return 'br'
  return taken.includes('gzip') ? 'gzip' : 'identity'
}
