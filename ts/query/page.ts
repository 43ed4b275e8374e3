/**
 * The page at `/`, which `ts/ui` is built to: its files, and what it has to know of the node that it came
 * from. Everything that it loads comes from here.
 */

import { fileURLToPath } from 'node:url'
import { OtlakeError } from '../base/errors.js'
import type { Token } from '../native/binding.js'
import { asked } from './access.js'
import { type Route, sendJson } from './answers.js'
import { Assets } from './assets.js'

export interface Addresses {
  otlpGrpc: string | null
  otlpHttp: string | null
  http: string | null
  flight: string | null
  cluster: string | null
}

/** Where the page is, of a checkout and of the published package alike. */
export const PAGE_FOLDER = fileURLToPath(new URL('../../dist/ui', import.meta.url))

/**
 * Scripts, styles and requests are the node's own. WebAssembly reads Parquet files that are dropped on the
 * page; images from `data:` are its plots, saved.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const HEADERS = {
  'content-security-policy': POLICY,
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
}

export interface PageOptions {
  addresses: () => Addresses
  version: string
  /** The name of the node's cluster; null: in none. */
  cluster: string | null
  tokens: readonly Token[]
  /** What is kept of the node's past, behind a moment in milliseconds since 1970. */
  history: (after: number) => unknown
  /** Of the page's files. */
  folder?: string
}

/** The page, its files, `GET /api/v1/node`, and `GET /api/v1/history`. */
export function pageRoutes(options: PageOptions): Route[] {
  const { addresses, version, cluster, tokens, history, folder = PAGE_FOLDER } = options
  const assets = new Assets(folder)
  return [
    {
      method: 'GET',
      path: '/',
      answer: (request, response) => assets.send(request, response, 'index.html', HEADERS),
    },
    {
      method: 'GET',
      path: '/assets/{file}',
      answer: (request, response, { file = '' }) =>
        assets.send(request, response, `assets/${file}`),
    },
    {
      method: 'GET',
      path: '/licenses.txt',
      answer: (request, response) => assets.send(request, response, 'licenses.txt'),
    },
    {
      method: 'GET',
      path: '/api/v1/node',
      async answer(request, response) {
        asked(request, tokens)
        sendJson(response, 200, { version, cluster, addresses: addresses() })
      },
    },
    {
      method: 'GET',
      path: '/api/v1/history',
      async answer(request, response) {
        asked(request, tokens)
        const after = Number(request.query.get('after') ?? 0)
        if (!Number.isFinite(after)) {
          throw new OtlakeError('HTTP_MALFORMED', '`after` is a time in milliseconds since 1970')
        }
        sendJson(response, 200, history(after))
      },
    },
  ]
}
