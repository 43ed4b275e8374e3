/**
 * What a cluster can be told in numbers, and what is fixed. The three settings that people know
 * from heartbeats, `heartbeatMs`, `timeoutMs` and `threshold`, are SWIM's parameters here:
 *
 * - `heartbeatMs` is the protocol period. In each a node probes `PROBES_PER_HEARTBEAT` members, so
 *   that in a cluster of three each hears each other once in it. A probe that has no answer by
 *   the end of the period has failed.
 * - `timeoutMs` is the silence, counted from the first probe that failed, after which a member can be
 *   declared dead at the earliest: one period of probing, then suspicion for the rest. From ten
 *   members on suspicion is longer, by the logarithm of their number, because word and refutation
 *   take longer to spread.
 *   A member whose machine answers that nobody listens any more is not silent: its process has
 *   ended, and that is known within `REFUSED_HEARTBEATS`.
 * - `threshold` is how many failed probes, of different members or of one again, bring suspicion
 *   down to that shortest time. Fewer keep it longer, up to `SUSPICION_MAX_FACTOR` times.
 */

import { OtlakeError } from '../base/errors.js'

export interface ClusterSettings {
  /** The protocol period, in milliseconds. */
  heartbeatMs: number
  /** The shortest silence before a member is declared dead, in milliseconds. */
  timeoutMs: number
  /** Failed probes that make suspicion shortest. */
  threshold: number
  /** How long a direct probe waits for its answer before others are asked, in milliseconds. */
  probeTimeoutMs: number
  /** Members that are asked to probe on behalf of another. */
  indirectProbes: number
  /** Whether a stream is tried as well when datagrams have no answer. */
  streamProbe: boolean
  /** How often a node with news sends it, in milliseconds. */
  gossipIntervalMs: number
  /** To how many members each time. */
  gossipFanout: number
  /** A piece of news is sent this often, times the logarithm of the number of members. */
  retransmits: number
  /** How often a node compares everything with another, in milliseconds. */
  syncIntervalMs: number
  /** How often a node tries a dead member again, or its seeds when it is alone, in milliseconds. */
  reconnectIntervalMs: number
  /** How long a dead member or one that left is remembered, in milliseconds. */
  forgetAfterMs: number
}

export const DEFAULT_SETTINGS: ClusterSettings = {
  heartbeatMs: 1000,
  timeoutMs: 3000,
  threshold: 3,
  probeTimeoutMs: 500,
  indirectProbes: 3,
  streamProbe: true,
  gossipIntervalMs: 200,
  gossipFanout: 3,
  retransmits: 4,
  syncIntervalMs: 10_000,
  reconnectIntervalMs: 10_000,
  forgetAfterMs: 24 * 3_600_000,
}

/** The wire's version, and the oldest that is still understood. */
export const WIRE_VERSION = 1
export const WIRE_VERSION_MIN = 1

/** A datagram, with everything; it passes through every usual network in one piece. */
export const PACKET_BYTES = 1400
/** One message of a stream. */
export const STREAM_BYTES = 16 * 1024 ** 2
/** How long an exchange over a stream may take, in milliseconds. */
export const STREAM_TIMEOUT_MS = 10_000
/** Streams that others may have open to a node at once. */
export const MAX_STREAMS = 64
/** How often the protocol looks at the time, in milliseconds. */
export const TICK_MS = 50
/** A tick that is this much late means that the process stood still, in milliseconds. */
export const STALL_MS = 200
/** Each time as much delay of the event loop is a point of local health, in milliseconds. */
export const LOOP_DELAY_MS = 250

/** Members in one cluster, the dead included. */
export const MAX_MEMBERS = 4096
export const MAX_NAME_BYTES = 64
export const MAX_ADDRESS_BYTES = 128
export const MAX_CLUSTER_BYTES = 64
/** Seeds that a node keeps. */
export const MAX_SEEDS = 64
/** Registers of one member's state. */
export const MAX_STATE_KEYS = 64
export const MAX_KEY_BYTES = 64
export const MAX_VALUE_BYTES = 512
/** Counters, and what all starts of all members have added to them. */
export const MAX_COUNTERS = 1024
export const MAX_COUNTER_ENTRIES = 8192
/** News of one kind that wait to be sent; what was sent most often makes room. */
export const MAX_QUEUED = 8192
/** Keys that packets can be opened with. */
export const MAX_KEYS = 8

/** Members that a node probes in one heartbeat. */
export const PROBES_PER_HEARTBEAT = 2
/** Suspects that a node accuses and probes once more, at once. */
export const MAX_SUSPECT_PROBES = 8
/** The share of the probe's time-out after which a helper says that it has no answer. */
export const NACK_SHARE = 0.5
/** Probes on behalf of others at once. */
export const MAX_RELAYS = 1024
/** Lifeguard's bound of the local health multiplier. */
export const MAX_LOCAL_HEALTH = 8
/** How much of it the event loop's delay can be. */
export const MAX_LOOP_HEALTH = 2
/** The longest suspicion as a multiple of the shortest. */
export const SUSPICION_MAX_FACTOR = 6
/**
 * How long a member whose machine refuses connections can still say that it is alive, in heartbeats;
 * and where another accuses it as well.
 */
export const REFUSED_HEARTBEATS = 1
export const REFUSED_CONFIRMED_HEARTBEATS = 0.25
/** How long news still goes to a member that was declared dead, in heartbeats: it may be alive. */
export const GOSSIP_TO_DEAD_HEARTBEATS = 30
/** From this number of members on, everything is compared less often. */
export const SYNC_SCALE_MEMBERS = 32

/** Checks what a caller gave. Throws `CONFIG_INVALID`. */
export function checkSettings(given: Partial<ClusterSettings>): ClusterSettings {
  const settings = { ...DEFAULT_SETTINGS, ...given }
  for (const [name, value] of Object.entries(settings)) {
    if (typeof value === 'number' && !(Number.isFinite(value) && value > 0)) {
      throw new OtlakeError('CONFIG_INVALID', `\`${name}\` must be more than 0`)
    }
  }
  if (settings.probeTimeoutMs >= settings.heartbeatMs) {
    throw new OtlakeError('CONFIG_INVALID', '`probeTimeoutMs` must be less than `heartbeatMs`')
  }
  if (settings.timeoutMs <= settings.heartbeatMs) {
    throw new OtlakeError('CONFIG_INVALID', '`timeoutMs` must be more than `heartbeatMs`')
  }
  return settings
}

/** The shortest and the longest suspicion among `members`, in milliseconds. */
export function suspicionBounds(
  settings: ClusterSettings,
  members: number,
): { min: number; max: number } {
  const scale = Math.max(1, Math.log10(Math.max(1, members)))
  const min = Math.max(settings.timeoutMs - settings.heartbeatMs, settings.heartbeatMs) * scale
  return { min, max: min * SUSPICION_MAX_FACTOR }
}

/** How often one piece of news is sent among `members`. */
export function transmitLimit(settings: ClusterSettings, members: number): number {
  return settings.retransmits * Math.ceil(Math.log10(members + 1))
}

/** How long between two comparisons of everything among `members`, in milliseconds. */
export function syncInterval(settings: ClusterSettings, members: number): number {
  const scale =
    members <= SYNC_SCALE_MEMBERS ? 1 : 1 + Math.ceil(Math.log2(members / SYNC_SCALE_MEMBERS))
  return settings.syncIntervalMs * scale
}
