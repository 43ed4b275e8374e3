/** The command line's HTTP client: a node's APIs, with its errors as errors. */

import { systemMonotonic } from '../base/clock.js'
import { ERRORS } from '../base/errors.generated.js'
import { type ErrorCode, OtlakeError } from '../base/errors.js'
import { Balancer } from '../cluster/balance.js'

/** The HTTP status of an answer that says to try again, here or elsewhere. */
const UNAVAILABLE = 503

export const DEFAULT_URL = 'http://127.0.0.1:4319'

export interface ClientOptions {
  /** One, or several nodes of a cluster with commas between: the first that answers is asked. */
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
  const response = await reach(options.url, (url) =>
    fetch(new URL(path, url), { ...init, headers }),
  )
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

/**
 * Asks the nodes until one answers. One that is there and is about to go, or is not ready, answers
 * 503 with a reason to ask another; if none does better its answer is the answer.
 */
async function reach(urls: string, ask: (url: string) => Promise<Response>): Promise<Response> {
  const balancer = new Balancer('round_robin')
  const names = urls.split(',').map((url) => url.trim())
  balancer.update([...new Set(names)].map((name) => ({ name })))
  const tried = new Set<string>()
  let refusal: Response | null = null
  let cause: unknown
  for (;;) {
    const call = balancer.begin(systemMonotonic.monotonic(), '', tried)
    if (call === null) break
    tried.add(call.name)
    let isOk = false
    try {
      const response = await ask(call.name)
      isOk = response.status !== UNAVAILABLE
      if (isOk) return response
      refusal ??= response
    } catch (error) {
      cause = error
    } finally {
      call.end(systemMonotonic.monotonic(), isOk)
    }
  }
  if (refusal !== null) return refusal
  throw new OtlakeError('NODE_UNREACHABLE', `no node answers at ${urls}`, { cause })
}
