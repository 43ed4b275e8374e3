//! What every other crate stands on: ports and vocabulary, no algorithms.
//!
//! - `bucket_metrics`: what the object store of the tables is asked, and how long it takes.
//! - `budget`: bytes that many share, fairly.
//! - `clock`: the only place that reads the time.
//! - `derive_metrics`: what is counted of derived series.
//! - `disk`: what is to survive a crash is written through it; the machine's file system.
//! - `error`: one table of error codes; `docs/errors.md` and the TypeScript union come from it.
//! - `file_metrics`: what is counted of tables' files on the nodes' own disks.
//! - `file_system`: what platforms name differently of theirs.
//! - `invariant`: the ids I1 to I10 that assertions, tests and counters share.
//! - `job_metrics`: what the regular jobs count.
//! - `lease`: one node at a time does a thing.
//! - `limits`: every limit, as a named constant.
//! - `metadata_metrics`: what the metadata group counts.
//! - `metrics`: the counters and histograms of the process, in one registry.
//! - `peer_metrics`: what the connections between nodes count.
//! - `position`: where a batch stands: (stream, sequence).
//! - `priority`: how much of the processor a thread gets.
//! - `row_rules`: what decoded rows go through before they are kept.
//! - `rule_metrics`: what is counted of that.
//! - `shard_set`: shards of one signal.
//! - `random`: the only place that draws what must not be guessed.
//! - `sampling_metrics`: what is counted of tail sampling.
//! - `session`: session tokens.
//! - `signal`: the three signals and the seven tables.
//! - `source`: what a query sees of a table: live batches and files, captured consistently.
//! - `tenant`: what a tenant is called.
//! - `worker`: threads for work that takes long and is in no hurry.

pub mod bucket_metrics;
pub mod budget;
pub mod checksum;
pub mod clock;
pub mod derive_metrics;
pub mod disk;
pub mod error;
pub mod file_metrics;
mod file_system;
pub mod invariant;
pub mod job_metrics;
pub mod lease;
pub mod limits;
pub mod metadata_metrics;
pub mod metrics;
pub mod peer_metrics;
pub mod position;
pub mod priority;
pub mod random;
pub mod row_rules;
pub mod rule_metrics;
pub mod sampling_metrics;
pub mod session;
pub mod shard_set;
pub mod signal;
pub mod source;
pub mod tenant;
pub mod worker;

pub use budget::{Budget, Claim, Reservation};
pub use clock::{Clock, SystemClock};
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::{Code, Error, Kind, Result};
pub use lease::{Lease, Leases};
pub use metrics::Metrics;
pub use position::{FIRST_EPOCH, Position, StreamId};
pub use row_rules::{RowRules, TableRows};
pub use session::Session;
pub use shard_set::ShardSet;
pub use signal::{Signal, Table};
pub use source::{
    Capture, Consistency, DataFile, Gathering, LiveRows, Missing, Moment, TableSource, Wanted,
};
pub use tenant::validate_tenant;

#[cfg(test)]
mod budget_test;
#[cfg(all(test, target_os = "linux"))]
mod priority_test;
#[cfg(test)]
mod shard_set_test;
#[cfg(all(test, target_os = "linux"))]
#[path = "../testing/thread_priority.rs"]
mod thread_priority;
#[cfg(all(test, target_os = "linux"))]
mod worker_test;
