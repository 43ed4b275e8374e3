//! A disk that fails by a seed, put under log, flush and commit, and drivers that look for what is
//! lost, doubled or served damaged. For tests alone. `docs/faults.md` tells how to use it.
//!
//! ```text
//! seed -> driver -> log | processor + catalog -> SimDisk: volume (cache | durable), faults
//!            |                                      |
//!            `----- what was acknowledged ---- crash, reboot: what is there?
//! ```
//!
//! - `chance`: numbers from a seed and a name, so that threads change nothing.
//! - `clock`: virtual time.
//! - `volume`: files and folders, what programs see and what a power cut leaves.
//! - `faults`: how often which operation fails.
//! - `disk`: the port on a volume; crash points, trace, steps; its open files.
//! - `mutation`: breakage on purpose, which the drivers must find.
//! - `frames`: enough of the log's layout to break it.
//! - `log_driver`, `node_driver`: what is done to the log and to a whole node, and what must hold.
//! - `cluster`: many nodes, their network and their disks.
//! - `files`: tables' files on the nodes' own disks, with all of `otlake-files`.
//! - `cuts`: ways between nodes that nothing goes over.
//! - `groups`: requests that the log commits together.
//! - `load`: requests whose records are numbered.
//! - `report`: what a run came to; `seeds`: many of them.

mod chance;
mod clock;
pub mod cluster;
mod cuts;
mod disk;
mod faults;
pub mod files;
mod frames;
mod groups;
mod load;
pub mod log_driver;
mod mutation;
pub mod node_driver;
mod report;
mod seeds;
mod volume;

pub use clock::SimClock;
pub use disk::{Fate, SimDisk};
pub use faults::Faults;
pub use mutation::Mutation;
pub use report::{Report, Violation};
pub use seeds::{Sum, run_all};

#[cfg(test)]
mod disk_test;
#[cfg(test)]
mod log_test;
#[cfg(test)]
mod node_test;
#[cfg(test)]
mod testing;
