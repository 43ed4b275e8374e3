/** Errors as Jaeger's clients read them: one form below `/api`, another below `/api/v3`. */

import { httpStatus, OtlakeError } from '../../base/errors.js'
import type { HttpResponse } from '../../base/http/port.js'
import { type Route, sendJson } from '../answers.js'

/** An error within an answer. */
export interface ShownError {
  code: number
  msg: string
  traceID?: string
}

/** What every answer below `/api` has around its data. */
export function structured(data: unknown, total = 0, errors: ShownError[] | null = null): unknown {
  return { data, total, limit: 0, offset: 0, errors }
}

export function malformed(message: string): OtlakeError {
  return new OtlakeError('HTTP_MALFORMED', message)
}

/** What Jaeger says of a trace that is not there. */
export const NOT_FOUND = 'trace not found'

function said(error: OtlakeError): string {
  if (error.code === 'TRACE_NOT_FOUND') return NOT_FOUND
  // What a client sent wrong is told as Jaeger tells it; what else went wrong has a code to look up.
  return error.code === 'HTTP_MALFORMED' ? error.message : `${error.code}: ${error.message}`
}

/** The routes, answering what goes wrong in Jaeger's form. */
export function shown(routes: readonly Route[], form: 'v1' | 'v3'): Route[] {
  return routes.map((route) => ({
    ...route,
    async answer(request, raw, parameters) {
      let begun = false
      const response: HttpResponse = {
        gone: raw.gone,
        head(status, headers) {
          begun = true
          raw.head(status, headers)
        },
        write: (chunk) => raw.write(chunk),
        end: (chunk) => raw.end(chunk),
        abort: () => raw.abort(),
      }
      try {
        await route.answer(request, response, parameters)
      } catch (thrown) {
        // The router breaks off what has begun.
        if (begun) throw thrown
        const error = OtlakeError.from(thrown)
        const status = httpStatus(error)
        const body =
          form === 'v1'
            ? structured(null, 0, [{ code: status, msg: said(error) }])
            : { error: { httpCode: status, message: said(error) } }
        sendJson(raw, status, body, headersOf(error))
      }
    },
  }))
}

function headersOf({ kind }: OtlakeError): Record<string, string> {
  if (kind === 'unavailable') return { 'retry-after': '1' }
  return kind === 'denied' ? { 'www-authenticate': 'Bearer' } : {}
}
