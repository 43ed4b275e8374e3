//! A cluster under one seed: virtual time and network, and on each node the real protocol of
//! `otlake-replicate`, its journal and the log of `otlake-log`, on a disk of its own that fails.
//!
//! ```text
//! clients -> node: log -> Owner ==link==> Follower -> journal      nemesis: crashes, pauses, cuts,
//!              |                             ^                     loss, disks that fail, fill, rot
//!              `-> live -> flush -> tables   `-- Recovery (another node, or the owner's next start)
//!                                    ^
//! readers: strong, session ----------'        register: the metadata group, linearizable
//! ```
//!
//! The tables are rows under a watermark and an epoch for each stream, changed by compare-and-swap
//! alone, by the rule of the real ones; the metadata group is a linearizable register that answers late, twice or not at all.
//!
//! - `world`: time, events, nodes; `network`: what becomes of a packet.
//! - `process`: what runs on a node; `owning`, `following`, `recovering`, `returning`, `flushing`:
//!   its parts; `register`, `tables`: what all share.
//! - `tenants`: the quorums that they ask for.
//! - `clients`, `readers`: who uses it, and what must hold for them; `check`: what must hold at all.
//! - `nemesis`: what goes wrong. `breakage`: what is broken on purpose.

mod breakage;
mod check;
mod clients;
mod flushing;
mod following;
mod nemesis;
mod network;
mod owning;
mod process;
mod readers;
mod recovering;
mod register;
mod returning;
mod tables;
mod tenants;
mod world;

#[cfg(test)]
mod cluster_test;

pub use self::breakage::Breakage;
use self::world::World;
use crate::report::Report;

/// How a run is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// What is broken on purpose.
    pub breakage: Breakage,
    /// Whether steps are kept.
    pub verbose: bool,
}

/// Runs a seed.
pub fn run(seed: u64, plan: Plan) -> Report {
    let mut world = World::new(seed, plan);
    world.run();
    world.report()
}
