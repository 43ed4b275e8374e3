/**
 * The query APIs over HTTP:
 *
 * - `POST /api/v1/sql`, and `GET` with `?query=` for curl: one statement, its rows in the format
 *   asked for.
 * - `GET /api/v1/traces/{id}`: a whole trace as OTLP, JSON or protobuf by Accept.
 * - `GET /api/v1/tail`: rows as they are acknowledged, one JSON object a line.
 * - `GET /api/v1/queries`: those that run, and how far each is.
 * - `GET /api/v1/stats`: what the store holds.
 */

import { z } from 'zod'
import { OtlakeError } from '../base/errors.js'
import type { HttpRequest } from '../base/http/port.js'
import type { ByteStream, Engine, Format, Token, TraceRequest } from '../native/binding.js'
import { asked } from './access.js'
import { type Route, sendJson, sendStream, sendWhole } from './answers.js'

const MEDIA: Record<Format, string> = {
  json: 'application/json',
  ndjson: 'application/x-ndjson',
  csv: 'text/csv; charset=utf-8',
  arrow: 'application/vnd.apache.arrow.stream',
  parquet: 'application/vnd.apache.parquet',
  otlp: 'application/x-protobuf',
  // After `ndjson`, which Accept means: these lines are asked for by name.
  'otlp-json': 'application/x-ndjson',
}
const FORMATS = Object.keys(MEDIA) as Format[]

const sqlRequest = z.strictObject({
  query: z.string().min(1),
  format: z.enum(FORMATS as [Format, ...Format[]]).optional(),
  parameters: z.array(z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
  consistency: z.enum(['strong', 'session', 'eventual']).optional(),
  partial: z.boolean().optional(),
  max_rows: z.number().int().positive().optional(),
  timeout_ms: z.number().int().positive().optional(),
})

/** What an answer's headers say of what it shows; `covered` is the node's own token. */
function shown(stream: ByteStream, covered: string): Record<string, string> {
  const session = { 'otlake-session': stream.session ?? covered }
  return stream.partial === null ? session : { ...session, 'otlake-partial': stream.partial }
}

/** The routes of the query APIs. */
export function queryRoutes(
  engine: Engine,
  options: {
    tokens: readonly Token[]
    maxBodyBytes: number
    /** Ends what would otherwise never end, so that a stop need not wait for it. */
    stopping?: AbortSignal
  },
): Route[] {
  const { tokens, maxBodyBytes, stopping } = options
  const sql: Route['answer'] = async (request, response) => {
    const wanted = await readSql(request, maxBodyBytes)
    const { tenant, consistency, session, partial, queryId } = asked(request, tokens)
    const format = wanted.format ?? formatOf(request.header('accept'))
    // Taken before the read: what it covers, the answer shows.
    const covered = engine.session()
    const stream = await engine.query({
      id: queryId,
      sql: wanted.query,
      parameters: JSON.stringify(wanted.parameters ?? []),
      format,
      consistency: wanted.consistency ?? consistency,
      session,
      partial: (wanted.partial ?? partial) || null,
      tenant,
      maxRows: wanted.max_rows ?? null,
      timeoutMs: wanted.timeout_ms ?? null,
      memoryBytes: null,
    })
    await sendStream(response, stream, {
      'content-type': MEDIA[format],
      ...shown(stream, covered),
    })
  }
  return [
    { method: 'POST', path: '/api/v1/sql', answer: sql },
    { method: 'GET', path: '/api/v1/sql', answer: sql },
    {
      method: 'GET',
      path: '/api/v1/traces/{id}',
      async answer(request, response, { id = '' }) {
        const { tenant, consistency, session, partial } = asked(request, tokens)
        const protobuf = /application\/(x-)?protobuf/.test(request.header('accept') ?? '')
        const covered = engine.session()
        const encoding = protobuf ? 'protobuf' : 'json'
        const asking: TraceRequest = {
          ...{ traceId: id, tenant, consistency, session, encoding },
          ...{ startNs: null, endNs: null, partial: partial || null },
        }
        // What is known is there at once; anything else waits for the engine's threads.
        const trace = engine.knownTrace(asking) ?? (await engine.trace(asking))
        if (trace === null) {
          throw new OtlakeError('TRACE_NOT_FOUND', `no span of trace ${id} is stored`)
        }
        const type = protobuf ? 'application/x-protobuf' : 'application/json'
        if (trace instanceof Uint8Array) {
          sendWhole(response, trace, { 'content-type': type, 'otlake-session': covered })
        } else {
          await sendStream(response, trace, { 'content-type': type, ...shown(trace, covered) })
        }
      },
    },
    {
      method: 'GET',
      path: '/api/v1/tail',
      async answer(request, response) {
        const { tenant } = asked(request, tokens)
        const stream = engine.tail({
          table: request.query.get('table') ?? 'spans',
          tenant,
          service: request.query.get('service'),
        })
        const close = () => stream.close()
        response.gone.addEventListener('abort', close)
        stopping?.addEventListener('abort', close)
        // The head goes out at once: the first row may be a long time coming.
        response.head(200, { 'content-type': MEDIA.ndjson, 'cache-control': 'no-store' })
        await response.write(Buffer.from('\n'))
        while (!response.gone.aborted) {
          const chunk = await stream.next().catch(() => null)
          if (chunk === null) break
          await response.write(chunk)
        }
        stopping?.removeEventListener('abort', close)
        response.end()
      },
    },
    {
      method: 'GET',
      path: '/api/v1/queries',
      async answer(request, response) {
        const { tenant } = asked(request, tokens)
        const id = request.query.get('id')
        const queries = engine
          .runningQueries()
          .filter((query) => tenant === null || query.tenant === tenant)
          .filter((query) => id === null || query.id === id)
        sendJson(response, 200, { queries })
      },
    },
    {
      method: 'GET',
      path: '/api/v1/stats',
      async answer(request, response) {
        asked(request, tokens)
        const stats = engine.stats()
        sendJson(response, 200, { ...stats, lastDurable: stats.lastDurable.toString() })
      },
    },
  ]
}

async function readSql(
  request: HttpRequest,
  maxBodyBytes: number,
): Promise<z.infer<typeof sqlRequest>> {
  let given: unknown
  if (request.method === 'GET' || request.method === 'HEAD') {
    given = {
      query: request.query.get('query') ?? '',
      ...(request.query.has('format') ? { format: request.query.get('format') } : {}),
    }
  } else {
    const text = (await request.body(maxBodyBytes)).toString('utf8')
    try {
      given = JSON.parse(text)
    } catch {
      throw new OtlakeError('HTTP_MALFORMED', 'the body is not JSON: send {"query": "SELECT …"}')
    }
  }
  const parsed = sqlRequest.safeParse(given)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const path = issue?.path.join('.') ?? ''
  const code =
    path === 'format'
      ? 'QUERY_FORMAT'
      : path.startsWith('parameters')
        ? 'QUERY_PARAMETERS'
        : 'HTTP_MALFORMED'
  throw new OtlakeError(code, `${path === '' ? 'the request' : `\`${path}\``}: ${issue?.message}`)
}

/** The first format that the Accept header names; JSON where it names none. */
function formatOf(accept: string | undefined): Format {
  for (const part of (accept ?? '').split(',')) {
    const type = part.split(';')[0]?.trim().toLowerCase()
    const format = FORMATS.find((candidate) => MEDIA[candidate].split(';')[0] === type)
    if (format) return format
  }
  return 'json'
}
