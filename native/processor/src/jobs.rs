//! The regular jobs over every table, one run at a time (docs/jobs.md).
//!
//! A run ends early when the node stops, which loses nothing: each step is a commit of its own,
//! and the next run goes on. A table that fails does not keep the others from their turn.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::job_metrics::{ByTable, JobMetrics};
use otlake_base::lease::JOBS_LEASE;
use otlake_base::metrics::by_table;
use otlake_base::{Code, Error, Lease, Leases, Result, Table, limits};
use otlake_catalog::{
    CompactLimits, Compacted, JobContext, OnJobStep, Retained, Retention, Throttle, Vacuumed,
};
use otlake_shard::WriteOptions;
use tokio::sync::Mutex;

use crate::Processor;

/// What can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Merges small files and leaves out equal spans.
    Compact,
    /// Removes days that are past their time.
    Retain,
    /// Deletes from disk what no version names any more.
    Vacuum,
}

impl Job {
    /// Every job.
    pub const ALL: [Job; 3] = [Job::Compact, Job::Retain, Job::Vacuum];

    /// The name, as users and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Job::Compact => "compact",
            Job::Retain => "retain",
            Job::Vacuum => "vacuum",
        }
    }

    /// The job of a name.
    ///
    /// # Errors
    /// `JOB_UNKNOWN`.
    pub fn from_name(name: &str) -> Result<Job> {
        let named = Job::ALL.into_iter().find(|job| job.name() == name);
        named.ok_or_else(|| Error::new(Code::JobUnknown, format!("there is no job `{name}`")))
    }
}

/// How the jobs work.
#[derive(Clone, Debug)]
pub struct JobConfig {
    /// A file of this many bytes is not merged any more.
    pub target_bytes: u64,
    /// Bytes of files that one run merges, over all tables.
    pub run_bytes: u64,
    /// Bytes that a merge may hold in memory.
    pub memory_bytes: usize,
    /// Bytes that a job reads and writes in a second, at most.
    pub bytes_per_second: u64,
    /// How long a file stays on disk after it was removed from its table, in milliseconds.
    pub vacuum_after_ms: u64,
    /// How long rows are kept.
    pub retention: Retention,
}

impl Default for JobConfig {
    fn default() -> Self {
        Self {
            target_bytes: limits::COMPACT_TARGET_BYTES,
            run_bytes: limits::COMPACT_RUN_BYTES,
            memory_bytes: limits::JOB_MEMORY_BYTES,
            bytes_per_second: limits::JOB_BYTES_PER_SECOND,
            vacuum_after_ms: limits::VACUUM_AFTER_MS,
            retention: Retention::default(),
        }
    }
}

/// What a run did to one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableWork {
    /// Files that left the newest version, or, by vacuum, the disk.
    pub files_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Files that came in their place.
    pub files_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Equal spans that were left out.
    pub duplicates: u64,
    /// Rows whose time is over.
    pub rows_expired: u64,
    /// Files of the table's log that were deleted.
    pub log_files: u64,
}

impl TableWork {
    fn merged(&mut self, compacted: &Compacted) {
        self.files_in += compacted.files;
        self.bytes_in += compacted.bytes_before;
        self.files_out += u64::from(compacted.files > 0);
        self.bytes_out += compacted.bytes_after;
        self.duplicates += compacted.duplicates;
    }
}

impl From<Retained> for TableWork {
    fn from(retained: Retained) -> Self {
        Self {
            files_in: retained.files,
            bytes_in: retained.bytes,
            rows_expired: retained.rows,
            ..Self::default()
        }
    }
}

impl From<Vacuumed> for TableWork {
    fn from(vacuumed: Vacuumed) -> Self {
        Self {
            files_in: vacuumed.files,
            bytes_in: vacuumed.bytes,
            log_files: vacuumed.log_files,
            ..Self::default()
        }
    }
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct JobReport {
    /// Which job.
    pub job: Job,
    /// How long it took.
    pub duration: Duration,
    /// Each table, in the order of [`Table::ALL`].
    pub tables: Vec<(Table, TableWork)>,
    /// Whether it left work that another run can go on with at once.
    pub more: bool,
}

/// Kept as long as a thread of a job works in the folder.
type Guard = Arc<dyn Any + Send + Sync>;

/// What runs jobs.
pub(crate) struct Jobs {
    config: JobConfig,
    write: WriteOptions,
    pace: Arc<Throttle>,
    leases: Option<Arc<dyn Leases>>,
    /// Held by a run, while others wait for their turn: what keeps the folder locked, and nothing
    /// once the jobs have ended.
    turn: Mutex<Option<Guard>>,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.pace.stop();
    }
}

impl Jobs {
    pub(crate) fn new(
        config: JobConfig,
        write: WriteOptions,
        pace: Arc<Throttle>,
        leases: Option<Arc<dyn Leases>>,
        guard: Guard,
    ) -> Jobs {
        Jobs {
            config,
            write,
            pace,
            leases,
            turn: Mutex::new(Some(guard)),
        }
    }

    /// Whether this node runs the jobs, of those that share its tables.
    ///
    /// # Errors
    /// `JOB_ELSEWHERE` where another does; what keeps it from being told.
    async fn may_run(&self) -> Result<()> {
        let Some(leases) = &self.leases else {
            return Ok(());
        };
        match leases.hold(JOBS_LEASE).await? {
            Lease::Own { .. } => Ok(()),
            Lease::Other(node) => {
                let message = format!("the node `{node}` runs the jobs");
                Err(Error::new(Code::JobElsewhere, message))
            }
        }
    }

    /// Ends the run at work and refuses others.
    pub(crate) fn stop(&self) {
        self.pace.stop();
    }

    /// Ends the jobs for good; resolves when no run is at work and the folder is let go.
    pub(crate) async fn close(&self) {
        self.stop();
        self.turn.lock().await.take();
    }
}

impl Processor {
    /// Runs a job over every table, after those that were asked for before.
    ///
    /// # Errors
    /// The first table's, after all had their turn: `TABLE_IO`, `TABLE_CONFLICT`,
    /// `TABLE_CORRUPT`. `JOB_STOPPED` once the node stops; what was committed before stays.
    /// `JOB_ELSEWHERE` where another node has the lease of the jobs.
    pub async fn run_job(&self, job: Job) -> Result<JobReport> {
        self.run_job_observed(job, None).await
    }

    /// As [`Processor::run_job`], with `on_step` called at each step.
    ///
    /// # Errors
    /// As [`Processor::run_job`].
    pub async fn run_job_observed(
        &self,
        job: Job,
        on_step: Option<OnJobStep>,
    ) -> Result<JobReport> {
        let turn = self.jobs.turn.lock().await;
        let guard = turn.as_ref().filter(|_| !self.jobs.pace.stopped());
        let guard = guard.ok_or_else(|| Error::new(Code::JobStopped, "the node is stopping"))?;
        self.jobs.may_run().await?;
        let metrics = &self.metrics.jobs;
        let started = self.clock.monotonic();
        let running = metrics
            .running
            .get_or_create(&vec![("job", job.name())])
            .clone();
        running.set(1);
        let context = JobContext {
            pace: Arc::clone(&self.jobs.pace) as _,
            on_step,
            guard: Arc::clone(guard),
        };
        let mut tables: Vec<(Table, TableWork)> =
            Table::ALL.map(|table| (table, TableWork::default())).into();
        let outcome = match job {
            Job::Compact => self.compact(&mut tables, &context).await,
            Job::Retain | Job::Vacuum => {
                let done = self.each_table(job, &mut tables, &context).await;
                done.map(|()| false)
            }
        };
        running.set(0);
        let duration = self.clock.monotonic().saturating_sub(started);
        let ended = match &outcome {
            Ok(_) => "ok",
            Err(error) if error.code == Code::JobStopped => "stopped",
            Err(_) => "failed",
        };
        let labels = vec![("job", job.name()), ("outcome", ended)];
        metrics.runs.get_or_create(&labels).inc();
        let seconds = metrics.seconds.get_or_create(&vec![("job", job.name())]);
        seconds.observe(duration.as_secs_f64());
        let more = outcome?;
        Ok(JobReport {
            job,
            duration,
            tables,
            more,
        })
    }

    /// A merge of each table, then another, until nothing is left or the run has done its part; whether
    /// something may be left.
    async fn compact(
        &self,
        tables: &mut [(Table, TableWork)],
        context: &JobContext,
    ) -> Result<bool> {
        let config = &self.jobs.config;
        let limits = CompactLimits {
            target_bytes: config.target_bytes,
            memory_bytes: config.memory_bytes,
            ..CompactLimits::default()
        };
        // The files of the run's start. Those that are flushed meanwhile are the next run's, or
        // under load this one would not end.
        let mut candidates: Vec<HashSet<String>> = tables
            .iter()
            .map(|(table, _)| {
                let snapshot = self.tables.handle(*table).snapshot();
                let paths = snapshot.files.iter().map(|file| file.path.clone());
                paths.collect()
            })
            .collect();
        let mut first_failure = Ok(());
        let mut left: Vec<usize> = (0..tables.len()).collect();
        let mut bytes = 0;
        while !left.is_empty() && bytes < config.run_bytes {
            let mut again = Vec::new();
            for index in left {
                let (table, work) = &mut tables[index];
                let handle = self.tables.handle(*table);
                let write = &self.jobs.write;
                let merged = handle
                    .compact(&limits, write, &mut candidates[index], context)
                    .await;
                match merged {
                    Ok(None) => {}
                    Ok(Some(compacted)) => {
                        bytes += compacted.bytes_before;
                        work.merged(&compacted);
                        count_merge(&self.metrics.jobs, *table, &compacted);
                        again.push(index);
                    }
                    Err(error) => keep_first(&mut first_failure, *table, error)?,
                }
            }
            left = again;
        }
        first_failure.map(|()| !left.is_empty())
    }

    async fn each_table(
        &self,
        job: Job,
        tables: &mut [(Table, TableWork)],
        context: &JobContext,
    ) -> Result<()> {
        let config = &self.jobs.config;
        let metrics = &self.metrics.jobs;
        let mut first_failure = Ok(());
        for (table, work) in tables {
            let (handle, labels) = (self.tables.handle(*table), by_table(*table));
            let done = if job == Job::Retain {
                let retained = handle.retain(&config.retention, context).await;
                retained.map(|retained| {
                    metrics
                        .rows_expired
                        .get_or_create(&labels)
                        .inc_by(retained.rows);
                    metrics
                        .files_expired
                        .get_or_create(&labels)
                        .inc_by(retained.files);
                    TableWork::from(retained)
                })
            } else {
                let after = Duration::from_millis(config.vacuum_after_ms);
                let vacuumed = handle.vacuum(after, context).await;
                vacuumed.map(|vacuumed| {
                    metrics
                        .vacuumed_files
                        .get_or_create(&labels)
                        .inc_by(vacuumed.files);
                    metrics
                        .vacuumed_bytes
                        .get_or_create(&labels)
                        .inc_by(vacuumed.bytes);
                    let log_files = metrics.vacuumed_log_files.get_or_create(&labels);
                    log_files.inc_by(vacuumed.log_files);
                    TableWork::from(vacuumed)
                })
            };
            match done {
                Ok(done) => *work = done,
                Err(error) => keep_first(&mut first_failure, *table, error)?,
            }
        }
        first_failure
    }
}

fn count_merge(metrics: &JobMetrics, table: Table, compacted: &Compacted) {
    let labels = by_table(table);
    let of = |family: &ByTable, by: u64| {
        family.get_or_create(&labels).inc_by(by);
    };
    of(&metrics.compacted_files_in, compacted.files);
    of(&metrics.compacted_files_out, u64::from(compacted.files > 0));
    of(&metrics.compacted_bytes_in, compacted.bytes_before);
    of(&metrics.compacted_bytes_out, compacted.bytes_after);
    of(&metrics.duplicates_removed, compacted.duplicates);
}

/// Remembers the first error. A stop is passed on at once.
fn keep_first(first: &mut Result<()>, table: Table, error: Error) -> Result<()> {
    if error.code == Code::JobStopped {
        return Err(error);
    }
    tracing::warn!(
        target: "otlake::jobs", table = table.name(), code = error.code.as_str(),
        "a job failed for this table and goes on with the next: {error}"
    );
    if first.is_ok() {
        *first = Err(error);
    }
    Ok(())
}
