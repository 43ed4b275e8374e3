//! What a node is opened with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::disk::{Disk, real};
use otlake_base::limits::{self, RecordLimits};
use otlake_base::{Leases, RowRules};
use otlake_derive::DeriveConfig;
use otlake_log::Durability;
use otlake_sample::SampleConfig;

use crate::jobs::JobConfig;

/// Every setting of the processor. `new` gives the defaults of `otlake_base::limits`.
#[derive(Clone, Debug)]
pub struct ProcessorConfig {
    /// The folder that holds everything that is this node's own.
    pub data_dir: PathBuf,
    /// The folder of the tables, which other nodes may have too; without one they are in the data
    /// folder, and this node's alone.
    pub tables_dir: Option<PathBuf>,
    /// What an acknowledgement means for the disk.
    pub durability: Durability,
    /// One log segment, in bytes.
    pub log_segment_bytes: u64,
    /// All log segments, in bytes; at it, requests are refused.
    pub log_max_bytes: u64,
    /// Requests in flight and live batches together, in bytes; at it, requests are refused.
    pub live_max_bytes: usize,
    /// How long an identical request is known for a resend, in milliseconds; 0: not at all.
    pub dedupe_window_ms: u64,
    /// Requests of one signal that are known for that.
    pub dedupe_requests: usize,
    /// A signal's live batches are sealed at this many bytes.
    pub flush_bytes: usize,
    /// A signal's live batches are sealed at this many rows.
    pub flush_rows: usize,
    /// A signal's live batches are sealed when the oldest is this old, in milliseconds.
    pub flush_interval_ms: u64,
    /// How long a flush that failed waits for its second attempt.
    pub flush_retry: Duration,
    /// Rows of one Parquet row group.
    pub row_group_rows: usize,
    /// The compression level of files, 1 to 22.
    pub zstd_level: i32,
    /// Where the folder is.
    pub disk: Arc<dyn Disk>,
    /// How the regular jobs work.
    pub jobs: JobConfig,
    /// Which node runs the jobs over shared tables; without it each does, which is safe and is
    /// work done twice.
    pub leases: Option<Arc<dyn Leases>>,
    /// Whether what the log holds of earlier starts is left to a cluster, which knows what other
    /// nodes have done about it.
    pub leave_earlier: bool,
    /// What is derived of spans.
    pub derive: DeriveConfig,
    /// Which traces are written to files.
    pub sample: SampleConfig,
    /// What rows go through before they are kept; without it, all are kept as they come.
    pub rules: Option<Arc<dyn RowRules>>,
    /// What of a record is kept at most.
    pub record_limits: RecordLimits,
}

impl ProcessorConfig {
    /// The defaults, in this folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> ProcessorConfig {
        ProcessorConfig {
            data_dir: data_dir.into(),
            tables_dir: None,
            durability: Durability::Fsync,
            log_segment_bytes: limits::LOG_SEGMENT_BYTES,
            log_max_bytes: limits::LOG_MAX_BYTES,
            live_max_bytes: limits::LIVE_MAX_BYTES,
            dedupe_window_ms: limits::DEDUPE_WINDOW_MS,
            dedupe_requests: limits::DEDUPE_REQUESTS,
            flush_bytes: limits::FLUSH_BYTES,
            flush_rows: limits::FLUSH_ROWS,
            flush_interval_ms: limits::FLUSH_INTERVAL_MS,
            flush_retry: otlake_flush::FIRST_RETRY,
            row_group_rows: limits::ROW_GROUP_ROWS,
            zstd_level: 1,
            disk: real(),
            jobs: JobConfig::default(),
            leases: None,
            leave_earlier: false,
            derive: DeriveConfig::default(),
            sample: SampleConfig::default(),
            rules: None,
            record_limits: RecordLimits::default(),
        }
    }
}
