/**
 * A node: the table of what its roles start, over one lifecycle.
 *
 * | role | starts | needs |
 * |---|---|---|
 * | storage, processor | the engine | |
 * | gateway | OTLP/gRPC, OTLP/HTTP | the engine |
 * | query | HTTP APIs (of Tempo and Jaeger, also gRPC on their port), Flight SQL | the engine |
 * | storage | regular jobs | the engine, control calls |
 * | all | control calls, health, the last hour's figures | the engine |
 *
 * In a cluster (`cluster/part.ts`) gossip and the control calls share a port, and the OTLP servers
 * start when the node has joined, or has waited for it.
 */

import { Counter, collectDefaultMetrics, Registry } from 'prom-client'
import { type Clock, systemClock } from '../base/clock.js'
import { OtlakeError } from '../base/errors.js'
import { listenNode } from '../base/http/node.js'
import { HTTP_LIMITS, type HttpServer, type Listen } from '../base/http/port.js'
import { loadUws } from '../base/http/uws.js'
import { JobsPart } from '../jobs/jobs.js'
import { type Engine, type LogEvent, openEngine, packageVersion } from '../native/binding.js'
import { asked } from '../query/access.js'
import { type Route, router, sendJson } from '../query/answers.js'
import { queryRoutes } from '../query/api.js'
import { QueryGrpc } from '../query/grpc.js'
import { jaegerCalls } from '../query/jaeger/calls.js'
import { jaegerRoutes } from '../query/jaeger/routes.js'
import { type Addresses, pageRoutes } from '../query/page.js'
import { tempoRoutes } from '../query/tempo/routes.js'
import { tempoCalls } from '../query/tempo/streaming.js'
import { FlightPart, OtlpPart } from '../receive/servers.js'
import { clusterCalls } from './cluster/calls.js'
import { ClusterMetrics } from './cluster/metrics.js'
import { ClusterPart, type ClusterPartOptions } from './cluster/part.js'
import { PortPart } from './cluster/port.js'
import { clusterStatus } from './cluster/status.js'
import type { NodeConfig } from './config.js'
import { ControlPart } from './control.js'
import { diskCheck, Health, httpCheck, memoryCheck, tcpCheck } from './health.js'
import { History } from './history/history.js'
import { Lifecycle, type Part, type State } from './lifecycle.js'

/** The roles of this release: a single node has them all. */
export const ROLES = ['gateway', 'processor', 'storage', 'query'] as const

const OPENMETRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

export interface Logger {
  error(fields: object, message: string): void
  warn(fields: object, message: string): void
  info(fields: object, message: string): void
  debug(fields: object, message: string): void
}

/**
 * Why a node is to be stopped: it was told to leave its cluster, and has drained; or others have taken
 * its stream over, and it has to start anew.
 */
export type End = 'left' | 'fenced'

/** What a test gives in place of the native module. */
export interface NativeSide {
  openEngine?: typeof openEngine
  startCluster?: ClusterPartOptions['startNative']
}

/** The storage engine as a part. */
class StoragePart implements Part {
  readonly name = 'storage'
  readonly needs = []
  #engine: Engine | undefined

  constructor(
    private readonly config: NodeConfig,
    private readonly onLog: (event: LogEvent) => void,
    private readonly open: typeof openEngine,
  ) {}

  get engine(): Engine {
    if (!this.#engine) throw new OtlakeError('NODE_STATE', 'the store is not open')
    return this.#engine
  }

  async start(): Promise<void> {
    this.#engine = await this.open(this.config.engine, this.onLog)
  }

  async stop(): Promise<void> {
    const engine = this.#engine
    this.#engine = undefined
    await engine?.close()
  }
}

/** The HTTP server as a part. */
class HttpPart implements Part {
  readonly name = 'http'
  readonly needs = ['storage']
  readonly #stopping = new AbortController()
  #server: HttpServer | undefined

  constructor(
    private readonly config: NodeConfig,
    private readonly routes: () => Route[],
    private readonly observe: (path: string, status: number) => void,
    private readonly grpc: QueryGrpc,
  ) {}

  get address(): string | null {
    return this.#server?.address ?? null
  }

  async start(): Promise<void> {
    if (this.config.listen.http === null) return
    const listen = await adapter(this.config.http.adapter)
    const handler = router(this.routes(), this.observe)
    this.grpc.start()
    this.#server = await listen(this.config.listen.http, handler, HTTP_LIMITS, (socket) =>
      this.grpc.inject(socket),
    )
  }

  /** Aborted when the server begins to stop. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    const { graceMs } = this.config
    await Promise.all([this.grpc.stop(graceMs), this.#server?.close(graceMs)])
  }
}

async function adapter(wanted: 'auto' | 'node' | 'uws'): Promise<Listen> {
  if (wanted === 'node') return listenNode
  const uws = await loadUws()
  if (uws) return uws
  if (wanted === 'auto') return listenNode
  throw new OtlakeError(
    'CONFIG_INVALID',
    '`http.adapter`: uWebSockets.js is not installed; use `auto`',
  )
}

export class Node {
  readonly #storage: StoragePart
  readonly #http: HttpPart
  readonly #otlp: OtlpPart
  readonly #flight: FlightPart
  readonly #control: ControlPart
  readonly #jobs: JobsPart
  readonly #health: Health
  readonly #history: History
  /** Null: not in a cluster. */
  readonly #cluster: ClusterPart | null
  readonly #clusterMetrics: ClusterMetrics | null
  readonly #lifecycle: Lifecycle
  readonly #registry = new Registry()
  #end: (why: End) => void = () => undefined

  /** Resolves when the node is to be stopped: by nobody's signal, but for what happened to it. */
  readonly ended = new Promise<End>((resolve) => {
    this.#end = resolve
  })

  constructor(
    readonly config: NodeConfig,
    private readonly log: Logger,
    private readonly clock: Clock = systemClock,
    native: NativeSide = {},
  ) {
    const engine = () => this.#storage.engine
    this.#storage = new StoragePart(
      config,
      ({ level, target, message }) => log[level]({ target }, message),
      native.openEngine ?? openEngine,
    )
    this.#otlp = new OtlpPart(engine, config)
    this.#flight = new FlightPart(engine, config)
    const { cluster } = config
    const port = cluster && new PortPart(cluster, (socket) => this.#control.inject(socket))
    this.#cluster =
      cluster &&
      port &&
      new ClusterPart({
        config: cluster,
        dataDir: config.dataDir,
        graceMs: config.graceMs,
        roles: ROLES,
        engine,
        port,
        checks: () => this.#health.states(),
        log,
        onFenced: () => this.#end('fenced'),
        clock,
        ...(native.startCluster ? { startNative: native.startCluster } : {}),
      })
    this.#health = new Health(
      [
        httpCheck(() => this.#http.address),
        tcpCheck('otlp-grpc', () => this.#otlp.grpc),
        tcpCheck('otlp-http', () => this.#otlp.http),
        tcpCheck('flight', () => this.#flight.address),
        diskCheck(config.dataDir, config.health.diskPercent),
        memoryCheck(config.health.memoryPercent),
        ...(this.#cluster ? [this.#cluster.check] : []),
      ],
      clock,
    )
    this.#history = new History(clock, () => engine().metrics())
    this.#registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never)
    collectDefaultMetrics({ register: this.#registry })
    this.#clusterMetrics = this.#cluster && new ClusterMetrics(this.#cluster, this.#registry)
    const requests = new Counter({
      name: 'otlake_http_requests',
      help: 'Requests to the HTTP APIs, by route and status',
      labelNames: ['route', 'status'],
      registers: [this.#registry],
    })
    this.#http = new HttpPart(
      config,
      () => this.#routes(),
      (route, status) => requests.inc({ route, status }),
      new QueryGrpc([...tempoCalls(engine, clock), ...jaegerCalls(engine, clock)], {
        tokens: config.tokens,
        clock,
        isReady: () => this.#cluster?.hasJoined !== false,
      }),
    )
    this.#control = new ControlPart({
      listen: cluster ? null : config.listen.cluster,
      ...(port ? { port: () => port.address } : {}),
      engine,
      health: this.#health,
      state: () => this.state,
      roles: ROLES,
      tokens: config.tokens,
      jobs: () => this.#jobs,
      ...(cluster
        ? {
            calls: clusterCalls({
              part: () => this.#cluster as ClusterPart,
              cluster: cluster.name,
              dataDir: config.engine.dataDir,
              clock,
              leave: () => this.#end('left'),
            }),
          }
        : {}),
    })
    this.#jobs = new JobsPart(engine, config.jobSchedule, clock, log, (round) =>
      this.#cluster ? this.#cluster.alone('jobs', round) : round(),
    )
    this.#lifecycle = new Lifecycle([
      this.#storage,
      this.#history,
      ...(port ? [port] : []),
      this.#http,
      ...(this.#cluster ? [this.#cluster] : []),
      this.#flight,
      this.#control,
      this.#jobs,
      this.#otlp,
      {
        name: 'health',
        needs: ['http', 'otlp', 'flight'],
        start: async () => this.#health.start(),
        stop: async () => this.#health.stop(),
      },
    ])
  }

  get state(): State {
    return this.#lifecycle.state
  }

  /** The open engine. Throws `NODE_STATE` before the start and after the stop. */
  get engine(): Engine {
    return this.#storage.engine
  }

  /** The node's place in its cluster; null: in none. */
  get cluster(): ClusterPart | null {
    return this.#cluster
  }

  /** Where each server listens; null where it does not. */
  get addresses(): Addresses {
    return {
      otlpGrpc: this.#otlp.grpc,
      otlpHttp: this.#otlp.http,
      http: this.#http.address,
      flight: this.#flight.address,
      cluster: this.#control.address,
    }
  }

  async start(): Promise<void> {
    await this.#lifecycle.start()
    this.#cluster?.tell(this.addresses)
  }

  /**
   * Stops taking, finishes what is in flight, flushes, closes. In a cluster it first gives away what
   * it has; while it does it goes on answering.
   */
  async stop(): Promise<void> {
    // What was taken over is no more this node's to give.
    if (this.state === 'running' && this.#cluster?.isFenced !== true) {
      await this.#cluster?.drain().catch((thrown) => {
        const { code, message } = OtlakeError.from(thrown)
        this.log.warn({ code }, `not drained: ${message}; what is left is recovered by others`)
      })
    }
    await this.#lifecycle.stop()
  }

  /**
   * A node of a cluster is there before it knows the others. Until then it answers no query: it would
   * tell its own rows for all there are.
   */
  #amongOthers(route: Route): Route {
    return {
      ...route,
      answer: async (...given) => {
        if (this.#cluster?.hasJoined === false) {
          const message = 'the node has not joined the others yet: ask another, or again'
          throw new OtlakeError('QUERY_INCOMPLETE', message)
        }
        await route.answer(...given)
      },
    }
  }

  #routes(): Route[] {
    const { tokens, http } = this.config
    return [
      ...pageRoutes({
        addresses: () => this.addresses,
        version: packageVersion(),
        cluster: this.config.cluster?.name ?? null,
        tokens,
        history: (after) => this.#history.after(after),
      }),
      ...queryRoutes(this.engine, {
        tokens,
        maxBodyBytes: http.maxBodyBytes,
        stopping: this.#http.stopping,
      }).map((route) => this.#amongOthers(route)),
      ...tempoRoutes(this.engine, {
        tokens,
        clock: this.clock,
        version: packageVersion(),
        isReady: () => this.state === 'running' && (this.#cluster?.isReady ?? true),
      }).map((route) => this.#amongOthers(route)),
      ...jaegerRoutes(this.engine, { tokens, clock: this.clock }).map((route) =>
        this.#amongOthers(route),
      ),
      {
        method: 'GET',
        path: '/health',
        answer: async (_request, response) => {
          const checks = this.#health.states()
          const status = this.#health.healthy ? 'ok' : 'failing'
          sendJson(response, this.#health.healthy ? 200 : 503, {
            status,
            state: this.state,
            checks,
          })
        },
      },
      {
        method: 'GET',
        path: '/ready',
        answer: async (_request, response) => {
          const cluster = this.#cluster
          const ready = this.state === 'running' && (cluster?.isReady ?? true)
          sendJson(response, ready ? 200 : 503, {
            ready,
            state: this.state,
            ...(cluster ? { cluster: cluster.state, problems: cluster.problems } : {}),
          })
        },
      },
      {
        method: 'GET',
        path: '/api/v1/cluster',
        answer: async (request, response) => {
          asked(request, tokens)
          if (this.#cluster === null) {
            const message = 'this node is in no cluster: start it with --join'
            throw new OtlakeError('NODE_STATE', message)
          }
          const name = this.config.cluster?.name ?? ''
          sendJson(response, 200, clusterStatus(this.#cluster, name))
        },
      },
      {
        method: 'GET',
        path: '/metrics',
        answer: async (_request, response) => {
          this.#clusterMetrics?.update()
          // Two registries, one exposition: only its end may say that it ends.
          const own = (await this.#registry.metrics()).replace(/# EOF\n?$/, '')
          response.head(200, { 'content-type': OPENMETRICS })
          response.end(own + this.engine.metrics())
        },
      },
    ]
  }
}
