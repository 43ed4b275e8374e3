/**
 * What is asked over the Tempo API, as Grafana asks it, and what has to be answered: each question comes
 * in a few variants, and the answer to each is known beforehand, from SQL, from the traces themselves, or from
 * the load client. `check` gets the answer's JSON and throws where it is another.
 */

import { same } from './hour.mjs'
import { below, durationOf, spansOf } from './tree.mjs'

/** As Grafana asks. */
const LIMIT = 20
const SPANS_SHOWN = 3
/** Fewer traces than are asked for: the whole hour has to be read to know that there are no more. */
const RARE = 8
/** Traces that are gathered to know which of them lie as asked for. */
const CANDIDATES = 40
const VARIANTS = 5
/** Where traces begin, and what they call. */
const CALLERS = ['gateway', 'storefront', 'mobile-api']
const CALLED = ['payment', 'inventory', 'pricing']

/** All questions of an hour. */
export async function questionsOf(hour) {
  return [
    {
      name: 'search by service and duration, many match',
      peers: 'search',
      variants: await bySlowest(hour, (spans) => Math.max(RARE, Math.floor(spans / 1000))),
    },
    {
      name: 'search by service and duration, few match in the hour',
      peers: 'search',
      variants: await bySlowest(hour, () => RARE),
    },
    { name: 'search by attribute, one of a million values', variants: await byUser(hour) },
    { name: 'structural, many match', variants: await failedBelow(hour) },
    { name: 'structural, few match in the hour', variants: await slowestBelow(hour) },
    { name: 'rate by service over the hour', variants: [rateByService(hour)] },
    { name: 'tag values: services', variants: [serviceValues(hour)] },
    { name: 'tag values: routes of a service', variants: await routeValues(hour) },
  ]
}

const quoted = (text) => JSON.stringify(text)
const literal = (text) => `'${text.replaceAll("'", "''")}'`

/** A search and the traces that match, with the number of spans that do in each. */
function search({ range }, q, matching) {
  const parameters = { q, limit: LIMIT, spss: SPANS_SHOWN, ...range }
  return {
    path: `/tempo/api/search?${new URLSearchParams(parameters)}`,
    check({ traces = [] }) {
      same(`${q}: number of traces`, traces.length, Math.min(LIMIT, matching.size))
      const ids = traces.map(({ traceID }) => traceID.padStart(32, '0'))
      same(`${q}: different traces`, new Set(ids).size, ids.length)
      for (const [at, id] of ids.entries()) {
        const [set] = traces[at].spanSets
        same(`${q}: spans of ${id} that match`, set.matched, matching.get(id))
        same(`${q}: spans shown`, set.spans.length, Math.min(SPANS_SHOWN, set.matched))
      }
    },
  }
}

/** The spans of some services that take longer than all but so many of them. */
async function bySlowest(hour, howMany) {
  const services = hour.services.slice(0, VARIANTS)
  return Promise.all(
    services.map(async ({ name, spans }) => {
      const rows = await hour.node.sql(
        `SELECT trace_id, duration_ns FROM spans WHERE service_name = ${literal(name)}
         ORDER BY duration_ns DESC LIMIT ${howMany(spans) + 1}`,
      )
      const least = Number(rows.at(-1).duration_ns)
      const matching = new Map()
      for (const { trace_id: id, duration_ns: duration } of rows) {
        if (Number(duration) > least) matching.set(id, (matching.get(id) ?? 0) + 1)
      }
      const q = `{ resource.service.name = ${quoted(name)} && duration > ${least}ns }`
      return search(hour, q, matching)
    }),
  )
}

/** The traces of users that known traces are of. */
async function byUser(hour) {
  const { traces, node } = hour
  return Promise.all(
    spread(traces, VARIANTS).map(async ({ id }) => {
      const [root] = (await traceOf(hour, id)).filter(({ parentSpanId }) => !parentSpanId)
      const { value } = root.attributes.find(({ key }) => key === 'enduser.id')
      const rows = await node.sql(
        `SELECT trace_id, count(*) AS n FROM spans
         WHERE attributes['enduser.id'] = ${literal(value.stringValue)} GROUP BY trace_id`,
      )
      const matching = new Map(rows.map(({ trace_id: id, n }) => [id, Number(n)]))
      return search(hour, `{ span.enduser.id = ${quoted(value.stringValue)} }`, matching)
    }),
  )
}

/** Failures of a service that a service above it led to. */
async function failedBelow(hour) {
  return Promise.all(
    CALLED.map(async (called, at) => {
      const caller = CALLERS[at]
      const rows = await hour.node.sql(
        `SELECT trace_id FROM spans WHERE service_name = ${literal(called)} AND status_code = 2
         INTERSECT SELECT trace_id FROM spans WHERE service_name = ${literal(caller)}`,
      )
      const q =
        `{ resource.service.name = ${quoted(caller)} } >> ` +
        `{ resource.service.name = ${quoted(called)} && status = error }`
      const isFailed = ({ service, status }) => service === called && status?.code === 2
      const candidates = new Set(rows.map(({ trace_id: id }) => id))
      return {
        path: search(hour, q, new Map()).path,
        // There are too many to look at all of them: those that are shown have to be some of them.
        async check({ traces = [] }) {
          if (candidates.size >= 10 * LIMIT) same(`${q}: traces`, traces.length, LIMIT)
          const ids = traces.map(({ traceID }) => traceID.padStart(32, '0'))
          same(`${q}: different traces`, new Set(ids).size, ids.length)
          for (const [index, id] of ids.entries()) {
            same(`${q}: ${id} has both`, candidates.has(id), true)
            const spans = await traceOf(hour, id)
            const found = below(spans, ({ service }) => service === caller, isFailed)
            same(`${q}: spans of ${id}`, traces[index].spanSets[0].matched, found.length)
          }
        },
      }
    }),
  )
}

/** The slowest spans of a service, where a service above led to them. */
async function slowestBelow(hour) {
  const { node } = hour
  return Promise.all(
    CALLED.map(async (called, at) => {
      const caller = CALLERS[at]
      const rows = await node.sql(
        `SELECT trace_id, duration_ns FROM spans WHERE service_name = ${literal(called)}
         ORDER BY duration_ns DESC LIMIT ${CANDIDATES}`,
      )
      const candidates = [...new Set(rows.map(({ trace_id: id }) => id))]
      const trees = await Promise.all(candidates.map((id) => traceOf(hour, id)))
      const found = (least) => {
        const isSlow = (span) => span.service === called && durationOf(span) > least
        const sets = trees.map((spans) => below(spans, ({ service }) => service === caller, isSlow))
        return new Map(
          sets.map((set, at) => [candidates[at], set.length]).filter(([, count]) => count > 0),
        )
      }
      // As few as leave no doubt that there are no more: all slower ones are among the candidates.
      const durations = rows.map(({ duration_ns: duration }) => BigInt(duration))
      const least = durations.find((duration) => found(duration).size >= RARE) ?? durations.at(-1)
      const q =
        `{ resource.service.name = ${quoted(caller)} } >> ` +
        `{ resource.service.name = ${quoted(called)} && duration > ${least}ns }`
      return search(hour, q, found(least))
    }),
  )
}

const STEP_S = 60

/** Each span counts in one step of one series. */
function rateByService({ range, services }) {
  const q = '{ } | rate() by (resource.service.name)'
  const parameters = { q, ...range, step: `${STEP_S}s` }
  return {
    path: `/tempo/api/metrics/query_range?${new URLSearchParams(parameters)}`,
    check({ series = [] }) {
      const counted = series.map(({ labels, samples = [] }) => ({
        name: labels.find(({ key }) => key === 'resource.service.name').value.stringValue,
        spans: Math.round(samples.reduce((sum, { value = 0 }) => sum + value * STEP_S, 0)),
      }))
      const line = ({ name, spans }) => `${name}: ${spans}`
      same(q, counted.map(line).sort(), services.map(line).sort())
    },
  }
}

function values(tag, parameters, wanted) {
  return {
    path: `/tempo/api/v2/search/tag/${tag}/values?${new URLSearchParams(parameters)}`,
    check({ tagValues = [] }) {
      same(`values of ${tag}`, tagValues.map(({ value }) => value).sort(), wanted.toSorted())
    },
  }
}

function serviceValues({ range, services }) {
  const names = services.map(({ name }) => name)
  return values('resource.service.name', range, names)
}

async function routeValues({ node, range, services }) {
  return Promise.all(
    services.slice(0, VARIANTS).map(async ({ name }) => {
      const rows = await node.sql(
        `SELECT DISTINCT attributes['http.route'] AS route FROM spans
         WHERE service_name = ${literal(name)} AND attributes['http.route'] IS NOT NULL`,
      )
      const q = `{ resource.service.name = ${quoted(name)} }`
      const routes = rows.map(({ route }) => route)
      return values('span.http.route', { q, ...range }, routes)
    }),
  )
}

async function traceOf(hour, id) {
  hour.asked.add(id)
  const { status, text } = await hour.node.ask(`/api/v1/traces/${id}`)
  if (status !== 200) throw new Error(`the trace ${id} was answered ${status}: ${text}`)
  return spansOf(JSON.parse(text))
}

/** So many of a list, far apart. */
export function spread(list, number) {
  const count = Math.min(number, list.length)
  return Array.from({ length: count }, (_, at) => list[Math.floor((at * list.length) / count)])
}
