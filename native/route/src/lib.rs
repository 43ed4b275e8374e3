//! The gateway role of one node of a cluster: which node owns a record, a request split by owners
//! without decoding it, and the way of the slices there.
//!
//! ```text
//!  request --> split --> own slice -----------------------------> local port --> ack \
//!                  \---> others' slices --call "ingest"--> owner's local port --> ack --> one ack
//! ```
//!
//! Ownership is affinity, not safety: nodes that disagree about it for a while store a record at
//! another place, where it is as durable and as readable. So a slice whose owner is not there stays
//! on this node. What keeps a resent request from being stored twice is that each slice says which
//! request it is of, and which shards: a node knows what of a request it has stored a moment ago, however
//! the request was split then.
//!
//! - `shard.rs`: the shard of a key.
//! - `owners.rs`: the owner of a shard; placement rules.
//! - `split.rs`: the walk over a request. `slices.rs`: what it notes, and the slices made of it.
//!   `wire.rs`: protobuf's wire format. `count.rs`: records of a slice that was refused.
//! - `gateway.rs`: a request to its owners. `outcome.rs`: their answers to one.
//! - `lane.rs`: the way to one owner, on which slices of different requests go together.
//! - `parcel.rs`: slices and answers on the wire. `bundle.rs`: several of them in one message.
//!   `service.rs`: the owner's side.

mod bundle;
mod count;
mod gateway;
mod lane;
mod outcome;
mod owners;
mod parcel;
mod service;
mod shard;
mod slices;
mod split;
mod wire;

#[cfg(test)]
mod bench_test;
#[cfg(test)]
mod bundle_test;
#[cfg(test)]
mod gateway_test;
#[cfg(test)]
mod lane_test;
#[cfg(test)]
mod lane_testing;
#[cfg(test)]
mod outcome_test;
#[cfg(test)]
mod owners_test;
#[cfg(test)]
mod parcel_test;
#[cfg(test)]
mod split_test;
#[cfg(test)]
mod testing;

pub use count::records;
pub use gateway::{Gateway, View};
pub use owners::{LOCAL, MAX_NODES, MAX_RULES, OwnerIndex, Owners, PlacementRule};
pub use service::{INGEST, IngestService, SLICES};
pub use shard::{SHARDS, shard_of};
pub use split::{Slice, split, without, without_tables};
