//! What is done to tables beside adding to them: merging files, expiring days, deleting what no
//! version names any more.
//!
//! ```text
//!  compact   small files of a tenant's day --> one file     one commit: OPTIMIZE, remove + add
//!  retain    whole days past their time                     one commit: DELETE, remove
//!  vacuum    files removed long enough ago, lost files,     no commit; a checkpoint first
//!            log entries that a checkpoint holds
//! ```
//!
//! Each step leaves a table that is whole: files are durable before the commit that names them,
//! and only vacuum deletes, long after the commit that removed. A commit of these never touches
//! `txn` actions, so the watermarks stay what flushes made them.
//!
//! - `plan`: which files are merged next.
//! - `compact`: merges them.
//! - `retain`: rules of retention, and the days they end.
//! - `vacuum`: deletes files, and the log's expired entries.
//! - `leftovers`: what crashes and expired checkpoints leave besides data files.
//! - `replace`: the commit that removes files and adds others.
//! - `pace`: how fast a job may go, and when it must wait or stop.
//! - `worker`: the thread that does the work, after everybody else's.

pub(crate) mod compact;
mod leftovers;
mod pace;
mod plan;
mod replace;
mod retain;
mod vacuum;
mod worker;

use std::any::Any;
use std::sync::Arc;

use otlake_base::{Result, Table};

pub use compact::Compacted;
pub use pace::{Pace, Throttle, Urgency};
pub use plan::CompactLimits;
pub use retain::{Retained, Retention, RetentionRule};
pub use vacuum::Vacuumed;

#[cfg(test)]
mod compact_test;
#[cfg(test)]
mod leftovers_test;
#[cfg(test)]
mod pace_test;
#[cfg(test)]
mod plan_test;
#[cfg(test)]
mod retain_test;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod vacuum_test;

/// A moment within a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStep {
    /// A merged file is written and synced, and in no version.
    Merged(Table),
    /// The newest version has the merged file in place of those it was made of.
    Compacted(Table),
    /// The newest version has no files of the days that expired.
    Retained(Table),
    /// One file was deleted; others may follow.
    Deleted(Table),
}

/// Called at each step: a place for simulations to look on, or to fail the job.
pub type OnJobStep = Arc<dyn Fn(JobStep) -> Result<()> + Send + Sync>;

/// What a job works with.
#[derive(Clone)]
pub struct JobContext {
    /// How fast.
    pub pace: Arc<dyn Pace>,
    /// Called at each step.
    pub on_step: Option<OnJobStep>,
    /// Kept until the last thread has ended, such as the lock of the folder it writes in.
    pub guard: Arc<dyn Any + Send + Sync>,
}

impl JobContext {
    fn step(&self, step: JobStep) -> Result<()> {
        self.on_step
            .as_ref()
            .map_or(Ok(()), |on_step| on_step(step))
    }
}
