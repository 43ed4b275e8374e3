//! The metadata group over real sockets: several nodes in one process, and nodes that are processes of
//! their own, killed and stopped as such.
//!
//! - `node.rs`: a node over sockets.
//! - `child.rs`: a node as a process: this same program, told by its environment to be one.
//! - `one_process.rs`, `processes.rs`: the tests.

mod child;
mod node;
mod one_process;
mod processes;
