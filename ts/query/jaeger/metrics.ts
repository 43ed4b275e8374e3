/**
 * What the monitor tab of Jaeger's UI asks for: latencies, calls and errors over time of the spans of
 * some services, by the metrics of TraceQL. Each point is of the step that it stands for.
 */

import type { Clock } from '../../base/clock.js'
import type { MetricsRequest, TraceqlEngine } from '../../native/traceql.js'
import type { Asked } from '../access.js'
import { COMPARE_TOP } from '../traceql/syntax.js'
import { allOf, equals } from '../traceql/tags.js'
import type { Expression, Metrics, Query, SpanKind } from '../tree.js'
import { malformed } from './failure.js'
import { type Given, lookedBack, MILLISECOND, type Range, readKind, units } from './parameters.js'
import { anyOf, DURATION, KIND, NAME, SERVICE, STATUS } from './search.js'

/** The shortest step that the UI may ask for, milliseconds. */
export const MIN_STEP_MS = 1000
const DEFAULT_STEP = 5000n * MILLISECOND
const DEFAULT_LOOKBACK = 3_600_000n * MILLISECOND
/** Steps of one range (I5), as Prometheus has it. */
const MAX_STEPS = 11_000n
/** Services of one request (I5). */
const MAX_SERVICES = 100

export type MetricName = 'latencies' | 'calls' | 'errors'

interface Wanted extends Range {
  services: string[]
  kinds: SpanKind[]
  isByOperation: boolean
  stepNs: bigint
}

/** A series: its labels, and values by milliseconds since 1970. */
interface Series {
  service: string
  operation: string
  values: Map<number, number>
}

/** A metric family as the UI reads it. */
export interface Family {
  name: string
  type: 'GAUGE'
  help: string
  metrics: {
    labels: { name: string; value: string }[]
    metricPoints: { gaugeValue: { doubleValue: number }; timestamp: string }[]
  }[]
}

/**
 * `service` (several), `endTs`, `lookback`, `step` (milliseconds), `spanKind` (several),
 * `groupByOperation`, and of latencies `quantile`.
 */
export async function monitored(
  engine: TraceqlEngine,
  clock: Clock,
  by: Asked,
  name: MetricName,
  given: Given,
): Promise<Family> {
  const wanted = readWanted(given, clock)
  const ask = (metrics: Pick<Metrics, 'function'> & Partial<Metrics>, isFailed = false) =>
    series(engine, by, wanted, metrics, isFailed)
  if (name === 'latencies') {
    const quantile = readQuantile(given.get('quantile'))
    const found = await ask({
      function: 'quantile_over_time',
      argument: DURATION,
      quantiles: [quantile],
    })
    // The UI takes milliseconds.
    const shown = found.map((each) => scaled(each, (seconds) => seconds * 1000))
    return family('latencies', `${quantile}th quantile latency`, wanted, shown)
  }
  const calls = await ask({ function: 'rate' })
  if (name === 'calls') return family('call_rate', 'calls/sec', wanted, calls)
  const failed = await ask({ function: 'rate' }, true)
  const rates = new Map(failed.map((each) => [keyOf(each), each.values]))
  const shares = calls.map((each) => {
    const errors = rates.get(keyOf(each))
    const of = [...each.values].filter(([, rate]) => rate > 0)
    const values = new Map(of.map(([at, rate]) => [at, (errors?.get(at) ?? 0) / rate]))
    return { ...each, values }
  })
  const help = 'error rate, computed as a fraction of errors/sec over calls/sec'
  return family('error_rate', help, wanted, shares)
}

function readWanted(given: Given, clock: Clock): Wanted {
  const services = given.getAll('service').filter((each) => each !== '')
  if (services.length === 0) {
    throw malformed("unable to parse param 'service': please provide at least one service name")
  }
  if (services.length > MAX_SERVICES) {
    throw malformed(`unable to parse param 'service': there are more than ${MAX_SERVICES}`)
  }
  const kinds = given.getAll('spanKind').flatMap((each) => readKind('spanKind', each) ?? [])
  const group = given.get('groupByOperation') || 'false'
  if (!/^(true|false|[tf01])$/i.test(group)) {
    throw malformed(`unable to parse param 'groupByOperation': \`${group}\` is not true or false`)
  }
  const range = lookedBack(given, clock, DEFAULT_LOOKBACK)
  // How far the UI would have the rate of a moment reach: here it reaches one step.
  units('ratePer', given.get('ratePer'), MILLISECOND)
  const stepNs = units('step', given.get('step'), MILLISECOND) ?? DEFAULT_STEP
  if (stepNs < BigInt(MIN_STEP_MS) * MILLISECOND) {
    throw malformed(`unable to parse param 'step': it is at least ${MIN_STEP_MS}`)
  }
  if ((range.endNs - range.startNs) / stepNs > MAX_STEPS) {
    throw malformed(`the range has more than ${MAX_STEPS} steps: ask for a longer step`)
  }
  return {
    ...range,
    services,
    kinds: kinds.length === 0 ? ['server'] : kinds,
    isByOperation: /^(true|t|1)$/i.test(group),
    stepNs,
  }
}

function readQuantile(text: string | null): number {
  const quantile = Number(text)
  if (text && quantile >= 0 && quantile <= 1) return quantile
  throw malformed(`unable to parse param 'quantile': \`${text ?? ''}\` is no number from 0 to 1`)
}

async function series(
  engine: TraceqlEngine,
  { tenant, consistency, session, partial, queryId }: Asked,
  wanted: Wanted,
  metrics: Pick<Metrics, 'function'> & Partial<Metrics>,
  isFailed: boolean,
): Promise<Series[]> {
  const request: MetricsRequest = {
    queryId,
    ...{ tenant, consistency, session, partial: partial || null, timeoutMs: null },
    startNs: wanted.startNs.toString(),
    endNs: wanted.endNs.toString(),
    query: metricsQuery(wanted, metrics, isFailed),
    stepNs: wanted.stepNs.toString(),
    exemplars: 0,
  }
  const { json } = await engine.traceMetrics(JSON.stringify(request))
  const { series: found = [] } = JSON.parse(json) as { series?: Answered[] }
  return found.map(({ labels = [], samples = [] }) => {
    const label = (key: string) => labels.find((each) => each.key === key)?.value?.stringValue ?? ''
    const values = samples.map(({ timestampMs = '0', value = 0 }): [number, number] => [
      Number(timestampMs),
      Number(value),
    ])
    return {
      service: label('resource.service.name'),
      operation: label('name'),
      values: new Map(values.filter(([, value]) => Number.isFinite(value))),
    }
  })
}

/** Of a `tempopb.TimeSeries`, what is read. */
interface Answered {
  labels?: { key: string; value?: { stringValue?: string } }[]
  samples?: { timestampMs?: string; value?: number | string }[]
}

function metricsQuery(
  { services, kinds, isByOperation }: Wanted,
  metrics: Pick<Metrics, 'function'> & Partial<Metrics>,
  isFailed: boolean,
): Query {
  const conditions: Expression[] = [
    anyOf(services.map((value) => equals(SERVICE, { type: 'string', value }))),
    anyOf(kinds.map((value) => equals(KIND, { type: 'spanKind', value }))),
  ]
  if (isFailed) conditions.push(equals(STATUS, { type: 'status', value: 'error' }))
  return {
    pipeline: [{ kind: 'spansets', spansets: { kind: 'spans', condition: allOf(conditions) } }],
    metrics: {
      ...{ argument: null, quantiles: [], selection: null, top: COMPARE_TOP },
      ...{ start: null, end: null },
      // biome-ignore lint/suspicious/noThenProperty: a list; only a function would be awaited.
      then: [],
      by: isByOperation ? [SERVICE, NAME] : [SERVICE],
      ...metrics,
    },
    hints: [],
  }
}

function keyOf({ service, operation }: Series): string {
  return JSON.stringify([service, operation])
}

function scaled(series: Series, by: (value: number) => number): Series {
  const values = [...series.values].map(([at, value]): [number, number] => [at, by(value)])
  return { ...series, values: new Map(values) }
}

function family(suffix: string, help: string, { isByOperation }: Wanted, all: Series[]): Family {
  const grouped = isByOperation ? 'service & operation' : 'service'
  return {
    name: `service${isByOperation ? '_operation' : ''}_${suffix}`,
    type: 'GAUGE',
    help: `${help}, grouped by ${grouped}`,
    metrics: all.map(({ service, operation, values }) => ({
      labels: [
        ...(isByOperation ? [{ name: 'operation', value: operation }] : []),
        { name: 'service_name', value: service },
      ],
      metricPoints: [...values].map(([at, value]) => ({
        gaugeValue: { doubleValue: value },
        timestamp: new Date(at).toISOString(),
      })),
    })),
  }
}
