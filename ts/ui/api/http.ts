/** Requests to the node that the page came from, and how it is told that the node does not answer. */

import { signal } from '@preact/signals'
import { after } from '../state/clock'

/** An error as the server tells it. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly fix: string,
  ) {
    super(message)
  }
}

/** False while the node cannot be reached. */
export const isReachable = signal(true)
/** True while the node asks for a token. */
export const isTokenWanted = signal(false)

/** What the frame gives: whose rows are asked for, and how everything is loaded again. */
export const frame: { tenant: () => string; reload: () => void } = {
  tenant: () => '',
  reload: () => undefined,
}

const TOKEN_KEY = 'otlake.token'
const RETRY_MS = 1500

/** The bearer token of this tab. */
export function token(): string {
  return sessionStorage.getItem(TOKEN_KEY) ?? ''
}

export function setToken(value: string): void {
  if (value === '') sessionStorage.removeItem(TOKEN_KEY)
  else sessionStorage.setItem(TOKEN_KEY, value)
  isTokenWanted.value = false
  frame.reload()
}

/** A path of the API, below wherever the page is. */
export const apiUrl = (path: string): string => new URL(`.${path}`, document.baseURI).href

function headers(given: HeadersInit | undefined): Headers {
  const all = new Headers(given)
  if (token() !== '') all.set('authorization', `Bearer ${token()}`)
  if (frame.tenant() !== '') all.set('x-scope-orgid', frame.tenant())
  return all
}

/** Asks the node. Throws `ApiError`, or what `fetch` throws where the request was given up. */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response
  try {
    response = await fetch(apiUrl(path), { ...init, headers: headers(init.headers) })
  } catch (error) {
    if (!init.signal?.aborted) lost()
    if (init.signal?.aborted) throw error
    throw new ApiError(0, 'UNREACHABLE', 'The node does not answer.', UNREACHABLE_FIX)
  }
  if (response.ok) return response
  if (response.status === 401) isTokenWanted.value = true
  throw await errorOf(response)
}

const UNREACHABLE_FIX = 'Start it again, or check the network; this page goes on by itself.'

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => '')
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; fix: string } }
    return new ApiError(response.status, error.code, error.message, error.fix)
  } catch {
    const message = text.slice(0, 500) || response.statusText
    return new ApiError(response.status, `HTTP_${response.status}`, message, '')
  }
}

export async function askJson<T>(path: string, init: RequestInit = {}): Promise<T> {
  return (await (await ask(path, init)).json()) as T
}

/** The node went away: asks whether it is back, and then loads everything again. */
function lost(): void {
  if (!isReachable.peek()) return
  isReachable.value = false
  const again = async () => {
    try {
      const response = await fetch(apiUrl('/ready'))
      if (response.ok || response.status === 503) {
        isReachable.value = true
        frame.reload()
        return
      }
    } catch {
      // Not yet.
    }
    after(RETRY_MS, again)
  }
  after(RETRY_MS, again)
}

/** Whether an error is that the request was given up, which nobody has to be told. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError'
}
