//! Tables' files on the nodes' own disks, under one seed: on each node the real code of `otlake-files`,
//! all of it, over a disk of its own that fails.
//!
//! ```text
//! clients ──ObjectStore──> Files ──Disk──> SimDisk     nemesis: crashes, pauses, cuts, disks that
//!  writers, readers, jobs   │  │                                fail, fill, rot and are lost, members
//!                      Wire │  │ Group
//!            other nodes <──┘  └──> register: the metadata group's own state machine, linearizable
//! ```
//!
//! One thread runs everything. Of the tasks that can go on chance picks one; work for a disk is done a
//! moment after it was asked for, whole, unless the disk goes down in it; time is virtual. What a node
//! is told of the others, and where files belong, comes from a stand-in of the gossip membership, a
//! little late and not the same everywhere.
//!
//! - `executor`: tasks and time. `world`: the nodes; `network`, `register`: what is between them.
//! - `clients`: who uses the files; `content`: what they write; `told`: what they were told, and what
//!   must hold of it.
//! - `nemesis`: what goes wrong. `script`: the course of a run, and what must hold in the end.
//! - `breakage`: what is broken on purpose.

mod breakage;
mod clients;
mod content;
mod executor;
mod nemesis;
mod network;
mod register;
mod script;
mod told;
mod world;

#[cfg(test)]
mod files_test;
#[cfg(test)]
mod one_node_test;

use std::sync::Arc;

use otlake_base::invariant::Invariant;

pub use self::breakage::FilesBreakage;
use self::executor::Round;
use self::world::World;
use crate::report::Report;

/// Steps of one run, beyond which it has not come to an end.
const MAX_POLLS: u64 = 4_000_000;

/// How a run is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilesPlan {
    /// What is broken on purpose.
    pub breakage: FilesBreakage,
    /// Whether steps are kept.
    pub verbose: bool,
}

/// Runs a seed.
pub fn run(seed: u64, plan: FilesPlan) -> Report {
    let world = World::new(seed, plan);
    let executor = Arc::clone(&world.executor);
    executor.spawn(None, script::script(Arc::clone(&world)));
    while !*world.is_over.lock() && !world.is_broken() {
        if executor.round() == Round::Idle || executor.polls() > MAX_POLLS {
            let what = "the run does not come to an end";
            world.violated(Invariant::I5Bounded, what);
        }
    }
    world.end()
}
