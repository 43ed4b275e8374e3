/**
 * The HTTP API of Grafana Tempo, below `/tempo`, so that a Grafana data source of that type points here.
 *
 * - `routes.ts`: the paths; each reads what a client sent and sends what the engine answered.
 * - `queries.ts`: parameters to requests of the engine, for HTTP and gRPC alike; `times.ts`,
 *   `filter.ts` read some of them.
 * - `messages.ts`: the engine's JSON as Tempo's messages; `trace.ts`: a trace by its id.
 * - `streaming.ts`: the gRPC service that Grafana streams from.
 * - `generated/`: the schema of the messages, from `proto/tempo/tempo.proto`.
 *
 * docs/traceql.md says what is there.
 */

import { toJsonString } from '@bufbuild/protobuf'
import type { Clock } from '../../base/clock.js'
import { OtlakeError } from '../../base/errors.js'
import type { HttpRequest, HttpResponse } from '../../base/http/port.js'
import type { ByteStream, Engine, Token, TraceRequest } from '../../native/binding.js'
import type { Answer, TraceqlEngine } from '../../native/traceql.js'
import { type Asked, asked } from '../access.js'
import { type Route, sendJson, sendStream, sendWhole } from '../answers.js'
import { bytesOf, KINDS, type Kind } from './messages.js'
import { bounds, type Parameters, TempoQueries } from './queries.js'
import { lacking, RenamedTrace, renamed, WrappedTrace, wrapTrace } from './trace.js'

/**
 * The version of Tempo whose API this is: clients look at it to see what they may ask.
 */
export const TEMPO_VERSION = '2.9.0'

const PROTOBUF = 'application/protobuf'
const TRACE_ID_DIGITS = 32

export interface TempoOptions {
  tokens: readonly Token[]
  clock: Clock
  /** Of otlake. */
  version: string
  isReady: () => boolean
}

/** The routes of the Tempo API. */
export function tempoRoutes(engine: Engine & TraceqlEngine, options: TempoOptions): Route[] {
  const { tokens, version, isReady } = options
  const queries = new TempoQueries(engine, options.clock)
  const get = (path: string, answer: Route['answer']): Route => ({
    ...{ method: 'GET', path: `/tempo${path}`, answer },
  })
  const text = (path: string, status: () => number, body: () => string) =>
    get(path, async (_request, response) => {
      response.head(status(), { 'content-type': 'text/plain; charset=utf-8' })
      response.end(body())
    })
  /** An answer of the engine as JSON or protobuf. */
  const asking = (
    path: string,
    kind: Kind,
    ask: (by: Asked, given: Parameters, tag: string) => Promise<Answer>,
  ) =>
    get(path, async (request, response, { tag = '' }) => {
      const by = asked(request, tokens)
      // Taken before the read: what it covers, the answer shows.
      const covered = engine.session()
      const answer = await ask(by, (name) => request.query.get(name), decodedAgain(tag))
      sendMessage(request, response, kind, answer, covered)
    })
  const buildInfo: Route['answer'] = async (_request, response) => {
    sendJson(response, 200, {
      version: TEMPO_VERSION,
      revision: `otlake ${version}`,
      ...{ branch: '', buildUser: '', buildDate: '', goVersion: '' },
    })
  }
  return [
    text(
      '/api/echo',
      () => 200,
      () => 'echo',
    ),
    text(
      '/ready',
      () => (isReady() ? 200 : 503),
      () => (isReady() ? 'ready\n' : 'not ready\n'),
    ),
    get('/api/status/buildinfo', buildInfo),
    get('/status/buildinfo', buildInfo),
    get('/api/traces/{id}', (request, response, { id = '' }) =>
      sendTrace(engine, asked(request, tokens), id, request, response, false),
    ),
    get('/api/v2/traces/{id}', (request, response, { id = '' }) =>
      sendTrace(engine, asked(request, tokens), id, request, response, true),
    ),
    asking('/api/search', KINDS.search, (by, given) => queries.search(by, given)),
    asking('/api/search/tags', KINDS.tags, (by, given) => queries.tags(by, given)),
    asking('/api/v2/search/tags', KINDS.tagsV2, (by, given) => queries.tags(by, given)),
    asking('/api/search/tag/{tag}/values', KINDS.tagValues, (by, given, tag) =>
      queries.tagValues(by, tag, given),
    ),
    asking('/api/v2/search/tag/{tag}/values', KINDS.tagValuesV2, (by, given, tag) =>
      queries.tagValues(by, tag, given),
    ),
    asking('/api/metrics/query_range', KINDS.metricsRange, (by, given) =>
      queries.metrics(by, given, true),
    ),
    asking('/api/metrics/query', KINDS.metricsInstant, (by, given) =>
      queries.metrics(by, given, false),
    ),
  ]
}

/** A name that the client encoded twice; the router has decoded it once. */
function decodedAgain(tag: string): string {
  try {
    return decodeURIComponent(tag)
  } catch {
    return tag
  }
}

function wantsProtobuf(request: HttpRequest): boolean {
  return /application\/(x-)?protobuf/.test(request.header('accept') ?? '')
}

/** What an answer's headers say of what it shows; `covered` is the node's own token. */
function shown(
  { session, partial }: { session: string | null; partial: string | null },
  covered: string,
): Record<string, string> {
  const token = { 'otlake-session': session ?? covered }
  return partial === null ? token : { ...token, 'otlake-partial': partial }
}

function sendMessage(
  request: HttpRequest,
  response: HttpResponse,
  kind: Kind,
  answer: Answer,
  covered: string,
): void {
  const headers = shown(answer, covered)
  if (wantsProtobuf(request)) {
    sendWhole(response, bytesOf(kind, answer), { ...headers, 'content-type': PROTOBUF })
    return
  }
  // The engine's JSON is the message's already, but for the API's first version.
  const isMade = kind === KINDS.tags || kind === KINDS.tagValues
  const json = isMade ? toJsonString(kind.schema, kind.message(answer)) : answer.json
  sendWhole(response, Buffer.from(json), { ...headers, 'content-type': 'application/json' })
}

async function sendTrace(
  engine: Engine,
  by: Asked,
  id: string,
  request: HttpRequest,
  response: HttpResponse,
  isWrapped: boolean,
): Promise<void> {
  const { tenant, consistency, session, partial } = by
  const isProtobuf = wantsProtobuf(request)
  // Ids of 64 bits are written with fewer digits.
  const digits = /^[0-9a-f]{1,32}$/i.test(id) ? id.padStart(TRACE_ID_DIGITS, '0') : id
  const covered = engine.session()
  const encoding = isProtobuf ? 'protobuf' : 'json'
  const asking: TraceRequest = {
    ...{ traceId: digits, tenant, consistency, session, encoding },
    ...bounds((name) => request.query.get(name)),
    partial: partial || null,
  }
  const trace = engine.knownTrace(asking) ?? (await engine.trace(asking))
  if (trace === null) {
    throw new OtlakeError('TRACE_NOT_FOUND', `no span of trace ${id} is stored`)
  }
  const headers = { 'content-type': isProtobuf ? PROTOBUF : 'application/json' }
  const front = isWrapped ? '{"trace":{"resourceSpans":' : '{"batches":'
  const behind = (lacks: string | null) => {
    if (!isWrapped) return ''
    if (lacks === null) return ',"metrics":{}}'
    return `,"metrics":{},"status":"PARTIAL","message":${JSON.stringify(lacking(lacks))}}`
  }
  if (trace instanceof Uint8Array) {
    const json = () => Buffer.concat([renamed(trace, front), Buffer.from(behind(null))])
    const bytes = () => (isWrapped ? wrapTrace(trace, { partial: null }) : trace)
    const body = isProtobuf ? bytes() : json()
    sendWhole(response, body, { ...headers, 'otlake-session': covered })
    return
  }
  const stream = streamed(trace)
  await sendStream(response, stream, { ...headers, ...shown(trace, covered) })

  function streamed(from: ByteStream): ByteStream {
    if (!isProtobuf) return new RenamedTrace(from, front, () => behind(from.partial))
    return isWrapped ? new WrappedTrace(from) : from
  }
}
