/** The command line's HTTP client: a node's APIs, with its errors as errors. */

import { ERRORS } from '../base/errors.generated.js'
import { type ErrorCode, OtlakeError } from '../base/errors.js'

export const DEFAULT_URL = 'http://127.0.0.1:4319'

export interface ClientOptions {
  url: string
  token?: string | undefined
  tenant?: string | undefined
}

/** Sends a request; rejects with the node's own error, or `NODE_UNREACHABLE`. */
export async function call(
  options: ClientOptions,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  const headers = new Headers(init.headers)
  if (options.token) headers.set('authorization', `Bearer ${options.token}`)
  if (options.tenant) headers.set('x-scope-orgid', options.tenant)
  let response: Response
  try {
    response = await fetch(new URL(path, options.url), { ...init, headers })
  } catch (error) {
    throw new OtlakeError('NODE_UNREACHABLE', `no node answers at ${options.url}`, { cause: error })
  }
  if (response.ok) return response
  const text = await response.text()
  let code: string | undefined
  let message = text
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string } }
    code = error.code
    message = error.message
  } catch {
    // Not a node's answer; its text is all there is.
  }
  const known = code !== undefined && code in ERRORS ? (code as ErrorCode) : 'INTERNAL'
  throw new OtlakeError(known, message)
}
