/** What is derived of spans: calls, errors and durations, and the edges between services. */

import { z } from 'zod'
import type { DeriveConfig } from '../native/binding.js'
import { count, flag, invalid, list, type Setting } from './setting-schemas.js'

/** Labels that every series of calls has; a dimension cannot have their names. */
const LABELS = ['service', 'span_name', 'span_kind', 'status_code']
/** As Tempo has it, with what the semantic conventions call databases and queues now, and did. */
const PEER_ATTRIBUTES = [
  'peer.service',
  'db.namespace',
  'db.name',
  'db.system.name',
  'db.system',
  'messaging.destination.name',
  'messaging.destination',
  'messaging.system',
]
/** Those of Tempo's `span_metrics`: 2 ms to 16 s. */
const BOUNDS = Array.from({ length: 14 }, (_, power) => (2 * 2 ** power) / 1000)

const numbers = z.union([
  z.array(z.number()),
  z.string().transform((text) => text.split(',').map(Number)),
])

/** The settings, by their paths. */
export function deriveSettings(limit: (name: string) => number): Record<string, Setting> {
  return {
    'derive.span_metrics': {
      about: 'Whether calls, errors and durations are derived of spans (docs/derived.md)',
      schema: flag,
      default: false,
    },
    'derive.service_graph': {
      about: 'Whether the edges between services are derived of spans',
      schema: flag,
      default: false,
    },
    'derive.dimensions': {
      about: 'Attributes of spans or resources that become labels of calls and durations',
      schema: list,
      default: [],
    },
    'derive.peer_attributes': {
      about: 'Attributes that name whom a client span called; the first that a span has counts',
      schema: list,
      default: PEER_ATTRIBUTES,
    },
    'derive.latency_bounds': {
      about: "Upper bounds of the histograms' buckets, in seconds, ascending",
      schema: numbers,
      default: BOUNDS,
    },
    'derive.interval_ms': {
      about: 'What a derived point covers',
      schema: count.min(1000),
      default: limit('deriveIntervalMs'),
    },
    'derive.max_series': {
      about: 'Derived series of one tenant; what is beyond them counts in one series',
      schema: count,
      default: limit('deriveMaxSeries'),
    },
    'derive.edge_wait_ms': {
      about: 'How long half of an edge waits for the other',
      schema: count,
      default: limit('deriveEdgeWaitMs'),
    },
    'derive.max_waiting': {
      about: 'Halves of edges that wait; beyond it the oldest are let go of',
      schema: count,
      default: limit('deriveMaxWaiting'),
    },
  }
}

/** The name that a dimension has as a label. */
const label = (attribute: string) =>
  attribute.replaceAll(/[^A-Za-z0-9_]/g, '_').replace(/^(?=\d)/, '_')

/** What is derived. Throws `CONFIG_INVALID`. */
export function deriveConfig(
  get: <T>(path: string) => T,
  limit: (name: string) => number,
): DeriveConfig {
  const dimensions = get<string[]>('derive.dimensions')
  const most = limit('deriveMaxDimensions')
  if (dimensions.length > most) {
    throw invalid('derive.dimensions', `has ${dimensions.length}; give ${most} at most`)
  }
  const labels = [...LABELS, ...dimensions.map(label)]
  const twice = labels.find((name, at) => labels.indexOf(name) !== at)
  if (twice !== undefined) {
    throw invalid('derive.dimensions', `two labels would be named \`${twice}\`; leave one out`)
  }
  const bounds = get<number[]>('derive.latency_bounds')
  const isAscending = bounds.every(
    (bound, at) => Number.isFinite(bound) && bound > (at === 0 ? 0 : (bounds[at - 1] ?? 0)),
  )
  const mostBounds = limit('deriveMaxBounds')
  if (!isAscending || bounds.length === 0 || bounds.length > mostBounds) {
    throw invalid(
      'derive.latency_bounds',
      `must be 1 to ${mostBounds} seconds above 0, each more than the one before, such as 0.1,1,10`,
    )
  }
  return {
    spanMetrics: get('derive.span_metrics'),
    serviceGraph: get('derive.service_graph'),
    dimensions,
    peerAttributes: get('derive.peer_attributes'),
    bounds,
    intervalMs: get('derive.interval_ms'),
    maxSeries: get('derive.max_series'),
    edgeWaitMs: get('derive.edge_wait_ms'),
    maxWaiting: get('derive.max_waiting'),
  }
}
