import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { OtlakeError } from '../base/errors.js'
import { native } from '../native/binding.js'
import { loadConfig } from './config.js'
import { allSettings, variableOf } from './settings.js'

const folder = mkdtempSync(join(tmpdir(), 'otlake-config-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const file = (text: string) => {
  const path = join(folder, 'otlake.yaml')
  writeFileSync(path, text)
  return path
}
const refusal = (sources: Parameters<typeof loadConfig>[0]): OtlakeError => {
  try {
    loadConfig(sources)
  } catch (error) {
    return error as OtlakeError
  }
  throw new Error('it was taken')
}

test('with nothing said, limits are the native module’s and everything listens on loopback', () => {
  const config = loadConfig({})
  const limits = native().limits()
  for (const name of ['logMaxBytes', 'liveMaxBytes', 'flushRows', 'queryTimeoutMs'] as const) {
    expect(config.engine[name]).toBe(limits[name])
  }
  expect(config.receive.maxRequestBytes).toBe(limits.maxRequestBytes)
  expect(config.engine.durability).toBe('fsync')
  expect(config.listen).toEqual({
    otlpGrpc: '127.0.0.1:4317',
    otlpHttp: '127.0.0.1:4318',
    http: '127.0.0.1:4319',
    flight: '127.0.0.1:4320',
    cluster: '127.0.0.1:4321',
  })
})

test('a flag overrides a variable, and a variable the file', () => {
  const path = file(
    'flush:\n  rows: 1\n  bytes: 1000\nlog.segment_bytes: 5000\nquery: {max_rows: 9}\n',
  )
  const config = loadConfig({
    file: path,
    env: { OTLAKE_FLUSH_ROWS: '2', OTLAKE_FLUSH_BYTES: '2000', UNRELATED: 'x' },
    flags: { 'flush.rows': '3' },
  })
  const { flushRows, flushBytes, logSegmentBytes, queryMaxRows } = config.engine
  expect([flushRows, flushBytes, logSegmentBytes, queryMaxRows]).toEqual([3, 2000, 5000, 9])
})

test('every setting has a variable of its own, and a default that it would take', () => {
  const paths = Object.keys(allSettings())
  expect(new Set(paths.map(variableOf)).size).toBe(paths.length)
  for (const [path, { schema, default: value, about }] of Object.entries(allSettings())) {
    expect(schema.safeParse(value).success, path).toBe(true)
    expect(about, path).not.toBe('')
  }
})

test('`off` listens nowhere, localhost is loopback, IPv6 stands in brackets', () => {
  const { listen } = loadConfig({
    flags: {
      'listen.flight': 'off',
      'listen.http': 'localhost:8080',
      'listen.otlp_http': '[::1]:4318',
    },
  })
  expect(listen).toMatchObject({ flight: null, http: '127.0.0.1:8080', otlpHttp: '[::1]:4318' })
})

test.each(['4318', ':4318', 'example.org:4318', '127.0.0.1:70000', '127.0.0.1', '300.0.0.1:1', ''])(
  'the address `%s` is refused by its key',
  (address) => {
    const { code, message } = refusal({ flags: { 'listen.http': address } })
    expect(code).toBe('CONFIG_INVALID')
    expect(message).toContain('`listen.http`')
  },
)

test.each([
  ['flush.rows', 'many'],
  ['flush.rows', '0'],
  ['flush.rows', '1.5'],
  ['flush.rows', ''],
  ['flush.zstd_level', '40'],
  ['durability', 'maybe'],
  ['derive.span_metrics', 'perhaps'],
  ['derive.interval_ms', '10'],
  ['derive.latency_bounds', '1,x'],
  ['derive.latency_bounds', [2, 1]],
  ['derive.latency_bounds', [0, 1]],
  ['derive.latency_bounds', []],
  ['derive.dimensions', ['http.route', 'http_route']],
  ['derive.dimensions', 'service'],
  ['derive.dimensions', Array.from({ length: 17 }, (_, at) => `a${at}`)],
  ['sampling.policies', 'errors'],
  ['sampling.policies', [{ status: 'error' }]],
  ['sampling.policies', [{ name: 'a' }]],
  ['sampling.policies', [{ name: 'a', status: 'failed' }]],
  ['sampling.policies', [{ name: 'a', status: [] }]],
  ['sampling.policies', [{ name: 'a', status: 'error', probability: 0.5 }]],
  ['sampling.policies', [{ name: 'a', status: 'error', and: [{ probability: 0.5 }] }]],
  ['sampling.policies', [{ name: 'a', and: [{}] }]],
  ['sampling.policies', [{ name: 'a', and: [] }]],
  ['sampling.policies', [{ name: 'a', latency: 500 }]],
  ['sampling.policies', [{ name: 'a', latency: { at_least_ms: 5, of: 'root' } }]],
  ['sampling.policies', [{ name: 'a', attribute: { key: 'k', values: ['v'], matches: 'v' } }]],
  ['sampling.policies', [{ name: 'a', rate: {} }]],
  ['sampling.policies', [{ name: 'a', rate: { spans_per_second: 1, traces_per_second: 1 } }]],
  ['sampling.policies', [{ name: 'a', rate: { spans_per_second: 0 } }]],
  ['sampling.policies', [{ name: 'a', probability: 0 }]],
  ['sampling.policies', [{ name: 'a', probability: 2 }]],
  ['sampling.policies', [{ name: 'a', probability: 1, colour: 'blue' }]],
  [
    'sampling.policies',
    [
      { name: 'a', probability: 1 },
      { name: 'a', status: 'ok' },
    ],
  ],
  ['sampling.decision_wait_ms', '-1'],
  ['sampling.max_decisions', '0'],
  ['log_level', 'loud'],
  ['data_dir', ''],
  ['auth.tokens', [{ sha256: 'short', tenant: 'a' }]],
  ['auth.tokens', [{ sha256: 'a'.repeat(64) }]],
  ['auth.tokens', [{ sha256: 'a'.repeat(64), tenant: '../b' }]],
  ['auth.tokens', [{ sha256: 'a'.repeat(64), tenant: '.b' }]],
  ['auth.tokens', [{ sha256: 'a'.repeat(64), tenant: 'b'.repeat(65) }]],
])('%s = %j is refused by its key', (path, value) => {
  const { code, message, fix } = refusal({ flags: { [path]: value } })
  expect(code).toBe('CONFIG_INVALID')
  expect(message).toContain(path)
  expect(fix).not.toBe('')
})

test('policies of sampling become what the native module takes, from a file and from the line alike', () => {
  const path = file(`
sampling:
  decision_wait_ms: 5000
  policies:
    - name: bad
      status: [error, unset]
    - name: slow
      latency: { at_least_ms: 2000 }
    - name: some
      and:
        - attribute: { key: http.response.status_code, values: [503, "504"], of: span }
        - attribute: { key: team, matches: "^blue" }
        - rate: { traces_per_second: 5 }
        - probability: 0.25
`)
  const none = {
    ...{ codes: null, of: null, atLeastMs: null, key: null, values: null, matches: null },
    ...{ perSecond: null, probability: null },
  }
  const { sampling } = loadConfig({ file: path }).engine
  expect(sampling).toEqual({
    policies: [
      { name: 'bad', conditions: [{ ...none, kind: 'status', codes: [2, 0] }] },
      { name: 'slow', conditions: [{ ...none, kind: 'latency', of: 'trace', atLeastMs: 2000 }] },
      {
        name: 'some',
        conditions: [
          {
            ...{ ...none, kind: 'attribute', of: 'span', key: 'http.response.status_code' },
            values: ['503', '504'],
          },
          { ...none, kind: 'attribute', of: 'any', key: 'team', matches: '^blue' },
          { ...none, kind: 'rate', of: 'traces', perSecond: 5 },
          { ...none, kind: 'probability', probability: 0.25 },
        ],
      },
    ],
    decisionWaitMs: 5000,
    maxDecisions: 262_144,
  })
  const flags = { 'sampling.policies': '[{"name": "bad", "status": "error"}]' }
  expect(loadConfig({ flags }).engine.sampling.policies).toEqual([
    { name: 'bad', conditions: [{ ...none, kind: 'status', codes: [2] }] },
  ])
  expect(loadConfig({}).engine.sampling.policies).toEqual([])
})

test('a log that cannot hold two segments is refused', () => {
  const flags = { 'log.segment_bytes': '10000', 'log.max_bytes': '15000' }
  expect(refusal({ flags }).message).toContain('`log.max_bytes`')
})

test('an unknown key is an error that says where it stands and what was meant', () => {
  const path = file('flush:\n  intervall_ms: 5\n')
  const inFile = refusal({ file: path })
  expect(inFile.code).toBe('CONFIG_INVALID')
  expect(inFile.message).toContain(path)
  expect(inFile.message).toContain('`flush.intervall_ms`; did you mean `flush.interval_ms`?')
  const inEnvironment = refusal({ env: { OTLAKE_DATA_DIRR: 'x' } })
  expect(inEnvironment.message).toContain('did you mean `OTLAKE_DATA_DIR`?')
  const onLine = refusal({ flags: { 'nothing.like_it_at_all': 1 } })
  expect(onLine.message).not.toContain('did you mean')
})

test('the client’s own variables are no settings', () => {
  const env = { OTLAKE_URL: 'http://x', OTLAKE_TOKEN: 'secret', OTLAKE_CONFIG: 'y' }
  expect(() => loadConfig({ env })).not.toThrow()
})

test('lists and tokens can come from the environment', () => {
  const sha256 = 'ab'.repeat(32)
  const config = loadConfig({
    env: {
      OTLAKE_RECEIVE_CORS_ORIGINS: 'https://a.example, https://b.example',
      OTLAKE_AUTH_TOKENS: JSON.stringify([{ sha256, tenant: 'blue' }]),
    },
  })
  expect(config.receive.corsOrigins).toEqual(['https://a.example', 'https://b.example'])
  expect(config.tokens).toEqual([{ sha256, tenant: 'blue' }])
  expect(refusal({ env: { OTLAKE_AUTH_TOKENS: 'secret' } }).message).not.toContain('secret')
})

test('a file that is absent, broken or no mapping is told apart from a wrong setting', () => {
  expect(refusal({ file: join(folder, 'absent.yaml') }).code).toBe('CONFIG_UNREADABLE')
  expect(refusal({ file: file('a: [1\n') }).code).toBe('CONFIG_UNREADABLE')
  expect(refusal({ file: file('- a\n') }).code).toBe('CONFIG_INVALID')
  expect(() => loadConfig({ file: file('# nothing yet\n') })).not.toThrow()
})

const IN_A_CLUSTER = {
  'cluster.join': '127.0.0.1:4321,127.0.0.2:4321',
  'storage.tables': '/shared/tables',
}
const clusterOf = (flags: Record<string, unknown>) =>
  loadConfig({ flags: { ...IN_A_CLUSTER, ...flags } }).cluster

test('a node that joins nobody and begins no cluster is none of a cluster', () => {
  expect(loadConfig({}).cluster).toBeNull()
  const flags = { 'cluster.zone': 'a', 'cluster.keys': '', 'listen.cluster': '0.0.0.0:4321' }
  expect(loadConfig({ flags }).cluster).toBeNull()
  expect(loadConfig({ flags: { 'storage.tables': 'there' } }).engine.tablesDir).toMatch(/\/there$/)
})

test('a cluster has the replication of the design, and its peers listen beside its port', () => {
  const cluster = clusterOf({ 'listen.cluster': '127.0.0.2:4321' })
  expect(cluster).toMatchObject({
    name: 'otlake',
    node: null,
    join: ['127.0.0.1:4321', '127.0.0.2:4321'],
    bootstrap: false,
    peer: '127.0.0.2:4322',
    advertise: null,
    allowDegraded: false,
    quorum: {
      spans: { copies: 3, acks: 2, timeoutMs: 5000 },
      metrics: { copies: 2, acks: 2, timeoutMs: 3000 },
      logs: { copies: 2, acks: 1, timeoutMs: 1000 },
    },
    warnings: [],
  })
})

test('a tenant has the numbers that its entries give, and those of the signal else', () => {
  const tenants = [
    { tenant: 'billing', acks: 2, timeout_ms: 900 },
    { tenant: 'billing', signal: 'spans', copies: 5, acks: 3 },
    { tenant: 'sandbox', signal: 'metrics', acks: '1' },
  ]
  const of = (tenant: string, signal: string, copies: number, acks: number, timeoutMs: number) => ({
    tenant,
    signal,
    copies,
    acks,
    timeoutMs,
  })
  const expected = [
    of('billing', 'spans', 5, 3, 900),
    of('billing', 'metrics', 2, 2, 900),
    of('billing', 'logs', 2, 2, 900),
    of('sandbox', 'metrics', 2, 1, 3000),
  ]
  expect(clusterOf({ 'cluster.tenants': tenants })?.tenants).toEqual(expected)
  const env = {
    OTLAKE_CLUSTER_TENANTS: JSON.stringify(tenants),
    OTLAKE_CLUSTER_BOOTSTRAP: 'true',
    OTLAKE_STORAGE_TABLES: '/t',
  }
  expect(loadConfig({ env }).cluster?.tenants).toEqual(expected)
  const yaml = `
storage: { tables: /t }
cluster:
  bootstrap: true
  tenants:
    - { tenant: sandbox, signal: metrics, acks: 1 }
`
  expect(loadConfig({ file: file(yaml) }).cluster?.tenants).toEqual(expected.slice(3))
  expect(clusterOf({})?.tenants).toEqual([])
})

test.each([
  [[{ tenant: 'a', signal: 'traces', acks: 1 }], '`cluster.tenants.0.signal`'],
  [[{ tenant: 'a', signal: 'spans' }], '`cluster.tenants.0`: changes nothing'],
  [[{ tenant: 'a', acks: 8 }], '`cluster.tenants.0.acks`'],
  [[{ tenant: 'a', timeout: 8 }], '`cluster.tenants.0`'],
  [[{ tenant: '', acks: 1 }], '`cluster.tenants.0.tenant`'],
  [[{ tenant: 'a', acks: 3 }], 'metrics of tenant `a` have 2 copies and need 3'],
  [[{ tenant: 'a', copies: 1 }], 'spans of tenant `a` have 1 copies and need 2'],
  [
    [
      { tenant: 'a', signal: 'logs', acks: 2 },
      { tenant: 'a', signal: 'logs', copies: 3 },
    ],
    '`cluster.tenants.1`: tenant `a` has another entry of logs',
  ],
  ['{"tenant":"a"}', '`cluster.tenants`'],
  ['not JSON', '`cluster.tenants`'],
])('quorums of tenants %j are refused with what is wrong', (tenants, said) => {
  const { code, message } = refusal({ flags: { ...IN_A_CLUSTER, 'cluster.tenants': tenants } })
  expect(code).toBe('CONFIG_INVALID')
  expect(message).toContain(said)
})

test('tables of a cluster are on its nodes where no place for all is named', () => {
  const join = { 'cluster.join': IN_A_CLUSTER['cluster.join'] }
  for (const flags of [join, { ...join, 'storage.tables': 'cluster' }]) {
    const { engine, cluster } = loadConfig({ flags })
    expect(engine).toMatchObject({ nodesKeepFiles: true, tablesDir: null, store: null })
    expect(cluster?.keepsFiles).toBe(true)
  }
  const shared = loadConfig({ flags: IN_A_CLUSTER })
  expect(shared.engine).toMatchObject({ nodesKeepFiles: false, tablesDir: '/shared/tables' })
  expect(shared.cluster?.keepsFiles).toBe(false)
  expect(loadConfig({}).engine).toMatchObject({ nodesKeepFiles: false, tablesDir: null })
  const alone = refusal({ flags: { 'storage.tables': 'cluster' } })
  expect(alone.message).toContain('`storage.tables`')
})

test('begin a cluster is said by flag, file and variable', () => {
  const tables = { 'storage.tables': '/t' }
  for (const bootstrap of [true, 'true']) {
    const flags = { ...tables, 'cluster.bootstrap': bootstrap }
    expect(loadConfig({ flags }).cluster?.bootstrap).toBe(true)
  }
  const env = { OTLAKE_CLUSTER_BOOTSTRAP: 'false', OTLAKE_STORAGE_TABLES: '/t' }
  expect(loadConfig({ env }).cluster).toBeNull()
})

test('what is told of a node that listens everywhere is what it says', () => {
  const everywhere = { 'listen.cluster': '0.0.0.0:4321' }
  expect(clusterOf({ ...everywhere, 'cluster.advertise': '10.0.0.7' })?.advertise).toEqual({
    host: '10.0.0.7',
    port: null,
  })
  expect(clusterOf({ ...everywhere, 'cluster.advertise': '[fd00::7]:99' })?.advertise).toEqual({
    host: 'fd00::7',
    port: 99,
  })
})

test('open ports without keys are warned of, loopback and sealed ones are not', () => {
  const open = { 'listen.cluster': '10.0.0.7:4321' }
  const keys = Buffer.alloc(32, 7).toString('base64')
  expect(clusterOf(open)?.warnings).toHaveLength(1)
  expect(clusterOf({ ...open, 'cluster.keys': `${keys},${keys}` })).toMatchObject({
    warnings: [],
    keys: [Buffer.alloc(32, 7), Buffer.alloc(32, 7)],
  })
  expect(clusterOf({ 'listen.peer': '10.0.0.7:4322' })?.warnings).toHaveLength(1)
})

test.each([
  ['cluster.join', '10.0.0.1'],
  ['cluster.join', 'a:1,,b:2'],
  ['cluster.join', Array.from({ length: 65 }, (_, index) => `h:${index}`)],
  ['cluster.advertise', 'example.org:4321'],
  ['cluster.advertise', '10.0.0.1:0'],
  ['cluster.keys', 'c2hvcnQ='],
  ['cluster.keys', 'no base64 at all'],
  ['cluster.secret', 'c2hvcnQ='],
  ['cluster.weight', '0'],
  ['cluster.weight', '17'],
  ['cluster.voters', '2'],
  ['cluster.node', 'a b'],
  ['cluster.name', 'x'.repeat(65)],
  ['cluster.bootstrap', 'maybe'],
  ['cluster.acks.metrics', '3'],
  ['cluster.copies.logs', '8'],
  ['cluster.timeout_ms', '1000'],
  ['listen.cluster', 'off'],
  ['listen.peer', 'off'],
])('in a cluster %s = %j is refused by its key', (path, value) => {
  const { code, message } = refusal({ flags: { ...IN_A_CLUSTER, [path]: value } })
  expect(code).toBe('CONFIG_INVALID')
  expect(message).toContain(`\`${path}`)
  if (path === 'cluster.keys') expect(message).not.toContain(String(value))
})

test('listening everywhere without an address for others is refused with the fix', () => {
  const flags = { ...IN_A_CLUSTER, 'listen.cluster': '0.0.0.0:4321' }
  expect(refusal({ flags }).message).toContain('`cluster.advertise`')
})

const IN_A_BUCKET = { 'storage.tables': 's3://lake/tables' }

test('tables in a bucket are what the settings say, and the rest is left to the AWS variables', () => {
  const { engine } = loadConfig({ flags: IN_A_BUCKET })
  expect(engine.tablesDir).toBeNull()
  expect(engine.store).toEqual({
    url: 's3://lake/tables',
    endpoint: null,
    region: null,
    allowHttp: false,
    accessKeyId: null,
    secretAccessKey: null,
  })
  const env = {
    OTLAKE_STORAGE_TABLES: 's3://lake',
    OTLAKE_STORAGE_S3_ENDPOINT: 'http://127.0.0.1:9000',
    OTLAKE_STORAGE_S3_REGION: 'eu-central-1',
    OTLAKE_STORAGE_S3_ALLOW_HTTP: 'true',
    OTLAKE_STORAGE_S3_ACCESS_KEY_ID: 'id',
    OTLAKE_STORAGE_S3_SECRET_ACCESS_KEY: 'secret',
  }
  expect(loadConfig({ env }).engine.store).toEqual({
    url: 's3://lake',
    endpoint: 'http://127.0.0.1:9000',
    region: 'eu-central-1',
    allowHttp: true,
    accessKeyId: 'id',
    secretAccessKey: 'secret',
  })
  expect(clusterOf(IN_A_BUCKET)).not.toBeNull()
})

test.each([
  ['storage.tables', 'gs://lake/tables'],
  ['storage.s3.endpoint', 'minio:9000'],
  ['storage.s3.access_key_id', 'alone'],
  ['storage.s3.secret_access_key', 'alone'],
  ['storage.s3.allow_http', 'maybe'],
])('of a bucket %s = %j is refused by a key, without its secret', (path, value) => {
  const { code, message } = refusal({ flags: { ...IN_A_BUCKET, [path]: value } })
  expect(code).toBe('CONFIG_INVALID')
  expect(message).toMatch(/`storage\./)
  if (value === 'alone') expect(message).not.toContain(value)
})

test('an endpoint without TLS has to be allowed', () => {
  const flags = { ...IN_A_BUCKET, 'storage.s3.endpoint': 'http://10.0.0.1:9000' }
  expect(refusal({ flags }).message).toContain('`storage.s3.allow_http`')
})
