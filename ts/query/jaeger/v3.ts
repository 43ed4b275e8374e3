/** Version 3 of Jaeger's query API over HTTP, below `/jaeger/api/v3`: traces are OTLP/JSON. */

import type { Token } from '../../native/binding.js'
import { asked } from '../access.js'
import { type Route, sendJson, sendStream } from '../answers.js'
import { parseTime } from '../tempo/times.js'
import { malformed, shown } from './failure.js'
import { type Given, inOrder, readKind, readSearchV3, readTraceId } from './parameters.js'
import { type JaegerQueries, notFound } from './queries.js'
import { headersOf, JoinedTraces, OTLP } from './traces.js'

export function v3Routes(queries: JaegerQueries, options: { tokens: readonly Token[] }): Route[] {
  const { tokens } = options
  const get = (path: string, answer: Route['answer']): Route => ({
    ...{ method: 'GET', path: `/jaeger/api/v3${path}`, answer },
  })
  const routes = [
    get('/services', async (request, response) => {
      const by = asked(request, tokens)
      const session = queries.covered()
      const services = await queries.services(by)
      sendJson(response, 200, { services }, { 'otlake-session': session })
    }),
    get('/operations', async (request, response) => {
      const by = asked(request, tokens)
      const session = queries.covered()
      const service = request.query.get('service')
      if (!service) throw malformed('malformed parameter service: it is required')
      const kind = readKind('span_kind', request.query.get('span_kind'))
      const operations = await queries.operations(by, service, kind)
      sendJson(response, 200, { operations }, { 'otlake-session': session })
    }),
    get('/dependencies', async (request, response) => {
      const by = asked(request, tokens)
      const session = queries.covered()
      const found = await queries.dependencies(by, range(request.query))
      // 64 bits are text in protobuf's JSON.
      const dependencies = found.map((each) => ({ ...each, callCount: String(each.callCount) }))
      sendJson(response, 200, { dependencies }, { 'otlake-session': session })
    }),
    get('/traces', async (request, response) => {
      const by = asked(request, tokens)
      const covered = queries.covered()
      const found = await queries.search(by, readSearchV3(request.query))
      const open = (id: string) => queries.trace(by, id, 'json')
      const stream = new JoinedTraces(found.ids, OTLP, open, found, false)
      await sendStream(response, stream, headersOf(stream, covered))
    }),
    get('/traces/{id}', async (request, response, { id = '' }) => {
      const by = asked(request, tokens)
      const covered = queries.covered()
      const whole = readTraceId(id)
      const trace = await queries.trace(by, whole, 'json')
      if (trace === null) throw notFound(id)
      const stream = new JoinedTraces([whole], OTLP, async () => trace, trace, true)
      await sendStream(response, stream, headersOf(stream, covered))
    }),
  ]
  return shown(routes, 'v3')
}

function range(given: Given): ReturnType<typeof inOrder> {
  const [from, to] = [given.get('start_time'), given.get('end_time')]
  if (!from || !to) throw malformed('start_time and end_time are required')
  return inOrder({ startNs: parseTime('start_time', from), endNs: parseTime('end_time', to) })
}
