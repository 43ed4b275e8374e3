/** What a cluster's node tells Prometheus of the cluster as it sees it. */

import { Counter, Gauge, type Metric, type Registry } from 'prom-client'
import { SIGNALS } from '../../cluster/ring.js'
import type { ClusterPart } from './part.js'

const STATUSES = ['alive', 'suspect', 'dead', 'left'] as const
/** A signal's name in metrics, as everywhere outside of the ring. */
const NAMES = { spans: 'traces', metrics: 'metrics', logs: 'logs' } as const

/**
 * A counter that follows a count which is kept elsewhere. What that takes back stays counted: a death
 * that turned out to be a partition had been told as one.
 */
class Follower {
  #known = 0

  constructor(private readonly add: (amount: number) => void) {}

  set(count: number): void {
    if (count > this.#known) this.add(count - this.#known)
    this.#known = count
  }
}

export class ClusterMetrics {
  readonly #part: ClusterPart
  readonly #followers = new Map<string, Follower>()
  readonly #members = new Gauge({
    name: 'otlake_cluster_members',
    help: 'Members of the cluster that the node knows, by their status',
    labelNames: ['status'],
    registers: [],
  })
  readonly #suspicions = new Counter({
    name: 'otlake_cluster_suspicions',
    help: 'Times that the node heard a member suspected',
    registers: [],
  })
  readonly #faults = new Counter({
    name: 'otlake_cluster_faults',
    help: 'Faults of members that have begun, by their kind',
    labelNames: ['kind'],
    registers: [],
  })
  readonly #open = new Gauge({
    name: 'otlake_cluster_open_faults',
    help: 'Faults of members that are not over, by their kind',
    labelNames: ['kind'],
    registers: [],
  })
  readonly #localHealth = new Gauge({
    name: 'otlake_cluster_local_health',
    help: 'How far the node doubts itself, 0 (well) to 8',
    registers: [],
  })
  readonly #bytes = new Counter({
    name: 'otlake_cluster_gossip_bytes',
    help: 'Gossip in datagrams and streams',
    labelNames: ['direction'],
    registers: [],
  })
  readonly #packets = new Counter({
    name: 'otlake_cluster_gossip_packets',
    help: 'Datagrams of gossip',
    labelNames: ['direction'],
    registers: [],
  })
  readonly #refused = new Counter({
    name: 'otlake_cluster_gossip_refused',
    help: 'Gossip that came and was not taken, by why',
    labelNames: ['reason'],
    registers: [],
  })
  readonly #probes = new Counter({
    name: 'otlake_cluster_probes',
    help: 'Members that were asked whether they are there, by how it ended',
    labelNames: ['outcome'],
    registers: [],
  })
  readonly #owned = new Gauge({
    name: 'otlake_cluster_shards_owned',
    help: 'Shards that the node owns',
    registers: [],
  })
  readonly #left = new Gauge({
    name: 'otlake_cluster_shards_to_move',
    help: 'Shards that still have to change their owner',
    registers: [],
  })
  readonly #moves = new Counter({
    name: 'otlake_cluster_shard_moves',
    help: 'Shards that changed their owner, as the node saw it',
    registers: [],
  })
  readonly #recoveries = new Counter({
    name: 'otlake_cluster_recoveries',
    help: 'Recoveries of streams that the node ran, by how they ended',
    labelNames: ['outcome'],
    registers: [],
  })
  readonly #recovered = new Counter({
    name: 'otlake_cluster_recovered_records',
    help: 'Records of the log that recoveries of the node made readable',
    registers: [],
  })
  readonly #streams = new Gauge({
    name: 'otlake_cluster_open_streams',
    help: 'Streams whose records are not all in files, of all nodes',
    registers: [],
  })
  readonly #lag = new Gauge({
    name: 'otlake_cluster_follower_lag_bytes',
    help: 'How far the follower that is furthest behind is behind the node',
    labelNames: ['signal'],
    registers: [],
  })
  readonly #degraded = new Gauge({
    name: 'otlake_cluster_degraded',
    help: '1 while fewer copies than asked for are being acknowledged',
    registers: [],
  })
  readonly #ready = new Gauge({
    name: 'otlake_cluster_ready',
    help: '1 while the node takes requests as one of the cluster',
    registers: [],
  })
  readonly #leader = new Gauge({
    name: 'otlake_cluster_has_leader',
    help: '1 while the node knows a leader of the metadata group',
    registers: [],
  })
  readonly #problems = new Gauge({
    name: 'otlake_cluster_problems',
    help: 'What is not as it should be, as /ready has it in words',
    registers: [],
  })
  readonly #failedRounds = new Counter({
    name: 'otlake_cluster_failed_rounds',
    help: 'Times that the native side could not be told where everything belongs',
    registers: [],
  })

  constructor(part: ClusterPart, registry: Registry) {
    this.#part = part
    const metrics: Metric[] = [
      this.#members,
      this.#suspicions,
      this.#faults,
      this.#open,
      this.#localHealth,
      this.#bytes,
      this.#packets,
      this.#refused,
      this.#probes,
      this.#owned,
      this.#left,
      this.#moves,
      this.#recoveries,
      this.#recovered,
      this.#streams,
      this.#lag,
      this.#degraded,
      this.#ready,
      this.#leader,
      this.#problems,
      this.#failedRounds,
    ]
    for (const metric of metrics) registry.registerMetric(metric)
  }

  /** Takes what is now, before the registry is read. */
  update(): void {
    const part = this.#part
    this.#ready.set(part.isReady ? 1 : 0)
    this.#problems.set(part.problems.length)
    if (!part.hasJoined) return
    this.#gossip()
    const { counts } = part.reconciler
    this.#follow('moves', counts.moves, this.#moves)
    for (const [outcome, count] of Object.entries(counts.recoveries)) {
      this.#follow(`recoveries ${outcome}`, count, this.#recoveries, { outcome })
    }
    this.#follow('recovered', counts.recoveredRecords, this.#recovered)
    this.#follow('failed rounds', counts.failedRounds, this.#failedRounds)
    const { round } = part
    if (round === null) return
    const { decision, metadata, replication } = round
    this.#owned.set(decision.owned)
    this.#left.set(decision.left)
    this.#streams.set(metadata.streams.filter(({ state }) => state !== 'sealed').length)
    this.#leader.set(metadata.leader === '' ? 0 : 1)
    this.#degraded.set(replication.degraded ? 1 : 0)
    for (const signal of SIGNALS) {
      const lags = replication.followers
        .filter((follower) => follower.signal === signal || follower.signal === NAMES[signal])
        .map(({ lagBytes }) => lagBytes)
      this.#lag.set({ signal: NAMES[signal] }, Math.max(0, ...lags))
    }
  }

  #gossip(): void {
    const { membership, suspicions } = this.#part
    const { counts, faults, probes, localHealth } = membership
    const statuses = membership.members().map(({ status }) => status)
    for (const status of STATUSES) {
      this.#members.set({ status }, statuses.filter((each) => each === status).length)
    }
    this.#follow('suspicions', suspicions, this.#suspicions)
    for (const [kind, count] of Object.entries(faults.counts)) {
      this.#follow(`faults ${kind}`, count, this.#faults, { kind })
      this.#open.set({ kind }, faults.open.filter((fault) => fault.kind === kind).length)
    }
    this.#localHealth.set(localHealth)
    const directions = { sent: counts.bytesSent, received: counts.bytesReceived }
    for (const [direction, bytes] of Object.entries(directions)) {
      this.#follow(`bytes ${direction}`, bytes, this.#bytes, { direction })
    }
    const packets = { sent: counts.packetsSent, received: counts.packetsReceived }
    for (const [direction, count] of Object.entries(packets)) {
      this.#follow(`packets ${direction}`, count, this.#packets, { direction })
    }
    for (const [reason, count] of Object.entries(counts.refused)) {
      this.#follow(`refused ${reason}`, count, this.#refused, { reason })
    }
    const outcomes = { answered: probes.started - probes.failed, failed: probes.failed }
    for (const [outcome, count] of Object.entries(outcomes)) {
      this.#follow(`probes ${outcome}`, count, this.#probes, { outcome })
    }
  }

  #follow(key: string, count: number, counter: Counter, labels: Record<string, string> = {}): void {
    const known = this.#followers.get(key) ?? new Follower((by) => counter.inc(labels, by))
    this.#followers.set(key, known)
    known.set(count)
  }
}
