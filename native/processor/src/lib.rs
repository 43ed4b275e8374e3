//! The processor role of one node: it takes OTLP requests, makes them durable, keeps them
//! readable at once and sees them into tables.
//!
//! ```text
//!  ingest --> gate --> budget --> decode --> log.append
//!            closing?  room?      rows       |  (log thread, after fdatasync)
//!                                            v
//!             Ack <-- oneshot <-- ledger <-- live set --> flusher --> tables
//!
//!  <data>/LOCK                            held while open (flock)
//!  <data>/log/<stream>/<sequence>.seg     what is acknowledged
//!  <data>/tables/<table>/...              what is flushed, unless it is to a folder that is shared
//!  <data>/dedupe/<signal>.window          what a resend is told by
//!  <data>/sampling/<number>.decisions     what tail sampling has decided, where it is set
//! ```
//!
//! - `adopt`: records of streams that other nodes wrote, or earlier starts of this one.
//! - `config`: what a node is opened with.
//! - `data_dir`: the folder and its lock.
//! - `dedupe`: requests stored a moment ago, so that a resend is stored once (I3).
//! - `follower`: what other nodes have committed.
//! - `gate`: who may come in; waits for those inside when the node stops.
//! - `ingest`: one request, from bytes to acknowledgement.
//! - `jobs`: merging files, expiring days, deleting what nobody needs, over every table.
//! - `ledger`: received = acknowledged + rejected (I4).
//! - `processor`: open, close and what lies between.
//! - `rows`: decoded rows, by the rules of this node.
//! - `verify`: reads every file of the folder and tells what is damaged (I6).
//! - `store`: the log, or what a cluster has put in its place.
//! - `replay`: what the log holds and no file does, back into the live set.

mod adopt;
mod config;
mod data_dir;
mod dedupe;
mod follower;
mod gate;
mod ingest;
mod jobs;
mod ledger;
mod processor;
mod replay;
mod rows;
mod store;
mod verify;

pub use config::ProcessorConfig;
pub use data_dir::DataDir;
pub use dedupe::Stage;
pub use ingest::{Ack, SliceOutcome};
pub use jobs::{Job, JobConfig, JobReport, TableWork};
pub use otlake_derive::{DeriveConfig, kept_of};
pub use otlake_flush::{Tail, Tailed};
pub use otlake_sample::{Condition, Measured, Policy, Rated, SampleConfig, Scope, Test};
pub use processor::{Processor, Stats};
pub use verify::{Finding, Verification};

use processor::blocking;

#[cfg(test)]
mod crash_test;
#[cfg(test)]
mod data_dir_test;
#[cfg(test)]
mod dedupe_test;
#[cfg(test)]
mod derive_test;
#[cfg(test)]
mod every_field_test;
#[cfg(test)]
mod full_disk_test;
#[cfg(test)]
#[path = "../../base/testing/hooked_disk.rs"]
mod hooked_disk;
#[cfg(test)]
mod ingest_test;
#[cfg(test)]
mod jobs_test;
#[cfg(test)]
mod processor_test;
#[cfg(test)]
mod rebuild_test;
#[cfg(test)]
mod replicated_test;
#[cfg(test)]
mod route_test;
#[cfg(test)]
mod rules_test;
#[cfg(test)]
mod sample_test;
#[cfg(test)]
mod taken_over_test;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod validation_test;
#[cfg(test)]
mod verify_test;
