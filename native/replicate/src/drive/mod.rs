//! The drivers: what connects the protocol to the log, the journal and the network.
//!
//! - `wire.rs`: the port to the network; `memory.rs`: a network within the process, for tests.
//! - `replicator.rs`: the owner's side, an [`otlake_log::Appender`]; `work.rs`: what its owner wants
//!   done; `links.rs`: its links.
//! - `service.rs`: the follower's side, and what a node tells of its own streams;
//!   `streams.rs`: the latter.
//! - `recoverer.rs`: runs a recovery.

mod links;
pub mod memory;
mod recoverer;
mod replicator;
mod service;
mod streams;
mod wire;
mod work;

#[cfg(test)]
mod drive_test;

pub use self::recoverer::{Recoverer, Sink};
pub use self::replicator::{Registry, Replicator, ReplicatorConfig};
pub use self::service::{Observer, ReplicaService};
pub use self::streams::{OldStreams, pick};
pub use self::wire::{Incoming, Link, Outgoing, Wire};
