//! One node of a cluster: its storage, with copies on other nodes, under one metadata group.
//!
//! ```text
//!  receive --> gateway --own slice--> processor --> replicator --> log, followers' journals --> ack
//!                 `--others'--> peers                    |registers, fences, seals
//!  place, recover, drain (TypeScript) --> Cluster --> metadata group
//! ```
//!
//! TypeScript says who belongs to the cluster, who owns what and who recovers whom; what is done
//! about it is here, and safe whatever it says: streams, epochs and quorums see to that.
//!
//! - `config.rs`: what it is started with. `start.rs`: how it is put together.
//! - `cluster.rs`: the handle: place, recover, drain, close. `told.rs`: what it tells, as JSON.
//! - `services.rs`: what other nodes are offered, and the ways to them.
//! - `registry.rs`: the metadata group as replication and reads need it.
//! - `recover.rs`: a dead node's stream, or an earlier one of this node, into live rows and files.
//! - `presence.rs`: whether a stream's owner is gone, before it is taken over.
//! - `claims.rs`: records of a stream that is recovered, and that clients have sent again meanwhile.
//! - `copies.rs`: what this node holds copies of, for its windows of resends.
//! - `moved.rs`: shards that have come to this node a short while ago.
//! - `places.rs`: what is asked about and stored, where two nodes take themselves for a shard's owner.
//! - `commits.rs`: commits that one node makes for all.
//! - `leftovers.rs`: what is left of this node's earlier streams when all of it is settled.
//! - `local.rs`: the processor as gateways see it.
//! - `view.rs`: what TypeScript says, and what it is told.

mod claims;
mod cluster;
mod commits;
mod config;
mod copies;
mod leftovers;
mod local;
mod moved;
mod places;
mod presence;
mod recover;
mod registry;
mod services;
mod start;
mod told;
mod view;

pub use cluster::Cluster;
pub use config::ClusterConfig;
pub use local::Local;
pub use recover::RecoveryReport;
pub use view::{ClusterView, ViewMember, ViewRule};

#[cfg(test)]
mod claims_test;
#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod places_test;
#[cfg(test)]
mod recover_test;
#[cfg(test)]
mod registry_test;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod testing;
