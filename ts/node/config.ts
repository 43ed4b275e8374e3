/**
 * One ladder: what the user wrote (file, environment, flags) -> raw -> normalised. A later rung
 * overrides an earlier one; an error names the key and the fix; Rust receives complete structs.
 *
 * Every setting is one entry of the table in `settings.ts`. Its name in the file is the path
 * (`log.max_bytes`); in the environment `OTLAKE_LOG_MAX_BYTES`; on the command line
 * `--set log.max_bytes=…`, and a few have flags of their own.
 */

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parse } from 'yaml'
import { OtlakeError } from '../base/errors.js'
import type { Durability, EngineConfig, RetentionRule, Signal, Token } from '../native/binding.js'
import { type ClusterConfig, clusterConfig } from './cluster-config.js'
import { deriveConfig } from './derive-config.js'
import { processingRules } from './processing-config.js'
import { samplingConfig } from './sampling-config.js'
import { allSettings, nativeLimit, variableOf } from './settings.js'
import { storageConfig } from './storage-config.js'

/** Variables that are the client's, not settings of a node. */
const CLIENT_VARIABLES = ['OTLAKE_CONFIG', 'OTLAKE_URL', 'OTLAKE_TOKEN']
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
  /** Null: a node by itself. */
  cluster: ClusterConfig | null
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
  const cluster = clusterConfig(get)
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
    cluster,
    engine: {
      dataDir: resolve(get<string>('data_dir')),
      ...storageConfig(get, cluster !== null),
      leaveEarlier: cluster !== null,
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
      derive: deriveConfig(get, nativeLimit),
      sampling: samplingConfig(get),
      rules: processingRules(get),
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
      queryDistributeBytes: number('query.distribute_bytes'),
      queryTraceFiltersBytes: number('query.trace_filters_bytes'),
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
