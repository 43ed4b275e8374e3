/** What a node's settings make of gossip, of the controller, and of the peers' secret. */

import { hkdfSync } from 'node:crypto'
import type { Clock, Monotonic } from '../../base/clock.js'
import { systemLoopDelay } from '../../base/loop-delay.js'
import type { Random } from '../../base/random.js'
import type { ControllerSettings } from '../../cluster/controller/situation.js'
import { KeyRing } from '../../cluster/keyring.js'
import { Membership } from '../../cluster/membership.js'
import { PEER_ADDRESS, toNodeRegisters, wireRegister } from '../../cluster/node-state.js'
import type { Transport } from '../../cluster/transport.js'
import { packageVersion } from '../../native/binding.js'
import type { ClusterConfig } from '../cluster-config.js'
import { mostAsked } from '../quorum-config.js'

const SECRET_BYTES = 32

export interface GossipOptions {
  readonly name: string
  readonly config: ClusterConfig
  readonly transport: Transport
  readonly clock: Clock
  readonly monotonic?: Monotonic
  readonly random: Random
  readonly roles: readonly string[]
  /** The address of the peers' connections, as others reach it. */
  readonly peer: string
  /** The metadata group that is on the node's disk; empty: none. */
  readonly group: string
}

/** A membership that says from the start what this node is. */
export function startGossip(options: GossipOptions): Membership {
  const { name, config, transport, clock, monotonic, random, roles, peer, group } = options
  const membership = new Membership({
    name,
    cluster: config.name,
    transport,
    keys: config.keys.length > 0 ? new KeyRing(config.keys, random) : null,
    settings: config.gossip,
    clock,
    ...(monotonic ? { monotonic } : {}),
    random,
    loopDelay: systemLoopDelay(),
  })
  membership.setLocalState({
    roles,
    zone: config.zone,
    version: packageVersion(),
    addresses: { [PEER_ADDRESS]: peer },
  })
  const { weight } = config
  const state = { weight, draining: false, group, stream: '', ready: false }
  membership.setRegisters(new Map([wireRegister(), ...toNodeRegisters(state)]))
  return membership
}

export function controllerSettings(config: ClusterConfig): ControllerSettings {
  // Who follows follows for all tenants.
  const { spans, metrics, logs } = mostAsked(config.quorum, config.tenants)
  return {
    copies: { spans: spans.copies, metrics: metrics.copies, logs: logs.copies },
    acks: { spans: spans.acks, metrics: metrics.acks, logs: logs.acks },
    replaceAfterMs: config.replaceAfterMs,
    keepsFiles: config.keepsFiles,
    rebalanceShards: config.rebalance.shards,
    rebalanceIntervalMs: config.rebalance.intervalMs,
    voters: config.voters,
  }
}

/**
 * What the peers prove to each other: the secret that is set or, without it, one made of the key that
 * seals gossip (HKDF, RFC 5869).
 */
export function secretOf({ keys, name, secret }: ClusterConfig): Buffer | null {
  if (secret !== null) return Buffer.from(secret)
  const [first] = keys
  if (first === undefined) return null
  return Buffer.from(hkdfSync('sha256', first, name, 'otlake peers 1', SECRET_BYTES))
}
