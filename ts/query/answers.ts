/** What the HTTP APIs have in common: routes, errors, JSON, and answers that are streamed. */

import { httpStatus, OtlakeError } from '../base/errors.js'
import type { Handler, HttpRequest, HttpResponse } from '../base/http/port.js'
import type { ByteStream } from '../native/binding.js'

/** One path and what it takes. `{name}` in the path matches one segment. */
export interface Route {
  method: 'GET' | 'POST'
  path: string
  answer(
    request: HttpRequest,
    response: HttpResponse,
    parameters: Record<string, string>,
  ): Promise<void>
}

/** Finds the route of each request; what is thrown becomes the answer's error. */
export function router(
  routes: readonly Route[],
  observe: (path: string, status: number) => void,
): Handler {
  const table = routes.map((route) => ({ route, segments: route.path.split('/').map(segment) }))
  return async (request, raw) => {
    let path = '(none)'
    let begun = false
    const response: HttpResponse = {
      gone: raw.gone,
      head(status, headers) {
        begun = true
        observe(path, status)
        raw.head(status, headers)
      },
      write: (chunk) => raw.write(chunk),
      end: (chunk) => raw.end(chunk),
      abort: () => raw.abort(),
    }
    try {
      const segments = request.path.split('/')
      const matches = table.flatMap(({ route, segments: wanted }) => {
        const parameters = match(wanted, segments)
        return parameters ? [{ route, parameters }] : []
      })
      if (matches.length === 0) {
        throw new OtlakeError('HTTP_NOT_FOUND', `there is nothing at ${request.path}`)
      }
      const method = request.method === 'HEAD' ? 'GET' : request.method
      const found = matches.find(({ route }) => route.method === method)
      path = matches[0]?.route.path ?? path
      if (!found) {
        const allow = matches.map(({ route }) => route.method).join(', ')
        const message = `${request.method} is not for ${request.path}`
        sendError(response, new OtlakeError('HTTP_METHOD', message), { allow })
        return
      }
      await found.route.answer(request, response, found.parameters)
    } catch (thrown) {
      const error = OtlakeError.from(thrown)
      // Half an answer must not look whole.
      if (begun) raw.abort()
      else sendError(response, error)
    }
  }
}

/** One segment of a route's path: its text, or the name of what stands there. */
interface Segment {
  text: string
  name: string | undefined
}

function segment(text: string): Segment {
  return { text, name: /^\{(\w+)\}$/.exec(text)?.[1] }
}

function match(wanted: Segment[], given: string[]): Record<string, string> | null {
  if (wanted.length !== given.length) return null
  const parameters: Record<string, string> = {}
  for (const [index, { text, name }] of wanted.entries()) {
    if (name !== undefined) parameters[name] = decoded(given[index] ?? '')
    else if (text !== given[index]) return null
  }
  return parameters
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch (error) {
    throw new OtlakeError('HTTP_MALFORMED', `the path holds \`${segment}\`, a broken escape`, {
      cause: error,
    })
  }
}

export function sendJson(
  response: HttpResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.head(status, {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    ...headers,
  })
  response.end(JSON.stringify(body))
}

export function sendError(
  response: HttpResponse,
  error: OtlakeError,
  headers: Record<string, string> = {},
): void {
  const { code, message, fix } = error
  if (error.kind === 'unavailable') headers['retry-after'] = '1'
  if (error.kind === 'denied') headers['www-authenticate'] = 'Bearer'
  sendJson(response, httpStatus(error), { error: { code, message, fix } }, headers)
}

/** Sends an answer that is there. */
export function sendWhole(
  response: HttpResponse,
  body: Uint8Array,
  headers: Record<string, string>,
): void {
  if (response.gone.aborted) return
  response.head(200, { 'cache-control': 'no-store', ...headers })
  response.end(body)
}

/**
 * Sends a stream chunk by chunk, as fast as the client takes them. The head is sent once the
 * first chunk is there, so that what fails before it is a proper error; a client that goes away
 * ends the work behind the stream.
 */
export async function sendStream(
  response: HttpResponse,
  stream: ByteStream,
  headers: Record<string, string>,
): Promise<void> {
  const close = () => stream.close()
  response.gone.addEventListener('abort', close)
  try {
    // Whoever left while the answer was begun is not told of any more.
    if (response.gone.aborted) return
    let chunk = await stream.next()
    if (response.gone.aborted) return
    response.head(200, { 'cache-control': 'no-store', ...headers })
    while (chunk !== null && !response.gone.aborted) {
      await response.write(chunk)
      chunk = await stream.next()
    }
    response.end()
  } catch (error) {
    if (!response.gone.aborted) throw error
  } finally {
    response.gone.removeEventListener('abort', close)
    stream.close()
  }
}
