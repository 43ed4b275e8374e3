/**
 * The settings of a cluster, and what they come to. A node is one of a cluster when it is given
 * nodes to join or told to begin one; without, none of this is read and `clusterConfig` is null.
 */

import { isIP } from 'node:net'
import { z } from 'zod'
import { splitAddress } from '../base/http/port.js'
import { isAddress } from '../cluster/messages.js'
import { MAX_WEIGHT } from '../cluster/ring.js'
import { DEFAULT_SETTINGS, MAX_CLUSTER_BYTES, MAX_KEYS, MAX_SEEDS } from '../cluster/settings.js'
import type { ClusterQuorum, TenantQuorum } from '../native/cluster.js'
import { QUORUM_SETTINGS, quorumConfig } from './quorum-config.js'
import { address, count, flag, invalid, list, type Setting } from './setting-schemas.js'
import { areOnNodes } from './storage-config.js'

/** The port of the peers' connections where `listen.peer` says nothing. */
export const DEFAULT_PEER_PORT = 4322
const KEY_BYTES = 32
/** Nodes that vote in the metadata group, at most. */
const VOTERS = [1, 3, 5] as const

/** An address of `listen.*` that may be left out. */
const optionalAddress = z.union([z.literal(''), address])
const nodeName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    'is 1 to 64 letters, digits, dots, hyphens or underscores',
  )

export const CLUSTER_SETTINGS: Record<string, Setting> = {
  'listen.peer': {
    about:
      'Connections between the nodes of a cluster; default: the host of `listen.cluster`, port 4322',
    schema: optionalAddress,
    default: '',
  },
  'cluster.join': {
    about:
      'Nodes of a cluster to join, each as `host:port` of its `listen.cluster` (docs/operations.md)',
    schema: list.pipe(
      z
        .array(z.string().refine(isAddress, 'is a list of HOST:PORT, such as `10.0.0.1:4321`'))
        .max(MAX_SEEDS),
    ),
    default: [],
  },
  'cluster.bootstrap': {
    about: 'Whether this node begins a cluster where its data folder has none',
    schema: flag,
    default: false,
  },
  'cluster.name': {
    about: 'Name of the cluster; nodes of another name are never met',
    schema: z
      .string()
      .min(1)
      .refine((text) => Buffer.byteLength(text) <= MAX_CLUSTER_BYTES, 'has 64 bytes at most'),
    default: 'otlake',
  },
  'cluster.node': {
    about: 'Name of this node, the same over restarts; default: one that the data folder keeps',
    schema: z.union([z.literal(''), nodeName]),
    default: '',
  },
  'cluster.advertise': {
    about:
      'IP address, or `IP:PORT`, that others reach this node at; needed where it listens on 0.0.0.0',
    schema: z
      .string()
      .refine((text) => text === '' || advertised(text) !== null, 'is an IP address or IP:PORT'),
    default: '',
  },
  'cluster.keys': {
    about:
      'Keys of what nodes send each other, 32 bytes each in base64; the first seals, all open; none: in the clear',
    schema: list.pipe(
      z
        .array(
          z
            .string()
            .refine(isKey, 'is a list of 32 bytes each in base64: `openssl rand -base64 32`'),
        )
        .max(MAX_KEYS),
    ),
    default: [],
  },
  'cluster.secret': {
    about:
      'What the nodes prove to each other when they connect, 32 bytes in base64; default: made of the first of `cluster.keys`, with which it changes',
    schema: z
      .string()
      .refine(
        (text) => text === '' || isKey(text),
        'is 32 bytes in base64: `openssl rand -base64 32`',
      ),
    default: '',
  },
  'cluster.zone': {
    about: 'Where the node stands; copies are spread over zones',
    schema: z.string().max(64),
    default: '',
  },
  'cluster.weight': {
    about: 'How much the node takes in comparison with others',
    schema: z.coerce.number().positive().max(MAX_WEIGHT),
    default: 1,
  },
  'cluster.rejoin': {
    about: 'Whether a start also asks the nodes that the last one knew',
    schema: flag,
    default: true,
  },
  ...QUORUM_SETTINGS,
  'cluster.allow_degraded': {
    about: 'Whether fewer copies than asked for are enough while fewer nodes are there; counted',
    schema: flag,
    default: false,
  },
  'cluster.replace_after_ms': {
    about: 'How long a dead node keeps its place among the copies before another takes it',
    schema: count,
    default: 30_000,
  },
  'cluster.rebalance.shards': {
    about: 'Shards that change their owner at once, but for those of dead nodes',
    schema: count,
    default: 100,
  },
  'cluster.rebalance.interval_ms': {
    about: 'How often so many do',
    schema: count,
    default: 1000,
  },
  'cluster.voters': {
    about: 'Nodes that vote on what the cluster knows, at most: 1, 3 or 5',
    schema: z.coerce
      .number()
      .refine((n) => (VOTERS as readonly number[]).includes(n), 'is 1, 3 or 5'),
    default: 5,
  },
  'cluster.heartbeat_ms': {
    about: 'How often a node hears others (docs/cluster-membership.md)',
    schema: count,
    default: DEFAULT_SETTINGS.heartbeatMs,
  },
  'cluster.timeout_ms': {
    about: 'The shortest silence after which a node is declared dead',
    schema: count,
    default: DEFAULT_SETTINGS.timeoutMs,
  },
  'cluster.threshold': {
    about: 'Failed probes that make suspicion shortest',
    schema: count,
    default: DEFAULT_SETTINGS.threshold,
  },
}

/** The normalised configuration of a cluster's node. */
export interface ClusterConfig {
  name: string
  /** Null: the name that the data folder keeps. */
  node: string | null
  /** `HOST:PORT` each. */
  join: string[]
  bootstrap: boolean
  /** Where gossip and the control calls listen. */
  listen: string
  /** Where the peers' connections listen. */
  peer: string
  /** What others are told in place of the host that is bound, and of the cluster's port. */
  advertise: { host: string; port: number | null } | null
  /** 32 bytes each, the sealing one first; empty: in the clear. */
  keys: Uint8Array[]
  /** 32 bytes; null: made of the first key. */
  secret: Uint8Array | null
  zone: string
  weight: number
  rejoin: boolean
  quorum: ClusterQuorum
  /** Of tenants that have quorums of their own, by signal. */
  tenants: TenantQuorum[]
  allowDegraded: boolean
  replaceAfterMs: number
  /** Whether the nodes keep the tables' files on their own disks. */
  keepsFiles: boolean
  rebalance: { shards: number; intervalMs: number }
  voters: number
  gossip: { heartbeatMs: number; timeoutMs: number; threshold: number }
  /** What is allowed and should not stay so, for the log. */
  warnings: string[]
}

/** `IP` or `IP:PORT` (an IPv6 address with a port in brackets); null: neither. */
function advertised(text: string): { host: string; port: number | null } | null {
  if (isIP(text) !== 0) return { host: text, port: null }
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? []
  const host = bracketed ?? plain ?? ''
  const isFine = isIP(host) !== 0 && Number(port) >= 1 && Number(port) <= 65_535
  return isFine ? { host, port: Number(port) } : null
}

function isKey(text: string): boolean {
  return /^[A-Za-z0-9+/]+={0,2}$/.test(text) && Buffer.from(text, 'base64').length === KEY_BYTES
}

/** Whether it means every address of the machine, which others cannot be told. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

function isLoopback(host: string): boolean {
  return host.startsWith('127.') || host === '::1'
}

/** Brackets an IPv6 host. */
export function hostPort(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

/**
 * What the settings come to; null: not in a cluster. `get` gives a setting's value. Throws
 * `CONFIG_INVALID` with the key and the fix.
 */
export function clusterConfig(get: <T>(path: string) => T): ClusterConfig | null {
  const join = get<string[]>('cluster.join')
  const bootstrap = get<boolean>('cluster.bootstrap')
  if (join.length === 0 && !bootstrap) return null
  const listen = get<string | null>('listen.cluster')
  if (listen === null) {
    throw invalid('listen.cluster', 'a cluster needs it; give it an address, or leave out --join')
  }
  const { host } = splitAddress(listen)
  const advertise = advertised(get<string>('cluster.advertise'))
  if (isWildcard(host) && advertise === null) {
    throw invalid(
      'cluster.advertise',
      `others cannot reach ${host}; set it to the address of this machine that they can`,
    )
  }
  const peer = get<string | null>('listen.peer')
  if (peer === null) {
    throw invalid('listen.peer', 'a cluster needs it; give it an address, or leave it out')
  }
  const keys = get<string[]>('cluster.keys').map((key) => Buffer.from(key, 'base64'))
  const secret = get<string>('cluster.secret')
  const config: ClusterConfig = {
    name: get('cluster.name'),
    node: get<string>('cluster.node') || null,
    join,
    bootstrap,
    listen,
    peer: peer || hostPort(host, DEFAULT_PEER_PORT),
    advertise,
    keys,
    secret: secret === '' ? null : Buffer.from(secret, 'base64'),
    zone: get('cluster.zone'),
    weight: get('cluster.weight'),
    rejoin: get('cluster.rejoin'),
    ...quorumConfig(get),
    allowDegraded: get('cluster.allow_degraded'),
    replaceAfterMs: get('cluster.replace_after_ms'),
    keepsFiles: areOnNodes(get('storage.tables')),
    rebalance: {
      shards: get('cluster.rebalance.shards'),
      intervalMs: get('cluster.rebalance.interval_ms'),
    },
    voters: get('cluster.voters'),
    gossip: {
      heartbeatMs: get('cluster.heartbeat_ms'),
      timeoutMs: get('cluster.timeout_ms'),
      threshold: get('cluster.threshold'),
    },
    warnings: [],
  }
  if (config.gossip.timeoutMs <= config.gossip.heartbeatMs) {
    throw invalid('cluster.timeout_ms', 'must be more than `cluster.heartbeat_ms`; raise it')
  }
  const isOpen = [listen, config.peer].some((at) => !isLoopback(splitAddress(at).host))
  if (keys.length === 0 && isOpen) {
    config.warnings.push(
      '`cluster.keys` is empty: whoever reaches the cluster ports can take part; set a key on every node',
    )
  }
  return config
}
