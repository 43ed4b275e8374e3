/**
 * The native side of a cluster's node, as TypeScript sees it: replication, the metadata group and
 * the peers' connections. TypeScript tells it where everything belongs (`place`) and when to recover
 * or to drain; it does the work.
 */

/** How one signal is replicated. */
export interface SignalQuorum {
  /** Copies, the owner's included. */
  copies: number
  /** Copies that are on stable storage before a success is sent. */
  acks: number
  /** How long they are waited for. */
  timeoutMs: number
}

export type ClusterQuorum = Record<'spans' | 'metrics' | 'logs', SignalQuorum>

/** How one signal of a tenant is replicated, where that is not as for others. */
export interface TenantQuorum extends SignalQuorum {
  tenant: string
  signal: 'spans' | 'metrics' | 'logs'
}

export interface NativeClusterConfig {
  /** This node's name, the same over restarts. */
  name: string
  cluster: string
  /** Where the peers' connections listen. */
  listen: string
  /** 32 bytes that the peers prove to each other; null: they do not. */
  secret: Buffer | null
  quorum: ClusterQuorum
  /** One for each tenant and signal. */
  tenants: TenantQuorum[]
  allowDegraded: boolean
}

/** Where everything belongs, as this node sees it. */
export interface ClusterView {
  /**
   * The node itself included; `address` is that of the peers' connections, `queries` whether it takes
   * tasks of queries.
   */
  members: { name: string; address: string; alive: boolean; queries: boolean }[]
  /** The owner's name by the number of the shard. */
  owners: { spans: string[]; metrics: string[]; logs: string[] }
  /** Who holds copies of this node's own stream. */
  followers: { spans: string[]; metrics: string[]; logs: string[] }
  /** Who should vote in the metadata group: 1, 3 or 5 names. */
  voters: string[]
  rules: { attribute: string; value: string; nodes: string[] }[]
  /**
   * Where the nodes keep the tables' files: by the hash of a file's name, who should have it. Empty
   * where they are in one place for all.
   */
  files: string[][]
}

export interface RecoveryReport {
  stream: string
  /** Whether everything that was acknowledged is readable. */
  complete: boolean
  records: number
  /** Who holds copies and did not answer. */
  missingFrom: string[]
}

/** A table's log, whole on this node's disk. */
export interface HeldLog {
  table: string
  names: string[]
}

/** A data file that was fetched for a backup; whoever took it removes it. */
export interface LentFile {
  path: string
  /** What it is checked by. */
  sums: string
}

export interface FoundCopies {
  /** Of each file that was asked about: how many nodes should have it, and which have a sound copy. */
  files: { wanted: number; nodes: string[] }[]
  /** Members that could not be asked. */
  silent: string[]
}

export interface NativeCluster {
  /** Of the peers' listener. */
  readonly address: string
  /** Takes over where everything belongs; the same again changes nothing. */
  place(view: ClusterView): void
  /**
   * Has `onLost` told the name of each node with which a connection breaks, as when its process ends;
   * once.
   */
  watch(onLost: (name: string) => void): void
  /** Makes the metadata group, of this node alone: once in a cluster's life. */
  bootstrap(): Promise<void>
  /** Resolves when the node's stream is registered: acknowledgements may begin. */
  ready(): Promise<void>
  /** JSON of `Metadata`. */
  metadata(): string
  /** Resolves when `metadata` tells all that was answered by any node before. */
  catchUp(): Promise<void>
  /** Sets a key of the cluster's configuration, a value of JSON, on all nodes. */
  configure(key: string, value: string): Promise<void>
  /** Makes the records of another start, or of a dead node, readable and durable. */
  recover(stream: string): Promise<RecoveryReport>
  /** Flushes and seals the own stream; afterwards the node may go. */
  drain(): Promise<void>
  /** A lock over the cluster; its fencing token. */
  lock(name: string, ttlMs: number): Promise<bigint>
  unlock(name: string, token: bigint): Promise<void>
  /**
   * Has this node's disk hold the tables' logs as of now, of one table or all. This and the next two are
   * for a cluster whose nodes keep the tables' files: elsewhere they reject with `NODE_STATE`.
   */
  holdLogs(table: string | null): Promise<HeldLog[]>
  /** Fetches a data file; null where this node has a sound copy, by its path below the tables' folder. */
  lend(key: string): Promise<LentFile | null>
  findCopies(keys: string[]): Promise<FoundCopies>
  /** JSON of `ReplicationStatus`. */
  status(): string
  close(): Promise<void>
}

/** A stream, as the metadata group knows it. */
export interface StreamRecord {
  /** 32 hexadecimal digits. */
  stream: string
  owner: string
  epoch: number
  state: 'open' | 'fenced' | 'sealed'
  /** Who fenced it; empty where nobody did. */
  by: string
  followers: string[]
}

/** What the metadata group knows, as far as this node has heard. */
export interface Metadata {
  /** Its id; empty while this node knows of none. */
  group: string
  /** Empty while there is none. */
  leader: string
  term: number
  voters: string[]
  learners: string[]
  streams: StreamRecord[]
  /** Nodes that should be members of the group and cannot be, with the reason. */
  refused: Record<string, string>
  /** Why this node's part of the group has stopped; empty: it has not. */
  failure: string
  /** JSON values by key. */
  config: Record<string, unknown>
  services: Record<string, unknown>
}

/** What the replication of this node's stream is at. */
export interface ReplicationStatus {
  stream: string
  followers: {
    name: string
    signal: string
    lagRecords: number
    lagBytes: number
    connected: boolean
  }[]
  /** Whether fewer copies than asked for are being acknowledged. */
  degraded: boolean
  /** Records that wait for their copies. */
  pending: number
  /** Records that are readable, and wait for the copies that their tenants ask for. */
  overdue: number
  /** The epoch at which others took the stream over: nothing more is acknowledged; null: none. */
  fenced: number | null
}

/** Reads `metadata()`; what an older or newer node leaves out is empty. */
export function readMetadata(text: string): Metadata {
  const given = JSON.parse(text) as Partial<Metadata>
  return {
    group: given.group ?? '',
    leader: given.leader ?? '',
    term: given.term ?? 0,
    voters: given.voters ?? [],
    learners: given.learners ?? [],
    streams: (given.streams ?? []).map((stream) => ({
      ...stream,
      by: stream.by ?? '',
      // They are told for each signal, or once for all.
      followers: [...new Set(Object.values(stream.followers ?? []).flat())],
    })),
    refused: given.refused ?? {},
    failure: given.failure ?? '',
    config: given.config ?? {},
    services: given.services ?? {},
  }
}

/** Reads `status()`. */
export function readReplication(text: string): ReplicationStatus {
  const given = JSON.parse(text) as Partial<ReplicationStatus>
  return {
    stream: given.stream ?? '',
    followers: given.followers ?? [],
    degraded: given.degraded ?? false,
    pending: given.pending ?? 0,
    overdue: given.overdue ?? 0,
    fenced: given.fenced ?? null,
  }
}
