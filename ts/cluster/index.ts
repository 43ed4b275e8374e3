/**
 * Who is in the cluster: membership by gossip, exported by itself as `otlake/cluster`.
 *
 * - `membership.ts`: a node's place in a cluster, the protocol on a transport and a clock.
 * - `gossip.ts`: the protocol of one node without I/O; it stands on `member-table.ts` (who is
 *   alive; suspicion and refutation), `prober.ts`, `news.ts` (what is piggy-backed) and these:
 *   `roster.ts` (order of probing), `suspicion.ts`, `health.ts`, `broadcast.ts`.
 * - `state-store.ts`, `counters.ts`: what members say of themselves and count together, as CRDTs;
 *   `local-state.ts` names the keys.
 * - `faults.ts`: kinds of faults told apart and counted.
 * - `messages.ts`, `wire.ts`, `keyring.ts`: what is said, as bytes (`gossip.proto`), sealed.
 * - `transport.ts`, `node-transport.ts`: the port to the network, and UDP with TCP behind it.
 * - `ring.ts`: which nodes hold which shard.
 * - `balance.ts`: which of several nodes that can do the same is called.
 * - `node-state.ts`, `controller/`: what nodes of otlake say beside, and what each decides from it;
 *   not exported.
 * - `settings.ts`: every number.
 *
 * ```
 *  datagram (1,400 bytes at most):   Envelope{ version, nonce | Message under AES-256-GCM | tag }
 *  stream:                           length (4 bytes, big-endian) | Envelope
 *  Message{ from, address, ping | ack | nack | ping_request | sync, news... }
 *
 *   A --ping--> B          no answer in 500 ms: A --ping_request--> C --ping--> B, and TCP to B
 *   A <--ack--- B          no answer in 1 s: B is suspect; A probes it again, tells others, tells B
 *                          B refutes with a higher incarnation, or is dead 3 s after the first ping
 * ```
 */

export type { LoopDelay } from '../base/loop-delay.js'
export { systemLoopDelay } from '../base/loop-delay.js'
export type { Random } from '../base/random.js'
export { systemRandom } from '../base/random.js'
export {
  Balancer,
  type Call,
  type Strategy,
  type Target,
  type TargetHealth,
  type TargetState,
} from './balance.js'
export type { Fault, FaultCounts, FaultKind } from './faults.js'
export { KeyRing } from './keyring.js'
export type { LocalState, ServiceStatus } from './local-state.js'
export {
  type Member,
  Membership,
  type MembershipCounts,
  type MembershipEvents,
  type MembershipOptions,
} from './membership.js'
export type { MemberRecord, Status } from './messages.js'
export { type NodeTransportOptions, openNodeTransport } from './node-transport.js'
export {
  type Assignment,
  allShards,
  assign,
  type PlacementRule,
  type Rebalance,
  Ring,
  type RingNode,
  rebalance,
  type Shard,
  type Signal,
  shardName,
  shardOf,
} from './ring.js'
export { type ClusterSettings, DEFAULT_SETTINGS } from './settings.js'
export type { ExchangeFailure, Transport, TransportHandlers } from './transport.js'
