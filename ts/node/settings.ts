/**
 * Every setting of a node, by its path, with its schema and default. `config.ts` reads them;
 * those of a cluster are in `cluster-config.ts`.
 */

import { availableParallelism } from 'node:os'
import { z } from 'zod'
import { OtlakeError } from '../base/errors.js'
import { isPattern } from '../jobs/schedule.js'
import { native } from '../native/binding.js'
import { CLUSTER_SETTINGS } from './cluster-config.js'
import { deriveSettings } from './derive-config.js'
import { PROCESSING_SETTINGS } from './processing-config.js'
import { samplingSettings } from './sampling-config.js'
import {
  address,
  bytes,
  count,
  days,
  list,
  type Setting,
  tenantRetention,
  tokens,
} from './setting-schemas.js'
import { STORAGE_SETTINGS } from './storage-config.js'

let settings: Record<string, Setting> | undefined

/** Every setting, by its path. The limits' defaults are the native module's. */
export function allSettings(): Record<string, Setting> {
  settings ??= describe(nativeLimit)
  return settings
}

/** A limit of the native module. */
export function nativeLimit(name: string): number {
  const value = native().limits()[name]
  if (value === undefined) throw new OtlakeError('INTERNAL', `the native module has no ${name}`)
  return value
}

function describe(limit: (name: string) => number): Record<string, Setting> {
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
    'listen.cluster': {
      about: 'Control calls (gRPC), and the gossip of a cluster (TCP and UDP)',
      schema: address,
      default: '127.0.0.1:4321',
    },
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
    ...PROCESSING_SETTINGS,
    ...deriveSettings(limit),
    ...samplingSettings(limit),
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
      about: 'Files that one run of compaction merges, over all tables; another run goes on',
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
    'query.distribute_bytes': {
      about:
        'In a cluster: bytes of files to scan from which on a query is shared among nodes; 0: every query that scans files',
      schema: z.coerce.number().int().nonnegative(),
      default: limit('queryDistributeBytes'),
    },
    'query.trace_filters_bytes': {
      about:
        'Filters of trace ids that are kept in memory; with fewer than a quarter of a byte for a stored span, lookups ask the disk',
      schema: bytes,
      default: limit('queryTraceFiltersBytes'),
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
    ...STORAGE_SETTINGS,
    ...CLUSTER_SETTINGS,
  }
}

/** The variable of a setting: `log.max_bytes` is `OTLAKE_LOG_MAX_BYTES`. */
export function variableOf(path: string): string {
  return `OTLAKE_${path.replaceAll('.', '_').toUpperCase()}`
}
