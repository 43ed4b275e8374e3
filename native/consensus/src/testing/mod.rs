//! For tests of this crate and of those that use it.
//!
//! - `wire.rs`: a wire in memory that loses, delays and cuts, from a seed.
//! - `nodes.rs`: the nodes of a group in one process.
//! - `history.rs`: what was asked and answered when, and whether any order explains it.

pub mod history;
#[cfg(test)]
mod history_test;
mod nodes;
mod wire;

pub use nodes::{Nodes, answered, eventually};
pub use wire::{MemoryNetwork, draw};
