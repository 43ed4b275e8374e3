//! What every other crate stands on: ports and vocabulary, no algorithms.
//!
//! - `allocator`: what the C library keeps for later.
//! - `budget`: bytes that many share, fairly.
//! - `clock`: the only place that reads the time.
//! - `disk`: what is to survive a crash is written through it; the machine's file system.
//! - `error`: one table of error codes; `docs/errors.md` and the TypeScript union come from it.
//! - `file_system`: what platforms name differently of theirs.
//! - `invariant`: the ids I1 to I10 that assertions, tests and counters share.
//! - `job_metrics`: what the regular jobs count.
//! - `lease`: one node at a time does a thing.
//! - `limits`: every limit, as a named constant.
//! - `metrics`: the counters and histograms of the process, in one registry.
//! - `position`: where a batch stands: (stream, sequence).
//! - `priority`: how much of the processor a thread gets.
//! - `session`: session tokens.
//! - `signal`: the three signals and the seven tables.
//! - `source`: what a query sees of a table: live batches and files, captured consistently.
//! - `worker`: threads for work that takes long and is in no hurry.

pub mod allocator;
pub mod budget;
pub mod checksum;
pub mod clock;
pub mod disk;
pub mod error;
mod file_system;
pub mod invariant;
pub mod job_metrics;
pub mod lease;
pub mod limits;
pub mod metrics;
pub mod position;
pub mod priority;
pub mod session;
pub mod signal;
pub mod source;
pub mod worker;

pub use budget::{Budget, Claim, Reservation};
pub use clock::{Clock, SystemClock};
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::{Code, Error, Kind, Result};
pub use lease::{Lease, Leases};
pub use metrics::Metrics;
pub use position::{Position, StreamId};
pub use session::Session;
pub use signal::{Signal, Table};
pub use source::{
    Capture, Consistency, DataFile, Gathering, LiveRows, Missing, Moment, TableSource, Wanted,
};

#[cfg(test)]
mod budget_test;
