//! The manifest: seven Delta tables, one commit per flush, durable before it returns.
//!
//! A commit adds files and, in the same atomic step, raises the table's watermark: one Delta
//! `txn` action per stream (application id `otlake/<stream>`, version = last sequence that the
//! files hold). So a flush repeated after a crash changes nothing (I3), and a snapshot tells a
//! reader exactly which live batches its files already hold (I7). Beside it stands the epoch below
//! which the table takes nothing of the stream, once another node has taken that over (I9).
//!
//! ```text
//! <tables>/<table>/_delta_log/<version, 20 digits>.json        commits, fsynced
//! <tables>/<table>/_delta_log/<version>.checkpoint.parquet     one each 50 commits
//! <tables>/<table>/tenant=<t>/day=<d>/<uuid>.parquet           what they refer to
//! ```
//!
//! - `catalog`: opens the tables, makes those that are absent.
//! - `handle`: one table: its newest snapshot, and how it is opened.
//! - `commit`: the committer: a compare-and-swap on each stream's watermark.
//! - `rule`: what fits, what is stale, what is fenced; without I/O.
//! - `gathered`: one node commits for all.
//! - `follow`: what other writers have committed.
//! - `snapshot`: files and watermarks of one version.
//! - `watermarks`: every `txn` action of a version.
//! - `checkpoint`: checkpoints of a table's log, and the entries before them that are deleted.
//! - `columns`: Arrow schema to Delta schema, table properties.
//! - `durable_store`: the object store below the log, which syncs what it writes.
//! - `integrity`: checksums of the log's own files.
//! - `verify`: reads everything and tells what is damaged.
//! - `rebuild`: a damaged newest commit that can do without.
//! - `recover`: loads a table whose log is damaged.
//! - `sweep`: removes what a crash left and nothing refers to.
//! - `maintain`: merges files, expires days, deletes what no version names any more.

mod catalog;
mod checkpoint;
mod columns;
mod commit;
mod durable_store;
mod follow;
mod gathered;
mod handle;
mod integrity;
mod listing;
mod maintain;
mod rebuild;
mod recover;
mod rule;
mod snapshot;
mod sweep;
pub mod verify;
mod watermarks;

pub use catalog::{Catalog, Sharing};
pub use commit::{Addition, Committed, Outcome};
pub use gathered::{CommitPort, Commits, Direct, Gathered, Switch, Waits};
pub use handle::DeltaTableHandle;
pub use maintain::{
    CompactLimits, Compacted, JobContext, JobStep, OnJobStep, Pace, Retained, Retention,
    RetentionRule, Throttle, Urgency, Vacuumed,
};
pub use rebuild::InLog;
pub use rule::{Mark, Standing, Verdict, judge};
pub use snapshot::Snapshot;
pub use watermarks::TakenOver;

#[cfg(test)]
mod catalog_test;
#[cfg(test)]
mod durable_test;
#[cfg(test)]
#[path = "../../base/testing/hooked_disk.rs"]
mod hooked_disk;
#[cfg(test)]
#[path = "../../shard/testing/records.rs"]
mod records;
#[cfg(test)]
#[path = "../../shard/testing/rows.rs"]
mod rows;
#[cfg(test)]
mod rule_test;
#[cfg(test)]
mod shared_test;
#[cfg(all(test, target_os = "linux"))]
#[path = "../../base/testing/thread_priority.rs"]
mod thread_priority;
#[cfg(test)]
#[path = "../../shard/testing/times.rs"]
mod times;
#[cfg(test)]
mod verify_test;
