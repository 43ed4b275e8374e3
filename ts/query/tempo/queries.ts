/**
 * What the Tempo API asks of the engine, whoever asks, over HTTP or gRPC: takes what a client sent as
 * text, makes a request of it, and gives the engine's answer.
 */

import type { Clock } from '../../base/clock.js'
import { OtlakeError } from '../../base/errors.js'
import type {
  Answer,
  MetricsRequest,
  SearchRequest,
  TagsRequest,
  TagValuesRequest,
  TraceqlEngine,
  TraceqlScope,
} from '../../native/traceql.js'
import type { Asked } from '../access.js'
import { parseField, parseTraceql } from '../traceql/parse.js'
import { tagsQuery } from '../traceql/tags.js'
import type { Query } from '../tree.js'
import { readFilter } from './filter.js'
import { defaultStep, parseLength, parseTime } from './times.js'

/** What a client gets without a `limit`. */
const DEFAULT_LIMIT = 20
const DEFAULT_SPANS_PER_SPANSET = 3
const DEFAULT_TAGS = 5_000
/** The largest `limit`, `spss` and `exemplars` that can be asked for (I5). */
const MAX_COUNT = 100_000
/** Steps of one range (I5), as Prometheus has it. */
const MAX_STEPS = 11_000n
/** The range of metrics without `start`, `end` and `since`. */
const DEFAULT_RANGE = '1h'
const SCOPES = ['resource', 'span', 'intrinsic', 'event', 'link', 'instrumentation']

/** A parameter by its name; null or empty where it was not sent. */
export type Parameters = (name: string) => string | null

export class TempoQueries {
  constructor(
    private readonly engine: TraceqlEngine,
    private readonly clock: Clock,
  ) {}

  /** `q`, or `tags`, `minDuration` and `maxDuration`; `limit`, `spss`, `start`, `end`. */
  async search(asked: Asked, given: Parameters): Promise<Answer> {
    const text = given('q')
    const query = text
      ? parseTraceql(text)
      : tagsQuery(given('tags') ?? '', given('minDuration'), given('maxDuration'))
    if (query.metrics !== null) {
      const message = 'this query makes metrics: ask /api/metrics/query_range for it'
      throw new OtlakeError('TRACEQL_UNSUPPORTED', message)
    }
    const request: SearchRequest = {
      ...scopeOf(asked, given),
      query,
      limit: count('limit', given('limit'), DEFAULT_LIMIT),
      spansPerSpanset: count('spss', given('spss'), DEFAULT_SPANS_PER_SPANSET),
      mostRecent: hint(query, 'most_recent'),
    }
    return this.engine.searchTraces(JSON.stringify(request))
  }

  /** `scope`, `q`, `limit`, `start`, `end`. */
  async tags(asked: Asked, given: Parameters): Promise<Answer> {
    const scope = given('scope')
    // Clients write `none` and `all` for every scope.
    const isAny = scope === null || ['', 'none', 'all'].includes(scope)
    if (!isAny && !SCOPES.includes(scope)) {
      throw malformed(`\`${scope}\` is no scope: write one of ${SCOPES.join(', ')}`)
    }
    const request: TagsRequest = {
      ...scopeOf(asked, given),
      scope: isAny ? null : scope,
      query: readFilter(given('q')),
      limit: count('limit', given('limit'), DEFAULT_TAGS),
    }
    return this.engine.traceTags(JSON.stringify(request))
  }

  /** The values of `tag`; `q`, `limit`, `start`, `end`. */
  async tagValues(asked: Asked, tag: string, given: Parameters): Promise<Answer> {
    const request: TagValuesRequest = {
      ...scopeOf(asked, given),
      tag: parseField(tag),
      query: readFilter(given('q')),
      limit: count('limit', given('limit'), DEFAULT_TAGS),
    }
    return this.engine.traceTagValues(JSON.stringify(request))
  }

  /** `q`, `start` and `end` or `since`, `exemplars`; with `isRange` also `step`. */
  async metrics(asked: Asked, given: Parameters, isRange: boolean): Promise<Answer> {
    const query = parseTraceql(given('q') ?? '')
    if (query.metrics === null) {
      const message = 'this query makes no metrics: add for example `| rate()`, or ask /api/search'
      throw new OtlakeError('TRACEQL_UNSUPPORTED', message)
    }
    const { start, end } = this.#range(given)
    const step = given('step')
    const stepNs = step ? parseLength('step', step) : defaultStep(start, end)
    if (isRange && (end - start) / stepNs > MAX_STEPS) {
      throw malformed(`the range has more than ${MAX_STEPS} steps: ask for a longer step`)
    }
    const request: MetricsRequest = {
      ...scopeOf(asked, () => null),
      startNs: start.toString(),
      endNs: end.toString(),
      query,
      stepNs: isRange ? stepNs.toString() : null,
      exemplars: count('exemplars', given('exemplars'), 0, 0),
    }
    return this.engine.traceMetrics(JSON.stringify(request))
  }

  #range(given: Parameters): { start: bigint; end: bigint } {
    const [from, to] = [given('start'), given('end')]
    const end = to ? parseTime('end', to) : BigInt(this.clock.now()) * 1_000_000n
    const start = from
      ? parseTime('start', from)
      : end - parseLength('since', given('since') || DEFAULT_RANGE)
    if (start >= end) throw malformed('`start` is not before `end`')
    return { start: start > 0n ? start : 0n, end }
  }
}

function scopeOf(
  { tenant, consistency, session, partial, queryId }: Asked,
  given: Parameters,
): TraceqlScope {
  const { startNs, endNs } = bounds(given)
  return {
    queryId,
    tenant,
    consistency,
    session,
    partial: partial || null,
    startNs: startNs?.toString() ?? null,
    endNs: endNs?.toString() ?? null,
    timeoutMs: null,
  }
}

/** `start` and `end`, each null where it was not sent, or sent as 0. Throws `HTTP_MALFORMED`. */
export function bounds(given: Parameters): { startNs: bigint | null; endNs: bigint | null } {
  const time = (name: string) => {
    const text = given(name)
    // Clients in Go send what was not set as 0.
    return (text && parseTime(name, text)) || null
  }
  const [startNs, endNs] = [time('start'), time('end')]
  if (startNs !== null && endNs !== null && startNs >= endNs) {
    throw malformed('`start` is not before `end`')
  }
  return { startNs, endNs }
}

/** A count that a client sent; 0 stands for the default, as it does in Tempo's messages. */
function count(name: string, text: string | null, otherwise: number, least = 1): number {
  if (text === null || text === '' || text === '0') return otherwise
  const number = Number(text)
  if (Number.isInteger(number) && number >= least && number <= MAX_COUNT) return number
  throw malformed(`\`${name}=${text}\` is no number from ${least} to ${MAX_COUNT}`)
}

function hint({ hints }: Query, name: string): boolean {
  return hints.some((each) => each.name === name && each.value.type === 'bool' && each.value.value)
}

function malformed(message: string): OtlakeError {
  return new OtlakeError('HTTP_MALFORMED', message)
}
