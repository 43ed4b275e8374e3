/** Who asks, for which tenant, and how fresh the answer must be: the same for every API. */

import { createHash } from 'node:crypto'
import { OtlakeError } from '../base/errors.js'
import type { HttpRequest } from '../base/http/port.js'
import type { Token } from '../native/binding.js'

export interface Asked {
  tenant: string | null
  consistency: string | null
  session: string | null
  /** Whether an answer may lack what nodes that do not answer have. */
  partial: boolean
  /** What the client calls its query, to ask how far it is: `GET /api/v1/queries`. */
  queryId: string | null
}

/** The longest id that a client can give a query. */
export const MAX_QUERY_ID = 64

/** What has headers: a request over HTTP, or a call's metadata. */
export type Headed = Pick<HttpRequest, 'header'>

/**
 * Reads `authorization`, `x-scope-orgid`, `otlake-consistency`, `otlake-session`, `otlake-partial` and
 * `otlake-query-id`. With tokens configured the token decides the tenant; without, the header does, and no header means every
 * tenant. Throws `OTLP_UNAUTHENTICATED`, and
 * `HTTP_MALFORMED` for an id that is none.
 */
export function asked(request: Headed, tokens: readonly Token[]): Asked {
  const session = request.header('otlake-session') ?? null
  const consistency = request.header('otlake-consistency') ?? (session === null ? null : 'session')
  const partial = request.header('otlake-partial')?.toLowerCase() === 'true'
  const tenant = tenantOf(request, tokens)
  return { tenant, consistency, session, partial, queryId: queryIdOf(request) }
}

function queryIdOf(request: Headed): string | null {
  const id = request.header('otlake-query-id')
  if (id === undefined) return null
  if (/^[\w.:-]+$/.test(id) && id.length <= MAX_QUERY_ID) return id
  const message = `\`otlake-query-id\` is 1 to ${MAX_QUERY_ID} letters, digits, and any of _ . : -`
  throw new OtlakeError('HTTP_MALFORMED', message)
}

function tenantOf(request: Headed, tokens: readonly Token[]): string | null {
  if (tokens.length === 0) return request.header('x-scope-orgid') ?? null
  return tokenTenant(request.header('authorization'), tokens)
}

/** The tenant of the bearer token in an `authorization` value. Throws `OTLP_UNAUTHENTICATED`. */
export function tokenTenant(authorization: string | undefined, tokens: readonly Token[]): string {
  const given = /^bearer +(\S+) *$/i.exec(authorization ?? '')?.[1]
  const digest = given === undefined ? null : createHash('sha256').update(given).digest('hex')
  // What is compared are digests: how far they agree tells nothing of a token.
  const known = tokens.find((token) => token.sha256.toLowerCase() === digest)
  if (!known) {
    throw new OtlakeError('OTLP_UNAUTHENTICATED', 'the request has no token that is known here')
  }
  return known.tenant
}
