//! What the regular jobs count (docs/jobs.md).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::Table;
use crate::metrics::{Labels, by_table};

/// The names of the jobs.
pub const JOBS: [&str; 3] = ["compact", "retain", "vacuum"];
/// How a run ends: done, with an error, or given up because the node stops.
pub const OUTCOMES: [&str; 3] = ["ok", "failed", "stopped"];
/// Seconds, from 10 ms to 22 minutes, each bound three times or so the one before.
const SECONDS: [f64; 12] = [
    0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 600.0, 1_320.0,
];

/// A counter for each table.
pub type ByTable = Family<Labels, Counter>;

/// Every figure of the jobs. Each field is a handle.
pub struct JobMetrics {
    /// Runs that ended, by `job` and `outcome`.
    pub runs: Family<Labels, Counter>,
    /// Seconds of a run, by `job`.
    pub seconds: Family<Labels, Histogram, fn() -> Histogram>,
    /// Whether the job runs now, by `job`: 0 or 1.
    pub running: Family<Labels, Gauge>,
    /// Files that compaction merged, by `table`.
    pub compacted_files_in: ByTable,
    /// Files that it made of them, by `table`.
    pub compacted_files_out: ByTable,
    /// Bytes of the files that it merged, by `table`.
    pub compacted_bytes_in: ByTable,
    /// Bytes of the files that it made of them, by `table`.
    pub compacted_bytes_out: ByTable,
    /// Equal spans that it left out, by `table` (I3).
    pub duplicates_removed: ByTable,
    /// Rows that retention removed from the newest version, by `table`.
    pub rows_expired: ByTable,
    /// Files that retention removed from the newest version, by `table`.
    pub files_expired: ByTable,
    /// Data files that vacuum deleted from disk, by `table`.
    pub vacuumed_files: ByTable,
    /// Bytes of them, by `table`.
    pub vacuumed_bytes: ByTable,
    /// Files of a table's log that vacuum deleted, by `table`.
    pub vacuumed_log_files: ByTable,
}

impl JobMetrics {
    /// Registers all, at zero.
    pub(crate) fn new(registry: &mut Registry) -> JobMetrics {
        let runs = Family::<Labels, Counter>::default();
        registry.register(
            "job_runs",
            "Runs of a job, by job and outcome",
            runs.clone(),
        );
        let make: fn() -> Histogram = || Histogram::new(SECONDS);
        let seconds = Family::new_with_constructor(make);
        registry.register_with_unit(
            "job_duration",
            "From a job's start to its end",
            Unit::Seconds,
            seconds.clone(),
        );
        let running = Family::<Labels, Gauge>::default();
        registry.register(
            "job_running",
            "Whether the job runs now: 0 or 1",
            running.clone(),
        );
        for job in JOBS {
            for outcome in OUTCOMES {
                drop(runs.get_or_create(&vec![("job", job), ("outcome", outcome)]));
            }
            drop(running.get_or_create(&vec![("job", job)]));
        }
        let mut by_tables = |name: &str, help: &str, unit: Option<Unit>| -> ByTable {
            let family = ByTable::default();
            match unit {
                None => registry.register(name, help, family.clone()),
                Some(unit) => registry.register_with_unit(name, help, unit, family.clone()),
            }
            for table in Table::ALL {
                drop(family.get_or_create(&by_table(table)));
            }
            family
        };
        JobMetrics {
            runs,
            seconds,
            running,
            compacted_files_in: by_tables("compacted_files_in", "Files that were merged", None),
            compacted_files_out: by_tables(
                "compacted_files_out",
                "Files made by merging others",
                None,
            ),
            compacted_bytes_in: by_tables(
                "compacted_in",
                "Bytes of files that were merged",
                Some(Unit::Bytes),
            ),
            compacted_bytes_out: by_tables(
                "compacted_out",
                "Bytes of files made by merging others",
                Some(Unit::Bytes),
            ),
            duplicates_removed: by_tables(
                "duplicates_removed",
                "Equal spans left out by merging (I3)",
                None,
            ),
            rows_expired: by_tables("rows_expired", "Rows removed by retention", None),
            files_expired: by_tables("files_expired", "Files removed by retention", None),
            vacuumed_files: by_tables("vacuumed_files", "Data files deleted from disk", None),
            vacuumed_bytes: by_tables(
                "vacuumed",
                "Bytes of data files deleted from disk",
                Some(Unit::Bytes),
            ),
            vacuumed_log_files: by_tables(
                "vacuumed_log_files",
                "Files of tables' logs deleted from disk",
                None,
            ),
        }
    }
}
