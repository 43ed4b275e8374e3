//! The plain records that cross, and what they become on the Rust side.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use otlake_base::disk::real;
use otlake_base::limits::{self as defaults, RecordLimits};
use otlake_base::{Clock, Code, Error, Metrics, Result, Signal};
use otlake_bucket::{Address, Bucket, BucketConfig};
use otlake_catalog::{Retention, RetentionRule};
use otlake_files::{Files, FilesPace};
use otlake_log::Durability;
use otlake_processor::{DeriveConfig, JobConfig, ProcessorConfig};
use otlake_query::QueryConfig;
use otlake_rules::RuleConfig;

use crate::rules::RuleRecord;

use crate::sampling::SamplingRecord;

/// What a store is opened with; TypeScript has validated it and filled in the defaults.
#[napi(object, use_nullable = true)]
pub struct EngineConfig {
    /// The data folder.
    pub data_dir: String,
    /// The tables' folder; null for the one in the data folder.
    pub tables_dir: Option<String>,
    /// The bucket that the tables are in; null for a folder.
    pub store: Option<StoreConfig>,
    /// Whether the nodes of the cluster keep the tables' files on their own disks.
    pub nodes_keep_files: bool,
    /// Whether what the log holds of earlier starts is left to the cluster.
    pub leave_earlier: bool,
    /// `fsync` or `relaxed`.
    pub durability: String,
    /// Bytes of one log segment.
    pub log_segment_bytes: f64,
    /// Bytes of all log segments.
    pub log_max_bytes: f64,
    /// Bytes of live batches and requests in flight.
    pub live_max_bytes: f64,
    /// Live bytes of a signal that start a flush.
    pub dedupe_window_ms: f64,
    pub dedupe_requests: f64,
    pub flush_bytes: f64,
    /// Live rows of a signal that start a flush.
    pub flush_rows: f64,
    /// Age of the oldest live batch that starts a flush, in milliseconds.
    pub flush_interval_ms: f64,
    /// Rows of a Parquet row group.
    pub row_group_rows: f64,
    /// Level of zstd in Parquet files.
    pub zstd_level: i32,
    /// Bytes of a file that is not merged any more.
    pub compact_target_bytes: f64,
    /// Bytes of files that one run of compaction merges.
    pub compact_run_bytes: f64,
    /// Bytes that a job may hold in memory.
    pub job_memory_bytes: f64,
    /// Bytes that a job reads and writes in a second.
    pub job_bytes_per_second: f64,
    /// How long a removed file stays on disk, in milliseconds.
    pub vacuum_after_ms: f64,
    /// How long rows are kept.
    pub retention: Vec<RetentionRuleRecord>,
    /// What is derived of spans.
    pub derive: DeriveRecord,
    /// Which traces are written to files.
    pub sampling: SamplingRecord,
    /// What rows go through on their way in, in order.
    pub rules: Vec<RuleRecord>,
    /// Attributes of one record, event, link, exemplar, resource or scope.
    pub record_max_attributes: f64,
    /// Bytes of an attribute's key.
    pub record_max_attribute_key_bytes: f64,
    /// Bytes of a text or bytes within an attribute's value.
    pub record_max_attribute_value_bytes: f64,
    /// Arrays and maps within each other.
    pub record_max_value_depth: f64,
    /// Events of one span.
    pub record_max_events: f64,
    /// Links of one span.
    pub record_max_links: f64,
    /// Memory of all queries, in bytes.
    pub query_memory_bytes: f64,
    /// Rows a query may return.
    pub query_max_rows: f64,
    /// Time a query may take, in milliseconds.
    pub query_timeout_ms: f64,
    /// Queries at once.
    pub query_concurrency: f64,
    /// Queries that wait for others to end.
    pub query_queue: f64,
    /// How long each waits, in milliseconds.
    pub query_queue_ms: f64,
    /// Bytes of files to scan from which on a query is shared among nodes; 0: every one that scans any.
    pub query_distribute_bytes: f64,
    /// Filters of trace ids that are kept in memory, in bytes.
    pub query_trace_filters_bytes: f64,
    /// Threads of the engine's runtime.
    pub worker_threads: u32,
}

/// What is derived of spans.
#[napi(object, use_nullable = true)]
pub struct DeriveRecord {
    /// Whether calls, errors and durations are.
    pub span_metrics: bool,
    /// Whether edges between services are.
    pub service_graph: bool,
    /// Attributes that become labels.
    pub dimensions: Vec<String>,
    /// Attributes that name whom a client span called.
    pub peer_attributes: Vec<String>,
    /// Bounds of histograms, in seconds.
    pub bounds: Vec<f64>,
    /// What a point covers, in milliseconds.
    pub interval_ms: f64,
    /// Series of one tenant.
    pub max_series: f64,
    /// How long half of an edge waits, in milliseconds.
    pub edge_wait_ms: f64,
    /// Halves of edges that wait.
    pub max_waiting: f64,
}

impl DeriveRecord {
    fn config(&self, log_max_bytes: u64) -> DeriveConfig {
        DeriveConfig {
            span_metrics: self.span_metrics,
            service_graph: self.service_graph,
            dimensions: self.dimensions.clone(),
            peer_attributes: self.peer_attributes.clone(),
            bounds: self.bounds.clone(),
            interval_ms: self.interval_ms as u64,
            max_series: self.max_series as usize,
            edge_wait_ms: self.edge_wait_ms as u64,
            max_waiting: self.max_waiting as usize,
            max_kept_bytes: otlake_processor::kept_of(log_max_bytes),
        }
    }
}

impl EngineConfig {
    /// The storage's part.
    ///
    /// # Errors
    /// `CONFIG_INVALID` for an unknown durability, or an incomplete policy of sampling.
    pub fn processor(&self) -> Result<ProcessorConfig> {
        let durability = match self.durability.as_str() {
            "fsync" => Durability::Fsync,
            "relaxed" => Durability::Relaxed,
            other => {
                return Err(Error::new(
                    Code::ConfigInvalid,
                    format!("durability: `{other}` is neither `fsync` nor `relaxed`"),
                ));
            }
        };
        Ok(ProcessorConfig {
            tables_dir: self.tables_dir.as_ref().map(PathBuf::from),
            leave_earlier: self.leave_earlier,
            durability,
            log_segment_bytes: self.log_segment_bytes as u64,
            log_max_bytes: self.log_max_bytes as u64,
            live_max_bytes: self.live_max_bytes as usize,
            dedupe_window_ms: self.dedupe_window_ms as u64,
            dedupe_requests: self.dedupe_requests as usize,
            flush_bytes: self.flush_bytes as usize,
            flush_rows: self.flush_rows as usize,
            flush_interval_ms: self.flush_interval_ms as u64,
            row_group_rows: self.row_group_rows as usize,
            zstd_level: self.zstd_level,
            jobs: JobConfig {
                target_bytes: self.compact_target_bytes as u64,
                run_bytes: self.compact_run_bytes as u64,
                memory_bytes: self.job_memory_bytes as usize,
                bytes_per_second: self.job_bytes_per_second as u64,
                vacuum_after_ms: self.vacuum_after_ms as u64,
                retention: Retention(
                    self.retention
                        .iter()
                        .map(RetentionRuleRecord::rule)
                        .collect::<Result<_>>()?,
                ),
            },
            derive: self.derive.config(self.log_max_bytes as u64),
            sample: self.sampling.config()?,
            record_limits: RecordLimits {
                attributes: self.record_max_attributes as usize,
                attribute_key_bytes: self.record_max_attribute_key_bytes as usize,
                attribute_value_bytes: self.record_max_attribute_value_bytes as usize,
                value_depth: self.record_max_value_depth as usize,
                events: self.record_max_events as usize,
                links: self.record_max_links as usize,
            },
            ..ProcessorConfig::new(&self.data_dir)
        })
    }

    /// The rules that rows go through.
    ///
    /// # Errors
    /// `CONFIG_INVALID`.
    pub fn rules(&self) -> Result<Vec<RuleConfig>> {
        self.rules.iter().map(RuleRecord::rule).collect()
    }

    /// The queries' part.
    pub fn query(&self) -> QueryConfig {
        QueryConfig {
            memory_bytes: self.query_memory_bytes as usize,
            max_rows: self.query_max_rows as usize,
            timeout_ms: self.query_timeout_ms as u64,
            concurrency: self.query_concurrency as usize,
            queue: self.query_queue as usize,
            queue_ms: self.query_queue_ms as u64,
            temp_dir: PathBuf::from(&self.data_dir).join("tmp"),
            partitions: self.worker_threads.max(1) as usize,
            distribute_bytes: self.query_distribute_bytes as u64,
            trace_filters_bytes: self.query_trace_filters_bytes as usize,
        }
    }
}

/// A bucket of an S3-compatible store. Null leaves it to the AWS variables of the environment.
#[napi(object, use_nullable = true)]
pub struct StoreConfig {
    /// `s3://bucket/prefix`.
    pub url: String,
    /// The store's URL.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// Whether the store may be reached without TLS.
    pub allow_http: bool,
    /// An access key's id.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<String>,
}

impl StoreConfig {
    /// The bucket, for a node with this data folder; nothing is asked of the store.
    ///
    /// # Errors
    /// `CONFIG_INVALID`.
    pub fn open(
        &self,
        data_dir: &str,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Bucket> {
        let keys = self
            .access_key_id
            .clone()
            .zip(self.secret_access_key.clone());
        let config = BucketConfig {
            address: Address::parse(&self.url)?,
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            allow_http: self.allow_http,
            keys,
        };
        Bucket::open(&config, Path::new(data_dir), clock, metrics)
    }
}

/// The bucket that the tables are in, looked at; none where they are in a folder.
///
/// # Errors
/// `CONFIG_INVALID`, `BUCKET_UNUSABLE`, `TABLE_IO`.
pub async fn bucket(
    config: &EngineConfig,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<Option<Bucket>> {
    let Some(store) = &config.store else {
        return Ok(None);
    };
    let bucket = store.open(&config.data_dir, clock, metrics)?;
    let probed = tokio::task::spawn_blocking(move || bucket.probe().map(|()| bucket));
    let bucket = probed
        .await
        .map_err(|error| Error::new(Code::Internal, error))??;
    Ok(Some(bucket))
}

/// The tables' files on the nodes' own disks; none where they are elsewhere.
///
/// # Errors
/// `CONFIG_INVALID` where the data folder holds tables that would not be seen; `NODE_DIRECTORY_…`.
pub async fn files(
    config: &EngineConfig,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<Option<Arc<Files>>> {
    let data_dir = PathBuf::from(&config.data_dir);
    let is_wanted = config.nodes_keep_files;
    let opened = tokio::task::spawn_blocking(move || {
        if is_wanted {
            let pace = FilesPace::default();
            return Files::open(real(), &data_dir, pace, clock, metrics).map(Some);
        }
        if Files::are_in(&*real(), &data_dir) {
            let what = format!(
                "{} holds files of a cluster whose nodes keep the tables on their own disks: start \
                 the node with --join and without --tables, or with another --data-dir",
                data_dir.display()
            );
            return Err(Error::new(Code::ConfigInvalid, what));
        }
        Ok(None)
    });
    opened
        .await
        .map_err(|error| Error::new(Code::Internal, error))?
}

/// For how long some rows are kept.
#[napi(object, js_name = "RetentionRule", use_nullable = true)]
pub struct RetentionRuleRecord {
    /// Whose rows; null for every tenant's.
    pub tenant: Option<String>,
    /// Which signal's; null for every one's.
    pub signal: Option<String>,
    /// For how many days; null for ever.
    pub days: Option<u32>,
}

impl RetentionRuleRecord {
    fn rule(&self) -> Result<RetentionRule> {
        let signal = self.signal.as_deref().map(|name| {
            Signal::from_name(name).ok_or_else(|| {
                let message = format!("retention: `{name}` is not traces, metrics or logs");
                Error::new(Code::ConfigInvalid, message)
            })
        });
        Ok(RetentionRule {
            tenant: self.tenant.clone(),
            signal: signal.transpose()?,
            days: self.days,
        })
    }
}

/// A bearer token's SHA-256, in hexadecimal, and the tenant it stands for.
#[napi(object, use_nullable = true)]
pub struct Token {
    /// 64 hexadecimal digits.
    pub sha256: String,
    /// The tenant.
    pub tenant: String,
}

impl Token {
    /// The digest's bytes and the tenant.
    ///
    /// # Errors
    /// `CONFIG_INVALID` where it is not 64 hexadecimal digits.
    pub fn digest(&self) -> Result<[u8; 32]> {
        let bad = || {
            Error::new(
                Code::ConfigInvalid,
                "tokens: a SHA-256 is 64 hexadecimal digits",
            )
        };
        if self.sha256.len() != 64 || !self.sha256.is_ascii() {
            return Err(bad());
        }
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&self.sha256[2 * index..2 * index + 2], 16)
                .map_err(|_| bad())?;
        }
        Ok(digest)
    }
}

/// How the OTLP servers listen, and what they take.
#[napi(object, use_nullable = true)]
pub struct ReceiverConfig {
    /// `IP:PORT`, or null for none.
    pub grpc: Option<String>,
    /// `IP:PORT`, or null for none.
    pub http: Option<String>,
    /// Bytes of one request after decompression.
    pub max_request_bytes: f64,
    /// Bytes of all requests being received.
    pub max_in_flight_bytes: f64,
    /// Origins a browser may send from; `*` for any.
    pub cors_origins: Vec<String>,
    /// Who may send; empty for anyone.
    pub tokens: Vec<Token>,
    /// What a refused client is told to wait, in milliseconds.
    pub retry_after_ms: f64,
}

/// How the Flight SQL server listens.
#[napi(object, use_nullable = true)]
pub struct FlightConfig {
    /// `IP:PORT`.
    pub address: String,
    /// Who may ask; empty for anyone.
    pub tokens: Vec<Token>,
}

/// Parses `IP:PORT`.
///
/// # Errors
/// `CONFIG_INVALID`.
pub fn address(text: &str) -> Result<SocketAddr> {
    SocketAddr::from_str(text)
        .map_err(|_| Error::new(Code::ConfigInvalid, format!("`{text}` is not IP:PORT")))
}

/// What became of a request.
#[napi(object, use_nullable = true)]
pub struct IngestResult {
    /// Records that are durable.
    pub accepted: f64,
    /// Records that were refused.
    pub rejected: f64,
    /// The first refusal, or null.
    pub message: Option<String>,
    /// The session token that covers it; null where nothing was stored.
    pub session: Option<String>,
}

/// A statement and how to answer it. Null leaves a limit at the configuration's.
#[napi(object, use_nullable = true)]
pub struct QueryRequest {
    /// What the client calls it, to ask how far it is; null where it does not.
    pub id: Option<String>,
    /// The statement.
    pub sql: String,
    /// A JSON array: the values of $1, $2, …
    pub parameters: String,
    /// `json`, `ndjson`, `csv`, `arrow` or `parquet`.
    pub format: String,
    /// `strong`, `session` or `eventual`.
    pub consistency: Option<String>,
    /// The session token.
    pub session: Option<String>,
    /// Whether an answer may lack the rows of nodes that do not answer; null means no.
    pub partial: Option<bool>,
    /// The tenant whose rows are seen; null for every tenant's.
    pub tenant: Option<String>,
    /// Rows.
    pub max_rows: Option<f64>,
    /// Milliseconds.
    pub timeout_ms: Option<f64>,
    /// Bytes.
    pub memory_bytes: Option<f64>,
}

/// A trace by its id, and how it is answered.
#[napi(object, use_nullable = true)]
pub struct TraceRequest {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// The tenant whose spans are seen; null for every tenant's.
    pub tenant: Option<String>,
    /// `strong`, `session` or `eventual`.
    pub consistency: Option<String>,
    /// The session token.
    pub session: Option<String>,
    /// `json`, `protobuf` or `jaeger`.
    pub encoding: String,
    /// Nanoseconds since 1970, first and last: files without a span that began within them are left
    /// out. Null leaves a side open.
    pub start_ns: Option<BigInt>,
    /// The last.
    pub end_ns: Option<BigInt>,
    /// Whether an answer may lack the spans of nodes that do not answer; null means no.
    pub partial: Option<bool>,
}

/// What to follow.
#[napi(object, use_nullable = true)]
pub struct TailRequest {
    /// The table.
    pub table: String,
    /// The tenant whose rows are seen; null for every tenant's.
    pub tenant: Option<String>,
    /// Rows of this service alone; null for all.
    pub service: Option<String>,
}

/// What a run of a job did.
#[napi(object, use_nullable = true)]
pub struct JobReport {
    /// `compact`, `retain` or `vacuum`.
    pub job: String,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// Every table.
    pub tables: Vec<TableWork>,
    /// Whether it left work that another run can go on with at once.
    pub more: bool,
}

/// What it did to one table.
#[napi(object, use_nullable = true)]
pub struct TableWork {
    /// The table.
    pub table: String,
    /// Files that left the newest version, or, by vacuum, the disk.
    pub files_in: f64,
    /// Bytes of them.
    pub bytes_in: f64,
    /// Files that came in their place.
    pub files_out: f64,
    /// Bytes of them.
    pub bytes_out: f64,
    /// Equal spans that were left out.
    pub duplicates: f64,
    /// Rows whose time is over.
    pub rows_expired: f64,
    /// Files of the table's log that were deleted.
    pub log_files: f64,
}

impl From<otlake_processor::JobReport> for JobReport {
    fn from(report: otlake_processor::JobReport) -> Self {
        let tables = report.tables.iter().map(|(table, work)| TableWork {
            table: table.name().to_owned(),
            files_in: work.files_in as f64,
            bytes_in: work.bytes_in as f64,
            files_out: work.files_out as f64,
            bytes_out: work.bytes_out as f64,
            duplicates: work.duplicates as f64,
            rows_expired: work.rows_expired as f64,
            log_files: work.log_files as f64,
        });
        Self {
            job: report.job.name().to_owned(),
            duration_ms: report.duration.as_secs_f64() * 1_000.0,
            tables: tables.collect(),
            more: report.more,
        }
    }
}

/// A query that has come and not ended.
#[napi(object, use_nullable = true)]
pub struct RunningQuery {
    /// What the client calls it.
    pub id: Option<String>,
    /// As queries are counted: `sql`, `flight`, `trace`, `traceql_search`, ….
    pub kind: String,
    /// The tenant whose rows it sees; null for every tenant's.
    pub tenant: Option<String>,
    /// `waiting`, `planning`, `reading` or `shared`.
    pub state: String,
    /// Milliseconds since it came.
    pub elapsed_ms: f64,
    /// Rows that the plan at work has read or skipped.
    pub rows_read: f64,
    /// Rows that it has to read or skip.
    pub rows_to_read: f64,
    /// How much of everything is read, 0 to 1; null where that is not known.
    pub share: Option<f64>,
}

impl From<otlake_query::RunningQuery> for RunningQuery {
    fn from(query: otlake_query::RunningQuery) -> Self {
        Self {
            id: query.id,
            kind: query.kind.to_owned(),
            tenant: query.tenant,
            state: query.state.name().to_owned(),
            elapsed_ms: query.elapsed.as_secs_f64() * 1_000.0,
            rows_read: query.rows_read as f64,
            rows_to_read: query.rows_to_read as f64,
            share: query.share,
        }
    }
}

/// What the store holds.
#[napi(object, use_nullable = true)]
pub struct Stats {
    /// The stream this process writes.
    pub stream: String,
    /// The last durable sequence of the stream.
    pub last_durable: BigInt,
    /// Bytes of live batches.
    pub live_bytes: f64,
    /// Rows of live batches.
    pub live_rows: f64,
    /// Bytes of log segments.
    pub log_bytes: f64,
    /// Log segments.
    pub log_segments: f64,
    /// Files of all tables.
    pub files: f64,
    /// Their bytes.
    pub file_bytes: f64,
    /// Their rows.
    pub file_rows: f64,
}

/// One row of the table of errors.
#[napi(object, use_nullable = true)]
pub struct ErrorInfo {
    /// `ROOM_CONDITION`.
    pub code: String,
    /// What a caller can do about it.
    pub kind: String,
    /// The sentence that names the fix.
    pub fix: String,
}

/// Every error.
pub fn error_table() -> Vec<ErrorInfo> {
    Code::ALL
        .iter()
        .map(|code| ErrorInfo {
            code: code.as_str().to_owned(),
            kind: code.kind().name().to_owned(),
            fix: code.fix().to_owned(),
        })
        .collect()
}

/// The defaults of every limit a user can set, by the name `EngineConfig` and
/// `ReceiverConfig` give it.
pub fn limits() -> HashMap<String, f64> {
    let all: [(&str, u64); 37] = [
        ("maxRequestBytes", defaults::MAX_REQUEST_BYTES as u64),
        ("logSegmentBytes", defaults::LOG_SEGMENT_BYTES),
        ("logMaxBytes", defaults::LOG_MAX_BYTES),
        ("liveMaxBytes", defaults::LIVE_MAX_BYTES as u64),
        ("dedupeWindowMs", defaults::DEDUPE_WINDOW_MS),
        ("dedupeRequests", defaults::DEDUPE_REQUESTS as u64),
        ("flushBytes", defaults::FLUSH_BYTES as u64),
        ("flushRows", defaults::FLUSH_ROWS as u64),
        ("flushIntervalMs", defaults::FLUSH_INTERVAL_MS),
        ("deriveIntervalMs", defaults::DERIVE_INTERVAL_MS),
        ("deriveMaxSeries", defaults::DERIVE_MAX_SERIES as u64),
        ("deriveEdgeWaitMs", defaults::DERIVE_EDGE_WAIT_MS),
        ("deriveMaxWaiting", defaults::DERIVE_MAX_WAITING as u64),
        (
            "deriveMaxDimensions",
            defaults::DERIVE_MAX_DIMENSIONS as u64,
        ),
        ("deriveMaxBounds", defaults::DERIVE_MAX_BOUNDS as u64),
        (
            "samplingDecisionWaitMs",
            defaults::SAMPLING_DECISION_WAIT_MS,
        ),
        (
            "samplingMaxDecisions",
            defaults::SAMPLING_MAX_DECISIONS as u64,
        ),
        ("compactTargetBytes", defaults::COMPACT_TARGET_BYTES),
        ("compactRunBytes", defaults::COMPACT_RUN_BYTES),
        ("jobMemoryBytes", defaults::JOB_MEMORY_BYTES as u64),
        ("jobBytesPerSecond", defaults::JOB_BYTES_PER_SECOND),
        ("vacuumAfterMs", defaults::VACUUM_AFTER_MS),
        ("rowGroupRows", defaults::ROW_GROUP_ROWS as u64),
        ("recordMaxAttributes", defaults::MAX_ATTRIBUTES as u64),
        (
            "recordMaxAttributeKeyBytes",
            defaults::MAX_ATTRIBUTE_KEY_BYTES as u64,
        ),
        (
            "recordMaxAttributeValueBytes",
            defaults::MAX_ATTRIBUTE_VALUE_BYTES as u64,
        ),
        ("recordMaxValueDepth", defaults::MAX_VALUE_DEPTH as u64),
        ("recordMaxEvents", defaults::MAX_EVENTS as u64),
        ("recordMaxLinks", defaults::MAX_LINKS as u64),
        ("queryMaxRows", defaults::QUERY_MAX_ROWS as u64),
        ("queryMemoryBytes", defaults::QUERY_MEMORY_BYTES as u64),
        ("queryTimeoutMs", defaults::QUERY_TIMEOUT_MS),
        ("queryConcurrency", defaults::QUERY_CONCURRENCY as u64),
        ("queryQueue", defaults::QUERY_QUEUE as u64),
        ("queryQueueMs", defaults::QUERY_QUEUE_MS),
        ("queryDistributeBytes", defaults::QUERY_DISTRIBUTE_BYTES),
        (
            "queryTraceFiltersBytes",
            defaults::TRACE_FILTERS_BYTES as u64,
        ),
    ];
    all.into_iter()
        .map(|(name, value)| (name.to_owned(), value as f64))
        .collect()
}
