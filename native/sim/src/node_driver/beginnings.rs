//! What runs begin with: a configuration, and disks on which tables stand already.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use otlake_base::{Code, Error, Metrics, Result, Signal, Table};
use otlake_catalog::{Retention, RetentionRule};
use otlake_processor::{Job, JobConfig, Processor, ProcessorConfig};
use tokio::runtime::Runtime;

use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::load::{DAYS_KEPT, request};

/// The node's folder on the simulated disk. Fixed, because chance goes by names.
pub const FOLDER: &str = "/tmp/otlake-sim";
/// Flushes that each table is old of in half of the runs. Vacuum writes a checkpoint after ten
/// commits, so a flush or two later it does.
pub const OLD_FLUSHES: u64 = 8;
/// The one of them after which their files were merged, and those that were merged are not deleted.
const OLD_COMPACTED: u64 = 5;
/// Numbers of the rows that an old table holds; a run's own begin at 0.
pub const OLD_NUMBERS: u64 = 1_000_000_000;

/// Whether resends are told from new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resends {
    /// However late they come.
    Told,
    /// Never: every one is stored, and compaction leaves spans out that are there twice.
    Stored,
}

/// Disks that runs begin with: making seven tables anew each time would be most of the work.
pub struct Beginnings {
    pub(super) fresh: SimDisk,
    pub(super) old: SimDisk,
}

impl Beginnings {
    /// Makes them.
    ///
    /// # Errors
    /// What a node says that does not open on a disk without faults.
    pub fn new() -> Result<Beginnings> {
        // Delta's library asks the machine itself whether a table's folder is there, and nothing
        // else of it.
        for table in Table::ALL {
            let folder = Path::new(FOLDER).join("tables").join(table.name());
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::new(Code::Internal, format!("{FOLDER}: {error}")))?;
        }
        let fresh = SimDisk::new(1, Arc::new(SimClock::default()));
        let runtime = runtime()?;
        let open = |disk: &SimDisk| {
            let (clock, metrics) = (disk.clock(), Arc::new(Metrics::new()));
            runtime.block_on(Processor::open(
                config(disk, 0, Resends::Told),
                clock,
                metrics,
            ))
        };
        let node = open(&fresh)?;
        runtime.block_on(node.close())?;
        drop(node);
        let old = fresh.copy(2, Arc::new(SimClock::default()));
        let node = open(&old)?;
        for flush in 0..OLD_FLUSHES {
            for signal in Signal::ALL {
                let body = request(signal, OLD_NUMBERS + flush, 1);
                block_on(node.ingest(signal, "default".into(), "library", body))?;
            }
            runtime.block_on(node.flush())?;
            if flush == OLD_COMPACTED {
                runtime.block_on(node.run_job(Job::Compact))?;
            }
        }
        runtime.block_on(node.close())?;
        Ok(Beginnings { fresh, old })
    }
}

pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Code::Internal, error.to_string()))
}

pub fn config(disk: &SimDisk, choice: u64, resends: Resends) -> ProcessorConfig {
    let jobs = JobConfig {
        // A job that waits for time to pass would wait for ever: time moves with the disk.
        bytes_per_second: u64::MAX,
        vacuum_after_ms: 0,
        retention: Retention(vec![RetentionRule {
            tenant: None,
            signal: None,
            days: Some(DAYS_KEPT),
        }]),
        ..JobConfig::default()
    };
    ProcessorConfig {
        // No flush but those that a driver asks for: one beside a job would make the order of
        // operations a matter of threads.
        flush_interval_ms: u64::from(u32::MAX),
        log_segment_bytes: [16_384, 65_536][choice as usize % 2],
        flush_retry: Duration::from_micros(1),
        dedupe_window_ms: match resends {
            Resends::Told => u64::MAX,
            Resends::Stored => 0,
        },
        disk: Arc::new(disk.clone()),
        jobs,
        ..ProcessorConfig::new(FOLDER)
    }
}
