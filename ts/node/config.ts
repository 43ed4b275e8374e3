/**
 * One ladder: what the user wrote (file, environment, flags) -> raw -> normalised. A later rung
 * overrides an earlier one; an error names the key and the fix; Rust receives complete structs.
 *
 * Every setting is one entry of `SETTINGS`. Its name in the file is the path (`log.max_bytes`);
 * in the environment `OTLAKE_LOG_MAX_BYTES`; on the command line `--set log.max_bytes=…`, and a
 * few have flags of their own.
 */

import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import { OtlakeError } from '../base/errors.js'
import { isPattern } from '../jobs/schedule.js'
import {
  type Durability,
  type EngineConfig,
  native,
  type RetentionRule,
  type Signal,
  type Token,
} from '../native/binding.js'

export interface Setting {
  /** What it is, for the documentation. */
  about: string
  schema: z.ZodType
  default: unknown
}

const bytes = z.coerce.number().int().positive()
const count = z.coerce.number().int().positive()
const address = z
  .string()
  .regex(/^(off|(\[[^\]]+\]|[^:]+):\d{1,5})$/, 'is `off` or HOST:PORT')
  // The native servers bind to addresses, not names; this one name needs no look-up.
  .transform((text) => (text === 'off' ? null : text.replace(/^localhost:/, '127.0.0.1:')))
  .refine((text) => text === null || isAddress(text), 'needs an IP address or localhost')
const list = z.union([
  z.array(z.string()),
  z.string().transform((text) => (text === '' ? [] : text.split(',').map((part) => part.trim()))),
])
const tokens = z.array(
  z.strictObject({
    sha256: z.string().regex(/^[0-9a-fA-F]{64}$/, 'is the SHA-256 of a token, 64 hex digits'),
    tenant: z
      .string()
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
        'is 1 to 64 letters, digits, dots, hyphens or underscores, the first a letter or digit',
      ),
  }),
)

const days = z.coerce.number().int().nonnegative().max(36_500)
/** What the environment and the command line give as JSON. */
const tenantRetention = z.preprocess(
  (value) => {
    try {
      return typeof value === 'string' ? JSON.parse(value) : value
    } catch {
      return value
    }
  },
  z.array(
    z.strictObject({
      tenant: z.string().min(1).max(64),
      signal: z.enum(['traces', 'metrics', 'logs']).optional(),
      days,
    }),
  ),
)

function isAddress(text: string): boolean {
  const [, host = '', port] = /^\[?(.*?)\]?:(\d+)$/.exec(text) ?? []
  return isIP(host) !== 0 && Number(port) <= 65_535
}

/** Variables that are the client's, not settings of a node. */
const CLIENT_VARIABLES = ['OTLAKE_CONFIG', 'OTLAKE_URL', 'OTLAKE_TOKEN']

let settings: Record<string, Setting> | undefined

/** Every setting, by its path. The limits' defaults are the native module's. */
export function allSettings(): Record<string, Setting> {
  settings ??= describe(native().limits())
  return settings
}

function describe(limits: Record<string, number>): Record<string, Setting> {
  const limit = (name: string) => {
    const value = limits[name]
    if (value === undefined) throw new OtlakeError('INTERNAL', `the native module has no ${name}`)
    return value
  }
  return {
    data_dir: {
      about: 'Folder of the log and the tables',
      schema: z.string().min(1),
      default: './otlake-data',
    },
    durability: {
      about: '`fsync`, or `relaxed` (docs/durability.md)',
      schema: z.enum(['fsync', 'relaxed']),
      default: 'fsync',
    },
    worker_threads: {
      about: 'Threads of the native module; default: one for each processor',
      schema: count.max(1024),
      default: availableParallelism(),
    },
    grace_ms: {
      about: 'How long a stop waits for what is in flight',
      schema: count,
      default: 10_000,
    },
    log_level: {
      about: '`trace`, `debug`, `info`, `warn`, `error` or `silent`',
      schema: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']),
      default: 'info',
    },
    'listen.otlp_grpc': { about: 'OTLP/gRPC', schema: address, default: '127.0.0.1:4317' },
    'listen.otlp_http': { about: 'OTLP/HTTP', schema: address, default: '127.0.0.1:4318' },
    'listen.http': {
      about: 'HTTP APIs, health, metrics',
      schema: address,
      default: '127.0.0.1:4319',
    },
    'listen.flight': { about: 'Arrow Flight SQL', schema: address, default: '127.0.0.1:4320' },
    'listen.cluster': { about: 'Control calls (gRPC)', schema: address, default: '127.0.0.1:4321' },
    'http.adapter': {
      about: '`auto` (uWebSockets.js where it is installed), `node` or `uws`',
      schema: z.enum(['auto', 'node', 'uws']),
      default: 'auto',
    },
    'http.max_body_bytes': {
      about: 'Body of a request to the HTTP APIs',
      schema: bytes,
      default: 1_048_576,
    },
    'receive.max_request_bytes': {
      about: 'One OTLP request after decompression',
      schema: bytes.max(1024 ** 3),
      default: limit('maxRequestBytes'),
    },
    'receive.max_in_flight_bytes': {
      about: 'All OTLP requests being received',
      schema: bytes,
      default: 2 * limit('maxRequestBytes'),
    },
    'receive.cors_origins': {
      about: 'Origins that browsers may send from; `*` for any',
      schema: list,
      default: [],
    },
    'receive.retry_after_ms': {
      about: 'What a refused client is told to wait',
      schema: count,
      default: 1000,
    },
    'record.max_attributes': {
      about: 'Attributes of one record, event, link, resource or scope (docs/validation.md)',
      schema: count,
      default: limit('recordMaxAttributes'),
    },
    'record.max_attribute_key_bytes': {
      about: "An attribute's key; longer ones are truncated",
      schema: bytes,
      default: limit('recordMaxAttributeKeyBytes'),
    },
    'record.max_attribute_value_bytes': {
      about: "A text or bytes in an attribute's value; longer ones are truncated",
      schema: bytes,
      default: limit('recordMaxAttributeValueBytes'),
    },
    'record.max_value_depth': {
      about: 'Arrays and maps within each other; what lies deeper becomes empty',
      schema: count.max(limit('recordMaxValueDepth')),
      default: limit('recordMaxValueDepth'),
    },
    'record.max_events': {
      about: 'Events of one span; later ones are dropped',
      schema: count,
      default: limit('recordMaxEvents'),
    },
    'record.max_links': {
      about: 'Links of one span; later ones are dropped',
      schema: count,
      default: limit('recordMaxLinks'),
    },
    'auth.tokens': {
      about: 'Bearer tokens that may send and ask, each as `sha256` and `tenant`; empty: anyone',
      schema: tokens,
      default: [],
    },
    'log.segment_bytes': {
      about: 'One segment of the log',
      schema: bytes.min(4096),
      default: limit('logSegmentBytes'),
    },
    'log.max_bytes': {
      about: 'The whole log; at it, requests are refused until tables have been written',
      schema: bytes.min(8192),
      default: limit('logMaxBytes'),
    },
    'live.max_bytes': {
      about: 'Rows in memory and requests being stored; at it, requests are refused',
      schema: bytes,
      default: limit('liveMaxBytes'),
    },
    'dedupe.window_ms': {
      about: 'How long an identical request is taken for a resend and stored once; 0: not at all',
      schema: z.coerce.number().int().nonnegative(),
      default: limit('dedupeWindowMs'),
    },
    'dedupe.requests': {
      about: 'Requests of one signal that are known for that',
      schema: count,
      default: limit('dedupeRequests'),
    },
    'flush.bytes': {
      about: 'Live bytes of a signal that start a flush',
      schema: bytes,
      default: limit('flushBytes'),
    },
    'flush.rows': {
      about: 'Live rows of a signal that start a flush',
      schema: count,
      default: limit('flushRows'),
    },
    'flush.interval_ms': {
      about: 'Age of the oldest live row that starts a flush',
      schema: count,
      default: limit('flushIntervalMs'),
    },
    'flush.row_group_rows': {
      about: 'Rows of a Parquet row group',
      schema: count,
      default: limit('rowGroupRows'),
    },
    'flush.zstd_level': {
      about: 'zstd level of Parquet files',
      schema: z.coerce.number().int().min(1).max(19),
      default: 1,
    },
    'jobs.schedule': {
      about:
        'When the jobs run: a cron pattern of six fields from seconds on, in UTC; `off`: only when asked',
      schema: z
        .string()
        .refine((text) => text === 'off' || isPattern(text), 'is `off` or a cron pattern')
        .transform((text) => (text === 'off' ? null : text)),
      default: '0 */5 * * * *',
    },
    'jobs.bytes_per_second': {
      about: 'Pace of the jobs: what they read and write in a second, at most',
      schema: bytes,
      default: limit('jobBytesPerSecond'),
    },
    'jobs.memory_bytes': {
      about: 'What a merge may hold in memory',
      schema: bytes.min(1024 ** 2),
      default: limit('jobMemoryBytes'),
    },
    'jobs.compact_target_bytes': {
      about: 'Size of a file at which it is not merged any more',
      schema: bytes,
      default: limit('compactTargetBytes'),
    },
    'jobs.compact_run_bytes': {
      about: 'Files that one run of compaction merges, over all tables; the next run goes on',
      schema: bytes,
      default: limit('compactRunBytes'),
    },
    'jobs.vacuum_after_ms': {
      about: 'How long a file stays on disk once its table has it no more; a day at most',
      schema: z.coerce.number().int().nonnegative().max(86_400_000),
      default: limit('vacuumAfterMs'),
    },
    'retention.traces_days': {
      about: 'Days that spans are kept; 0: for ever',
      schema: days,
      default: 0,
    },
    'retention.metrics_days': {
      about: 'Days that metric points are kept; 0: for ever',
      schema: days,
      default: 0,
    },
    'retention.logs_days': {
      about: 'Days that log records are kept; 0: for ever',
      schema: days,
      default: 0,
    },
    'retention.tenants': {
      about: 'What overrides these for a tenant, each as `tenant`, `days` and perhaps `signal`',
      schema: tenantRetention,
      default: [],
    },
    'query.max_rows': {
      about: 'Rows of one answer',
      schema: count,
      default: limit('queryMaxRows'),
    },
    'query.memory_bytes': {
      about: 'Memory of all queries',
      schema: bytes,
      default: limit('queryMemoryBytes'),
    },
    'query.timeout_ms': {
      about: 'Time of one query',
      schema: count,
      default: limit('queryTimeoutMs'),
    },
    'query.concurrency': {
      about: 'Queries at once',
      schema: count,
      default: limit('queryConcurrency'),
    },
    'query.queue': {
      about: 'Queries that wait for others to end; a further one is refused',
      schema: z.coerce.number().int().nonnegative(),
      default: limit('queryQueue'),
    },
    'query.queue_ms': {
      about: 'How long a query waits for others to end before it is refused',
      schema: count,
      default: limit('queryQueueMs'),
    },
    'health.disk_percent': {
      about: 'Disk use at which /health fails',
      schema: count.max(100),
      default: 90,
    },
    'health.memory_percent': {
      about: 'Memory use at which /health fails',
      schema: count.max(100),
      default: 85,
    },
  }
}

/** The normalised configuration of a node. */
export interface NodeConfig {
  dataDir: string
  graceMs: number
  logLevel: string
  listen: {
    otlpGrpc: string | null
    otlpHttp: string | null
    http: string | null
    flight: string | null
    cluster: string | null
  }
  http: { adapter: 'auto' | 'node' | 'uws'; maxBodyBytes: number }
  receive: {
    maxRequestBytes: number
    maxInFlightBytes: number
    corsOrigins: string[]
    retryAfterMs: number
  }
  tokens: Token[]
  health: { diskPercent: number; memoryPercent: number }
  /** The pattern of the regular jobs; null where they run only when asked for. */
  jobSchedule: string | null
  engine: EngineConfig
}

/** What each rung says: paths to raw values. */
export type Raw = Record<string, unknown>

/** Reads the ladder. `flags` and `env` override the file. Throws `CONFIG_INVALID`. */
export function loadConfig(sources: {
  file?: string
  env?: Record<string, string | undefined>
  flags?: Raw
}): NodeConfig {
  const raw: Raw = {
    ...(sources.file === undefined ? {} : readFile(sources.file)),
    ...readEnvironment(sources.env ?? {}),
    ...checkKeys(sources.flags ?? {}, 'the command line'),
  }
  return normalise(raw)
}

function readFile(path: string): Raw {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new OtlakeError('CONFIG_UNREADABLE', `${path} cannot be read`, { cause: error })
  }
  let document: unknown
  try {
    document = parse(text)
  } catch (error) {
    throw new OtlakeError('CONFIG_UNREADABLE', `${path}: ${(error as Error).message}`, {
      cause: error,
    })
  }
  if (document === null || document === undefined) return {}
  if (typeof document !== 'object' || Array.isArray(document)) {
    throw new OtlakeError('CONFIG_INVALID', `${path} is not a mapping of settings`)
  }
  return checkKeys(flatten(document as Record<string, unknown>), path)
}

/** Nested mappings to paths; a path that is a setting is not descended into. */
function flatten(mapping: Record<string, unknown>, prefix = ''): Raw {
  const raw: Raw = {}
  for (const [key, value] of Object.entries(mapping)) {
    const path = prefix + key
    const isGroup = typeof value === 'object' && value !== null && !Array.isArray(value)
    if (isGroup && !(path in allSettings())) {
      Object.assign(raw, flatten(value as Record<string, unknown>, `${path}.`))
    } else {
      raw[path] = value
    }
  }
  return raw
}

/** The variable of a setting: `log.max_bytes` is `OTLAKE_LOG_MAX_BYTES`. */
export function variableOf(path: string): string {
  return `OTLAKE_${path.replaceAll('.', '_').toUpperCase()}`
}

function readEnvironment(env: Record<string, string | undefined>): Raw {
  const raw: Raw = {}
  const known = new Map(Object.keys(allSettings()).map((path) => [variableOf(path), path]))
  for (const [name, value] of Object.entries(env)) {
    const isOurs = name.startsWith('OTLAKE_') && !name.startsWith('OTLAKE_BENCH_')
    if (!isOurs || value === undefined || CLIENT_VARIABLES.includes(name)) continue
    const path = known.get(name)
    if (path === undefined) throw unknownKey(name, 'the environment', [...known.keys()])
    raw[path] = path === 'auth.tokens' ? parseJson(name, value) : value
  }
  return raw
}

function parseJson(name: string, value: string): unknown {
  try {
    return JSON.parse(value)
  } catch (error) {
    throw new OtlakeError('CONFIG_INVALID', `${name} is not JSON`, { cause: error })
  }
}

function checkKeys(raw: Raw, where: string): Raw {
  const known = Object.keys(allSettings())
  for (const path of Object.keys(raw)) {
    if (!known.includes(path)) throw unknownKey(path, where, known)
  }
  return raw
}

function unknownKey(key: string, where: string, known: string[]): OtlakeError {
  const [nearest] = known
    .map((candidate) => ({ candidate, distance: editDistance(key, candidate) }))
    .sort((a, b) => a.distance - b.distance)
  const near = nearest && nearest.distance <= 3 ? `; did you mean \`${nearest.candidate}\`?` : ''
  return new OtlakeError('CONFIG_INVALID', `${where}: there is no setting \`${key}\`${near}`)
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1]
    for (const [j, other] of [...b].entries()) {
      const substituted = (row[j] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(substituted, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

/** One rule for each signal, and those of tenants; the native module takes what says the most. */
function retentionRules(get: <T>(path: string) => T): RetentionRule[] {
  const kept = (days: number) => (days === 0 ? null : days)
  const signals: Signal[] = ['traces', 'metrics', 'logs']
  const ofTenants = get<{ tenant: string; signal?: Signal; days: number }[]>('retention.tenants')
  return [
    ...signals.map((signal) => ({
      tenant: null,
      signal,
      days: kept(get<number>(`retention.${signal}_days`)),
    })),
    ...ofTenants.map(({ tenant, signal = null, days }) => ({ tenant, signal, days: kept(days) })),
  ]
}

function normalise(raw: Raw): NodeConfig {
  const get = <T>(path: string): T => {
    const setting = allSettings()[path]
    if (!setting) throw new OtlakeError('INTERNAL', `there is no setting ${path}`)
    const parsed = setting.schema.safeParse(raw[path] ?? setting.default)
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      const inner = issue?.path.length ? `.${issue.path.join('.')}` : ''
      throw new OtlakeError('CONFIG_INVALID', `\`${path}${inner}\`: ${issue?.message}`)
    }
    return parsed.data as T
  }
  const number = (path: string) => get<number>(path)
  const config: NodeConfig = {
    dataDir: resolve(get<string>('data_dir')),
    graceMs: number('grace_ms'),
    logLevel: get('log_level'),
    listen: {
      otlpGrpc: get('listen.otlp_grpc'),
      otlpHttp: get('listen.otlp_http'),
      http: get('listen.http'),
      flight: get('listen.flight'),
      cluster: get('listen.cluster'),
    },
    http: { adapter: get('http.adapter'), maxBodyBytes: number('http.max_body_bytes') },
    receive: {
      maxRequestBytes: number('receive.max_request_bytes'),
      maxInFlightBytes: number('receive.max_in_flight_bytes'),
      corsOrigins: get('receive.cors_origins'),
      retryAfterMs: number('receive.retry_after_ms'),
    },
    tokens: get('auth.tokens'),
    health: {
      diskPercent: number('health.disk_percent'),
      memoryPercent: number('health.memory_percent'),
    },
    jobSchedule: get('jobs.schedule'),
    engine: {
      dataDir: resolve(get<string>('data_dir')),
      durability: get<Durability>('durability'),
      logSegmentBytes: number('log.segment_bytes'),
      logMaxBytes: number('log.max_bytes'),
      liveMaxBytes: number('live.max_bytes'),
      dedupeWindowMs: number('dedupe.window_ms'),
      dedupeRequests: number('dedupe.requests'),
      flushBytes: number('flush.bytes'),
      flushRows: number('flush.rows'),
      flushIntervalMs: number('flush.interval_ms'),
      rowGroupRows: number('flush.row_group_rows'),
      zstdLevel: number('flush.zstd_level'),
      compactTargetBytes: number('jobs.compact_target_bytes'),
      compactRunBytes: number('jobs.compact_run_bytes'),
      jobMemoryBytes: number('jobs.memory_bytes'),
      jobBytesPerSecond: number('jobs.bytes_per_second'),
      vacuumAfterMs: number('jobs.vacuum_after_ms'),
      retention: retentionRules(get),
      recordMaxAttributes: number('record.max_attributes'),
      recordMaxAttributeKeyBytes: number('record.max_attribute_key_bytes'),
      recordMaxAttributeValueBytes: number('record.max_attribute_value_bytes'),
      recordMaxValueDepth: number('record.max_value_depth'),
      recordMaxEvents: number('record.max_events'),
      recordMaxLinks: number('record.max_links'),
      queryMemoryBytes: number('query.memory_bytes'),
      queryMaxRows: number('query.max_rows'),
      queryTimeoutMs: number('query.timeout_ms'),
      queryConcurrency: number('query.concurrency'),
      queryQueue: number('query.queue'),
      queryQueueMs: number('query.queue_ms'),
      workerThreads: number('worker_threads'),
    },
  }
  if (config.engine.logMaxBytes < 2 * config.engine.logSegmentBytes) {
    throw new OtlakeError(
      'CONFIG_INVALID',
      '`log.max_bytes`: must be at least twice `log.segment_bytes`; raise it, or lower the other',
    )
  }
  return config
}
