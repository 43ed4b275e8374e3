/**
 * What the OpenTelemetry SDKs of Python, Java and Go send, over gRPC and HTTP, compressed and not,
 * is what SQL answers, field by field (I8), as soon as the program has ended (I7). The three
 * programs (clients/<language>/send) send the same shop.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ServerProcess, temporaryFolder } from '../../testing/server.js'
import { Relay } from './relay.js'
import {
  BUILD_TIMEOUT_MS,
  clientFile,
  goPrograms,
  javaArguments,
  python,
  run,
} from './toolchain.js'

type Program = 'send' | 'hello'

interface Language {
  name: string
  sdk: string
  /** The command and arguments that run a program. */
  command(program: Program): Promise<[string, ...string[]]>
}

const languages: Language[] = [
  {
    name: 'Python',
    sdk: 'python',
    command: async (program) => [await python(), clientFile(`python/${program}.py`)],
  },
  {
    name: 'Java',
    sdk: 'java',
    command: async (program) => [
      'java',
      ...(await javaArguments()),
      program === 'send' ? 'otlake.Send' : 'otlake.Hello',
    ],
  },
  {
    name: 'Go',
    sdk: 'go',
    command: async (program) => [`${await goPrograms('go')}/${program}`],
  },
]

let folder: Awaited<ReturnType<typeof temporaryFolder>>
let server: ServerProcess

beforeAll(async () => {
  folder = await temporaryFolder()
  server = await ServerProcess.start(folder.path)
})

afterAll(async () => {
  await server?.stop()
  await folder?.remove()
})

/** Nanoseconds since 1970 of a time of the programs. */
const at = (nanoseconds: number) => 1_700_000_000_000_000_000n + BigInt(nanoseconds)
const SCHEMA_URL = 'https://opentelemetry.io/schemas/1.30.0'
const scope = {
  scope_name: 'shop',
  scope_version: '1.2.3',
  scope_schema_url: SCHEMA_URL,
  scope_attributes: '{}',
  tenant: 'default',
}

/** Every attribute as its JSON text, which keeps its OTLP type: 2 is an integer, 2.0 a double. */
async function attributes(table: string, column: string, where: string, parameters: unknown[]) {
  const values = await server.rows<{ key: string; value: string }>(
    `SELECT key, attr_json(json, key) AS value FROM
       (SELECT ${column} AS json, unnest(attr_keys(${column})) AS key FROM ${table} WHERE ${where})`,
    parameters,
  )
  return Object.fromEntries(values.map(({ key, value }) => [key, value]))
}

interface Ids {
  linkedTrace: string
  linked: string
  trace: string
  cart: string
  query: string
  /** The trace flags of the root span. */
  flags: number
}

const routes = (['grpc', 'http/protobuf'] as const).flatMap((protocol) =>
  (['none', 'gzip'] as const).map((compression) => ({ protocol, compression })),
)

/** Runs a program that sends one span, as docs/clients.md shows it, and looks for the span. */
async function hello(name: string, [program, ...args]: [string, ...string[]], address: string) {
  const service = `hello-${name.toLowerCase()}`
  await run(program, args, {
    env: { OTEL_SERVICE_NAME: service, OTEL_EXPORTER_OTLP_ENDPOINT: `http://${address}` },
  })
  const rows = await server.rows('SELECT name FROM spans WHERE service_name = $1', [service])
  expect(rows).toEqual([{ name: `hello from ${name}` }])
}

test('the shortest program of the JavaScript SDK is in SQL when it has ended', async () => {
  const program = clientFile('javascript/hello.mjs')
  await hello('JavaScript', [process.execPath, program], server.addresses.otlpHttp)
})

describe.each(languages)('the $name SDK', ({ sdk, name, command }) => {
  beforeAll(async () => {
    await command('send')
  }, BUILD_TIMEOUT_MS)

  test('the shortest program is in SQL when it has ended', async () => {
    const { otlpHttp, otlpGrpc } = server.addresses
    await hello(name, await command('hello'), sdk === 'python' ? otlpHttp : otlpGrpc)
  })

  describe.each(routes)('over $protocol, compression $compression', (route) => {
    const service = `${sdk}-${route.protocol}-${route.compression}`
    let ids: Ids

    beforeAll(async () => {
      const { otlpGrpc, otlpHttp } = server.addresses
      const relay = await Relay.start(route.protocol === 'grpc' ? otlpGrpc : otlpHttp)
      const [program, ...args] = await command('send')
      const output = await run(program, args, {
        env: {
          OTEL_SERVICE_NAME: service,
          OTEL_EXPORTER_OTLP_ENDPOINT: `http://${relay.address}`,
          OTEL_EXPORTER_OTLP_PROTOCOL: route.protocol,
          // Python's gRPC exporter does not know the word "none", the default of them all.
          ...(route.compression === 'gzip' && { OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip' }),
        },
      })
      ids = JSON.parse(output)
      for (const text of ['link.reason', 'Orders placed', 'stock is low']) {
        expect(relay.saw(text), `"${text}" is readable on the wire`).toBe(
          route.compression === 'none',
        )
      }
      await relay.close()
    })

    /** The program's own rows: an SDK may send measurements of itself beside them. */
    const rows = (table: string, order: string) =>
      server.rows(
        `SELECT * FROM ${table} WHERE service_name = $1 AND scope_name = 'shop' ORDER BY ${order}`,
        [service],
      )

    test('the resource is whole in every table', async () => {
      for (const table of ['spans', 'logs', 'metrics_sum', 'metrics_gauge', 'metrics_histogram']) {
        const found = await attributes(table, 'resource_attributes', 'service_name = $1', [service])
        expect(found).toMatchObject({
          'service.name': JSON.stringify(service),
          'service.version': '"1.4.0"',
          'host.cpus': '8',
          'deployment.ports': '[4317,4318]',
          'telemetry.sdk.language': `"${sdk}"`,
        })
      }
    })

    test('spans', async () => {
      const found = await rows('spans', 'start_time_unix_nano')
      const start = (nanoseconds: number) => String(at(nanoseconds))
      expect(found).toMatchObject([
        {
          ...scope,
          trace_id: ids.linkedTrace,
          span_id: ids.linked,
          parent_span_id: null,
          name: 'linked',
          kind: 4,
          start_time_unix_nano: start(0),
          duration_ns: 1,
          status_code: 0,
          status_message: null,
          attributes: '{}',
          events: [],
          links: [],
          dropped_attributes_count: 0,
          dropped_events_count: 0,
          dropped_links_count: 0,
        },
        {
          ...scope,
          trace_id: ids.trace,
          span_id: ids.cart,
          parent_span_id: null,
          name: 'GET /cart',
          kind: 2,
          start_time_unix_nano: start(123_456_789),
          duration_ns: 999_999_999 - 123_456_789,
          status_code: 2,
          status_message: 'timed out',
          http_request_method: 'GET',
          http_response_status_code: 500,
          events: [],
          links: [
            {
              trace_id: ids.linkedTrace,
              span_id: ids.linked,
              attributes: '{"link.reason":"retry"}',
              dropped_attributes_count: 0,
            },
          ],
        },
        {
          ...scope,
          trace_id: ids.trace,
          span_id: ids.query,
          parent_span_id: ids.cart,
          name: 'query',
          kind: 3,
          start_time_unix_nano: start(200_000_000),
          duration_ns: 100,
          status_code: 1,
          status_message: null,
          attributes: '{}',
          events: [
            {
              time_unix_nano: start(200_000_007),
              name: 'rows',
              attributes: '{"count":3}',
              dropped_attributes_count: 0,
            },
          ],
          links: [],
        },
      ])
    })

    test('span attributes of every type', async () => {
      const where = `service_name = $1 AND name = 'GET /cart'`
      expect(await attributes('spans', 'attributes', where, [service])).toEqual({
        'http.request.method': '"GET"',
        'http.response.status_code': '500',
        'app.ratio': '0.25',
        'app.whole': '2',
        'app.double': '2.0',
        'app.big': '9007199254740993',
        'app.cached': 'false',
        'app.empty': '""',
        'app.items': JSON.stringify(['tea', 'cup "large"', 'naïve\n']),
        'app.ports': '[1,2]',
        'app.ratios': '[0.5,1.0]',
        'app.flags': '[true,false]',
        'app.raw': '{"$bytes":"AP8="}',
        'app.map': '{"id":7,"ratio":2.0}',
      })
    })

    test('metrics of every kind', async () => {
      const cumulative = { ...scope, aggregation_temporality: 2 }
      expect(await rows('metrics_sum', 'name')).toMatchObject([
        {
          ...cumulative,
          name: 'orders',
          unit: '{order}',
          description: 'Orders placed',
          value: 7,
          value_int: 7,
          is_monotonic: true,
          attributes: '{"country":"NL"}',
        },
        { ...cumulative, name: 'queue', value: -2, value_int: -2, is_monotonic: false },
        { ...cumulative, name: 'revenue', unit: 'EUR', value: 3.75, value_int: null },
      ])
      expect(await rows('metrics_gauge', 'name')).toMatchObject([
        { ...scope, name: 'load', value: 0.75, value_int: null },
        { ...scope, name: 'threads', value: 12, value_int: 12 },
      ])
      expect(await rows('metrics_histogram', 'name')).toMatchObject([
        {
          ...cumulative,
          name: 'wait',
          unit: 'ms',
          count: 4,
          sum: 555.5,
          min: 0.5,
          max: 500,
          bucket_counts: [1, 1, 1, 1],
          explicit_bounds: [1, 10, 100],
        },
      ])
      const exponential = await rows('metrics_exponential_histogram', 'name')
      expect(exponential).toMatchObject([
        { ...cumulative, name: 'spread', count: 4, sum: 15, min: 1, max: 8, zero_count: 0 },
      ])
      const buckets = exponential[0]?.positive_bucket_counts as number[]
      expect(buckets.filter((count) => count !== 0)).toEqual([1, 1, 1, 1])
    })

    test('logs', async () => {
      const found = await rows('logs', 'time_unix_nano')
      expect(found).toMatchObject([
        {
          ...scope,
          time_unix_nano: String(at(300_000_001)),
          observed_time_unix_nano: String(at(300_000_002)),
          trace_id: ids.trace,
          span_id: ids.cart,
          flags: ids.flags,
          severity_number: 13,
          severity_text: 'WARN',
          event_name: null,
          body: 'stock is low',
          body_value: null,
        },
        {
          ...scope,
          time_unix_nano: String(at(400_000_001)),
          observed_time_unix_nano: String(at(400_000_002)),
          trace_id: null,
          span_id: null,
          flags: 0,
          severity_number: 9,
          event_name: 'order.placed',
          attributes: '{}',
        },
      ])
      expect(await attributes('logs', 'attributes', `service_name = $1`, [service])).toEqual({
        sku: '"tea-1"',
        left: '2',
      })
      const where = `service_name = $1 AND event_name = 'order.placed'`
      expect(await attributes('logs', 'body_value', where, [service])).toEqual({
        order: '{"id":7,"paid":true}',
        tags: '["a","b"]',
        raw: '{"$bytes":"AP8="}',
        ratio: '2.0',
      })
    })
  })
})

test('the shortest questions are answered', async () => {
  const { flight } = server.addresses
  const answer = await run(await python(), [clientFile('python/query.py'), `grpc://${flight}`])
  expect(answer.trim()).toBe("[{'name': 'hello from Python'}]")
  const url = `jdbc:arrow-flight-sql://${flight}?useEncryption=false`
  const words = await run('java', [...(await javaArguments()), 'otlake.Query', url])
  expect(words.trim()).toBe('hello from Java')
})
