//! The Raft group: openraft over our store, our wire and our state machine.
//!
//! - `types.rs`: what openraft is instantiated with.
//! - `log.rs`: its log and vote, in the store.
//! - `machine.rs`: its state machine and snapshots.
//! - `network.rs`: its requests to other nodes.
//! - `service.rs`: others' requests to this node.
//! - `election.rs`: when this node asks to lead.
//! - `lead.rs`: what the leader does with proposals and reads: many at once.
//! - `members.rs`: how the leader changes who is in the group.
//! - `upkeep.rs`: snapshots, the log's end, what has expired, counters.

pub(crate) mod election;
pub(crate) mod lead;
pub(crate) mod log;
pub(crate) mod machine;
pub(crate) mod members;
pub(crate) mod network;
pub(crate) mod service;
pub(crate) mod types;
pub(crate) mod upkeep;
