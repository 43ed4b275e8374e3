/**
 * Random OTLP/JSON requests with every field of the definitions, spelled as a node spells what it
 * exports: fields at their default are left out where that means the same, 64-bit integers are
 * decimal text, ids lower-case hexadecimal.
 *
 * `records` takes a message apart, since storage groups records anew.
 */

import fc, { type Arbitrary } from 'fast-check'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json | undefined }
type Fields = { [key: string]: Json | undefined }

/** 2026-01-01T00:00Z. Files merge within a day, so that times that decide one are of this one. */
const MIDNIGHT = 1_767_225_600_000_000_000n
const DAY = 86_400_000_000_000n

const text = fc.oneof(
  { weight: 2, arbitrary: fc.constant('') },
  { weight: 3, arbitrary: fc.string({ maxLength: 8 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 5 }) },
)
/** Few enough that some come twice in one list. */
const key = fc.oneof(fc.constantFrom('$double', '$bytes', '$$x', 'http.route', 'a'), text)
const flag = fc.boolean()
const uint32 = fc.nat(0xffff_ffff)
const int32 = fc.integer()
const int64 = fc
  .oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.constantFrom(0n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n)),
  )
  .map(String)
/** Times and counts; beyond 2^63 - 1 a record is refused. */
const nanos = fc
  .oneof(fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }), fc.constantFrom(0n, 2n ** 63n - 1n))
  .map(String)
const today = fc
  .oneof(
    { weight: 9, arbitrary: fc.bigInt({ min: 0n, max: DAY - 1n }).map((at) => MIDNIGHT + at) },
    { weight: 1, arbitrary: fc.constant(0n) },
  )
  .map(String)
/** `JSON.stringify` writes no -0. */
const double = fc.double().map((value) => {
  if (Number.isFinite(value)) return value === 0 ? 0 : value
  return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity'
})
const optional = <T>(arbitrary: Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
const list = <T>(arbitrary: Arbitrary<T>, maxLength = 2) => fc.array(arbitrary, { maxLength })
/** Mostly not empty: these lead to records. */
const several = <T>(arbitrary: Arbitrary<T>) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.array(arbitrary, { minLength: 1, maxLength: 3 }) },
    { weight: 1, arbitrary: fc.constant<T[]>([]) },
  )

const hex = (digits: number) =>
  fc
    .uint8Array({ minLength: digits / 2, maxLength: digits / 2 })
    .filter((bytes) => bytes.some((byte) => byte !== 0))
    .map((bytes) => Buffer.from(bytes).toString('hex'))
const traceId = hex(32)
const spanId = hex(16)

/** A message without the fields whose default says what their absence says. */
function message(fields: { [name: string]: Arbitrary<Json | undefined> }): Arbitrary<Fields> {
  return fc.record(fields).map((made) => {
    const said = Object.entries(made).filter(([, value]) => !isDefault(value))
    return Object.fromEntries(said) as Fields
  })
}

function isDefault(value: Json | undefined): boolean {
  const absent = value === undefined || value === '' || value === '0' || value === 0
  return absent || value === false || (Array.isArray(value) && value.length === 0)
}

/** `optional` fields and members of a oneof: their default is not their absence. */
const present = (fields: { [name: string]: Arbitrary<Json> }): Arbitrary<Fields> =>
  fc.record(fields, { requiredKeys: [] })
const one = (members: { [name: string]: Arbitrary<Json> }): Arbitrary<Fields> =>
  fc.oneof(
    fc.constant<Fields>({}),
    ...Object.entries(members).map(([name, value]) => value.map((value) => ({ [name]: value }))),
  )

const both = <A extends Fields, B extends Fields>(first: Arbitrary<A>, second: Arbitrary<B>) =>
  fc.tuple(first, second).map(([first, second]): Fields => ({ ...first, ...second }))

/** A message that is absent where it says nothing. */
const unlessEmpty = (arbitrary: Arbitrary<Fields>) =>
  optional(arbitrary).map((made) =>
    made === undefined || Object.keys(made).length === 0 ? undefined : made,
  )

const { value } = fc.letrec<{ value: Fields }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    one({
      stringValue: text,
      boolValue: flag,
      intValue: int64,
      doubleValue: double,
      bytesValue: fc
        .uint8Array({ maxLength: 6 })
        .map((bytes) => Buffer.from(bytes).toString('base64')),
    }),
    list(tie('value'), 3).map((values) => ({ arrayValue: values.length > 0 ? { values } : {} })),
    list(keyed(tie('value')), 3).map((values) => ({
      kvlistValue: values.length > 0 ? { values } : {},
    })),
  ),
}))

function keyed(value: Arbitrary<Fields>): Arbitrary<Fields> {
  return both(
    message({ key }),
    value.map((value) => ({ value })),
  )
}

const attributes = list(keyed(value), 3)
const dropped = { droppedAttributesCount: uint32 }

const resource = message({
  attributes,
  ...dropped,
  entityRefs: list(
    message({
      schemaUrl: text,
      type: text,
      // Elements of a list are there, be they empty.
      idKeys: list(text),
      descriptionKeys: list(text),
    }),
  ),
})
const scope = message({ name: text, version: text, attributes, ...dropped })

const event = message({ timeUnixNano: nanos, name: text, attributes, ...dropped })
const link = message({ traceId, spanId, traceState: text, attributes, ...dropped, flags: uint32 })
const span = message({
  traceId,
  spanId,
  traceState: text,
  parentSpanId: optional(spanId),
  flags: uint32,
  name: text,
  kind: int32,
  startTimeUnixNano: today,
  endTimeUnixNano: nanos,
  attributes,
  ...dropped,
  events: list(event),
  droppedEventsCount: uint32,
  links: list(link),
  droppedLinksCount: uint32,
  status: unlessEmpty(message({ message: text, code: int32 })),
})

const logRecord = message({
  timeUnixNano: today,
  observedTimeUnixNano: today,
  severityNumber: int32,
  severityText: text,
  body: unlessEmpty(value),
  attributes,
  ...dropped,
  flags: uint32,
  traceId: optional(traceId),
  spanId: optional(spanId),
  eventName: text,
})

const number = one({ asDouble: double, asInt: int64 })
const exemplars = list(
  both(
    message({
      filteredAttributes: attributes,
      timeUnixNano: nanos,
      spanId: optional(spanId),
      traceId: optional(traceId),
    }),
    number,
  ),
)
const point = { attributes, startTimeUnixNano: nanos, timeUnixNano: today, flags: uint32 }
const extremes = { sum: double, min: double, max: double }
const numberPoint = both(message({ ...point, exemplars }), number)
const histogramPoint = both(
  both(message({ ...point, count: nanos, exemplars }), present(extremes)),
  // One bucket more than there are bounds, or none at all.
  fc.tuple(list(double, 3), list(nanos, 3)).map(([bounds, counts]): Fields => {
    if (counts.length === 0) return bounds.length > 0 ? { explicitBounds: bounds } : {}
    const fitting = Array.from({ length: counts.length - 1 }, (_, at) => bounds[at] ?? at)
    return {
      bucketCounts: counts,
      ...(fitting.length > 0 ? { explicitBounds: fitting } : {}),
    }
  }),
)
const buckets = optional(message({ offset: int32, bucketCounts: list(nanos, 3) }))
const exponentialPoint = both(
  message({
    ...point,
    count: nanos,
    scale: int32,
    zeroCount: nanos,
    positive: buckets,
    negative: buckets,
    exemplars,
    zeroThreshold: double,
  }),
  present(extremes),
)
const summaryPoint = message({
  ...point,
  count: nanos,
  sum: double,
  quantileValues: list(message({ quantile: double, value: double })),
})

const temporality = { aggregationTemporality: int32 }
const metric = both(
  message({ name: text, description: text, unit: text, metadata: attributes }),
  one({
    gauge: message({ dataPoints: several(numberPoint) }),
    sum: message({ dataPoints: several(numberPoint), ...temporality, isMonotonic: flag }),
    histogram: message({ dataPoints: several(histogramPoint), ...temporality }),
    exponentialHistogram: message({ dataPoints: several(exponentialPoint), ...temporality }),
    summary: message({ dataPoints: several(summaryPoint) }),
  }),
)

/** What each signal calls its groups and records. */
const NAMES = {
  traces: { resources: 'resourceSpans', scopes: 'scopeSpans', records: 'spans' },
  metrics: { resources: 'resourceMetrics', scopes: 'scopeMetrics', records: 'metrics' },
  logs: { resources: 'resourceLogs', scopes: 'scopeLogs', records: 'logRecords' },
} as const
export type Signal = keyof typeof NAMES

function request(signal: Signal, record: Arbitrary<Fields>): Arbitrary<Fields> {
  const names = NAMES[signal]
  const scopes = message({
    scope: optional(scope),
    [names.records]: several(record),
    schemaUrl: text,
  })
  const resources = message({
    resource: optional(resource),
    [names.scopes]: several(scopes),
    schemaUrl: text,
  })
  return message({ [names.resources]: several(resources) })
}

const REQUESTS = {
  traces: request('traces', span),
  metrics: request('metrics', metric),
  logs: request('logs', logRecord),
}

/** Requests of a signal; the same seed makes the same ones. */
export function randomRequests(signal: Signal, seed: number, count: number): unknown[] {
  return fc.sample(REQUESTS[signal], { seed, numRuns: count })
}

/**
 * Every record of a message with all it stands in, a data point with its metric alone, as text
 * that is the same where they are.
 */
export function records(signal: Signal, message: unknown): string[] {
  const names = NAMES[signal]
  const found: string[] = []
  for (const group of listed(message as Fields, names.resources)) {
    for (const inner of listed(group, names.scopes)) {
      for (const record of listed(inner, names.records)) {
        for (const single of signal === 'metrics' ? points(record) : [record]) {
          found.push(
            sorted([
              group.resource ?? {},
              group.schemaUrl ?? '',
              inner.scope ?? {},
              inner.schemaUrl ?? '',
              single,
            ]),
          )
        }
      }
    }
  }
  return found
}

function points(metric: Fields): Fields[] {
  const kinds = ['gauge', 'sum', 'histogram', 'exponentialHistogram', 'summary']
  return kinds.flatMap((kind) => {
    const data = metric[kind] as Fields | undefined
    if (data === undefined) return []
    return listed(data, 'dataPoints').map((point) => ({
      ...metric,
      [kind]: { ...data, dataPoints: [point] },
    }))
  })
}

function listed(message: Fields, name: string): Fields[] {
  return (message[name] ?? []) as Fields[]
}

/** As JSON, with the fields of every object in the order of their names. */
function sorted(value: Json): string {
  return JSON.stringify(value, (_, part: Json) => {
    if (part === null || typeof part !== 'object' || Array.isArray(part)) return part
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
  })
}
