//! The metadata group: what the nodes of a cluster must agree on, and nothing else. Which streams
//! there are, their epochs and followers; the cluster's configuration; the service registry; leases.
//! In Raft (openraft), on disk with fsync; and, in Paxos (omnipaxos), distributed locks and two-phase
//! commits. Nothing on the acknowledgement path waits for it.
//!
//! ```text
//! MetadataGroup ── propose ──> leader: a batch ──> log (fsync on a majority) ──> State on every node
//!       └──────── read ─────> leader: index ─────> State here, once it is there ──> Arc<State>
//! ```
//!
//! - `group.rs`: the handle; `config.rs` what it starts with, `door.rs` where requests arrive,
//!   `status.rs` what it tells of itself.
//! - `part.rs`: one run of this node's part, from opening the store to closing it.
//! - `command.rs`: what can be asked, and what is answered; `state/`: the state machine.
//! - `agreement/`: the port to locks and transactions; `paxos/`: omnipaxos behind it.
//! - `raft/`: openraft over our store, wire and state machine; `core.rs`: what its parts share.
//! - `session.rs`: numbers that make a proposal apply once.
//! - `store.rs`: the durable store; `writer.rs`: the thread that commits to it.
//! - `wire.rs`: the port to other nodes, and the envelope of messages; `peer.rs`: it, over the
//!   connections between nodes.
//! - `testing/`: a wire in memory that loses and delays, groups of nodes in one process, and a
//!   checker of linearizability.
//! - `hex.rs`: numbers of 128 bits in JSON; `limits.rs`: every limit.

pub mod agreement;
#[cfg(test)]
mod chaos_test;
pub mod command;
mod config;
mod core;
#[cfg(test)]
mod disk_test;
mod door;
mod group;
#[cfg(test)]
mod group_test;
mod hex;
pub mod limits;
#[cfg(test)]
mod members_test;
mod part;
mod paxos;
mod peer;
mod raft;
mod session;
pub mod state;
mod status;
mod store;
#[cfg(test)]
mod store_test;
pub mod testing;
pub mod wire;
mod writer;

pub use agreement::{
    Agreement, AgreementAnswer, AgreementCommand, AgreementPort, AgreementRefusal, Decision,
    Transaction,
};
pub use command::{Answer, Command, Refusal};
pub use config::{MetadataConfig, Timing};
pub use door::{Door, Doors};
pub use group::MetadataGroup;
pub use peer::PeerWire;
pub use raft::types::{NodeId, node_id};
pub use state::State;
pub use status::Status;
pub use wire::{Handler, PAXOS, RAFT, Wire};
