//! Reads over many nodes: what queries see where each node holds a part of what is acknowledged
//! and in no file yet.
//!
//! ```text
//!  strong   list of open streams ----------------.
//!           every other node: live batches ------+--> own snapshot, at least as new as the newest
//!           own live batches --------------------'    that any of them names: what it covers is
//!                                                      dropped, what is there twice is there once
//!  session  the same for the streams of the token alone, where own rows do not cover it
//!  eventual the files that are known here
//! ```
//!
//! A node captures its live batches first and names its snapshot's version second. A batch leaves
//! a node only for a commit of that version or an earlier one, so whoever reads that version sees
//! its rows there. And the list of open streams says who must have answered: a stream that nobody
//! answered for makes the answer incomplete, which is an error unless it may be partial (I7).
//!
//! - `port`: what the rest of the cluster gives: the other nodes, and the list of streams.
//! - `wire`: requests and answers as bytes: live batches as Arrow IPC with their positions.
//! - `select`: the rows and columns of a batch that are wanted, with no more memory than they need.
//! - `serve`: answers other nodes.
//! - `ask`: asks them, within limits of time and bytes.
//! - `gather`: captures a table over all nodes.
//! - `source`: the tables as the query engine sees them, on one node and on many.
//! - `follow`: batches of all nodes as they become readable.
//!
//! What each level promises is in `docs/consistency.md`.

mod ask;
mod follow;
mod gather;
mod port;
mod select;
mod serve;
mod source;
mod wire;

pub use follow::{Follow, Followed};
pub use port::{LivePort, Messages, OpenStream, StreamState, Streams};
pub use serve::LiveServer;
pub use source::{Cluster, Patience, Reads};

#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod route_test;
#[cfg(test)]
mod testing;
