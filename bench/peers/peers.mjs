/**
 * The peers that are compared: how each is found, built and started, and what it is to be told.
 * Each is as it comes but for where it listens and stores; none syncs before it acknowledges.
 */

import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

export const CACHE = process.env.OTLAKE_PEERS_CACHE ?? join(homedir(), '.cache/otlake/peers')

/**
 * `variable` names the program; `build` is the Go module that installs it, with its main package,
 * or `notBuilt` says why none does. `start` gives the program's arguments for a folder and a free
 * port, and may write its configuration there; `transport` and `path` are what the load client needs.
 */
export const PEERS = {
  'OpenTelemetry Collector': {
    variable: 'OTLAKE_BENCH_OTELCOL',
    build: { module: 'clients/collector', main: '.' },
    transport: 'grpc',
    start: (folder, port) => ['--config', write(folder, 'collector.yaml', collector(port))],
  },
  Jaeger: {
    variable: 'OTLAKE_BENCH_JAEGER',
    build: { module: 'bench/peers/jaeger', main: 'github.com/jaegertracing/jaeger/cmd/jaeger' },
    transport: 'grpc',
    stores: true,
    start: (folder, port) => ['--config', write(folder, 'jaeger.yaml', jaeger(folder, port))],
  },
  VictoriaTraces: {
    variable: 'OTLAKE_BENCH_VICTORIATRACES',
    notBuilt: 'the Go module registry does not serve it',
    transport: 'http',
    path: '/insert/opentelemetry',
    stores: true,
    start: (folder, port) => [
      `-httpListenAddr=127.0.0.1:${port}`,
      `-storageDataPath=${join(folder, 'data')}`,
    ],
  },
  'Grafana Tempo': {
    variable: 'OTLAKE_BENCH_TEMPO',
    notBuilt: 'its licence, the AGPL, keeps it out of what is installed here',
    transport: 'grpc',
    stores: true,
    start: (folder, port, other) => [
      `-config.file=${write(folder, 'tempo.yaml', tempo(folder, port, other))}`,
    ],
  },
}

/** Where a peer's program is: where its variable says, else where it was built; null where nowhere. */
export function programOf(name) {
  const { variable } = PEERS[name]
  const named = process.env[variable]
  if (named) {
    if (!existsSync(named)) throw new Error(`${variable} names ${named}, where nothing is`)
    return named
  }
  return existsSync(builtAt(name)) ? builtAt(name) : null
}

export const builtAt = (name) => join(CACHE, name.toLowerCase().replaceAll(' ', '-'))

function write(folder, name, text) {
  mkdirSync(folder, { recursive: true })
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

/** Takes everything and keeps nothing: what receiving and decoding cost in Go. */
const collector = (port) => `receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:${port}
processors:
  batch:
exporters:
  nop:
service:
  pipelines:
    traces:
      receivers: [otlp]
      processors: [batch]
      exporters: [nop]
  telemetry:
    metrics:
      level: none
`

const jaeger = (folder, port) => `receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 127.0.0.1:${port}
processors:
  batch:
exporters:
  jaeger_storage_exporter:
    trace_storage: disk
extensions:
  jaeger_storage:
    backends:
      disk:
        badger:
          directories:
            keys: ${join(folder, 'data/keys')}
            values: ${join(folder, 'data/values')}
          ephemeral: false
service:
  extensions: [jaeger_storage]
  pipelines:
    traces:
      receivers: [otlp]
      processors: [batch]
      exporters: [jaeger_storage_exporter]
  telemetry:
    metrics:
      level: none
`

/** With limits that refuse nothing: what is compared is what it can take. */
const tempo = (folder, port, [http, grpc]) => `server:
  http_listen_address: 127.0.0.1
  http_listen_port: ${http}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: ${grpc}
distributor:
  receivers:
    otlp:
      protocols:
        grpc:
          endpoint: 127.0.0.1:${port}
storage:
  trace:
    backend: local
    wal:
      path: ${join(folder, 'data/wal')}
    local:
      path: ${join(folder, 'data/blocks')}
overrides:
  defaults:
    ingestion:
      rate_limit_bytes: 1000000000
      burst_size_bytes: 1000000000
      max_traces_per_user: 0
    global:
      max_bytes_per_trace: 0
`
