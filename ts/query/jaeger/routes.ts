/**
 * Jaeger's query API, below `/jaeger`, so that a Grafana data source of that type, Jaeger's UI and its
 * clients point here.
 *
 * - `routes.ts`: the paths that the UI and Grafana ask; `v3.ts`: version 3 of the API, OTLP in JSON.
 * - `calls.ts`: the same version over gRPC.
 * - `queries.ts`: what is asked of the engine; `search.ts`: a search as the tree of a query;
 *   `metrics.ts`: the series of the monitor tab.
 * - `parameters.ts`: what clients send; `failure.ts`: errors as they read them.
 * - `traces.ts`: many traces as one answer. Jaeger's JSON of a trace is made by the engine.
 * - `generated/`: the schema of the messages, from `proto/jaeger/query.proto`.
 *
 * docs/jaeger.md says what is there.
 */

import type { Clock } from '../../base/clock.js'
import type { Engine, Token } from '../../native/binding.js'
import type { TraceqlEngine } from '../../native/traceql.js'
import { type Asked, asked } from '../access.js'
import { type Route, sendJson, sendStream } from '../answers.js'
import { malformed, shown, structured } from './failure.js'
import { type MetricName, MIN_STEP_MS, monitored } from './metrics.js'
import {
  dependenciesRange,
  type Given,
  MAX_TRACES,
  readKind,
  readSearch,
  readTraceId,
} from './parameters.js'
import { JaegerQueries, notFound } from './queries.js'
import { headersOf, JAEGER, JoinedTraces } from './traces.js'
import { v3Routes } from './v3.js'

export interface JaegerOptions {
  tokens: readonly Token[]
  clock: Clock
}

/** The routes of Jaeger's query API. */
export function jaegerRoutes(engine: Engine & TraceqlEngine, options: JaegerOptions): Route[] {
  const { tokens, clock } = options
  const queries = new JaegerQueries(engine, clock)
  const get = (path: string, answer: Route['answer']): Route => ({
    ...{ method: 'GET', path: `/jaeger/api${path}`, answer },
  })
  /** An answer that is made whole. */
  const json = (
    path: string,
    ask: (by: Asked, given: Given, name: string) => Promise<unknown>,
  ): Route =>
    get(path, async (request, response, { name = '' }) => {
      const by = asked(request, tokens)
      const covered = queries.covered()
      const body = await ask(by, request.query, name)
      sendJson(response, 200, body, { 'otlake-session': covered })
    })
  const metric = (name: MetricName) =>
    json(`/metrics/${name}`, (by, given) => monitored(engine, clock, by, name, given))
  const traces: Route['answer'] = async (request, response) => {
    const by = asked(request, tokens)
    const covered = queries.covered()
    const ids = readIds(request.query)
    const found =
      ids === null
        ? await queries.search(by, readSearch(request.query, clock))
        : { ids, session: null, partial: null }
    const open = (id: string) => queries.trace(by, id, 'jaeger')
    const stream = new JoinedTraces(found.ids, JAEGER, open, found, ids !== null)
    await sendStream(response, stream, headersOf(stream, covered))
  }
  const routes = [
    json('/services', async (by) => listed(await queries.services(by))),
    json('/services/{name}/operations', async (by, _given, service) => {
      const operations = await queries.operations(by, service, null)
      return listed([...new Set(operations.map(({ name }) => name))])
    }),
    json('/operations', async (by, given) => {
      const service = given.get('service')
      if (!service) throw malformed("parameter 'service' is required")
      const kind = readKind('spanKind', given.get('spanKind'))
      return listed(await queries.operations(by, service, kind))
    }),
    json('/dependencies', async (by, given) =>
      structured(await queries.dependencies(by, dependenciesRange(given, clock))),
    ),
    metric('latencies'),
    metric('calls'),
    metric('errors'),
    json('/metrics/minstep', async () => structured(MIN_STEP_MS)),
    get('/traces', traces),
    get('/traces/{id}', async (request, response, { id = '' }) => {
      const by = asked(request, tokens)
      const covered = queries.covered()
      const whole = readTraceId(id)
      const trace = await queries.trace(by, whole, 'jaeger')
      if (trace === null) throw notFound(id)
      const stream = new JoinedTraces([whole], JAEGER, async () => trace, trace, true)
      await sendStream(response, stream, headersOf(stream, covered))
    }),
  ]
  return [...shown(routes, 'v1'), ...v3Routes(queries, options)]
}

function listed(data: unknown[]): unknown {
  return structured(data, data.length)
}

/** The traces that are asked for by their ids; null where it is a search. */
function readIds(given: Given): string[] | null {
  const ids = given.getAll('traceID')
  if (ids.length === 0) return null
  if (ids.length > MAX_TRACES) {
    throw malformed(`unable to parse param 'traceID': there are more than ${MAX_TRACES}`)
  }
  return [...new Set(ids.map(readTraceId))]
}
