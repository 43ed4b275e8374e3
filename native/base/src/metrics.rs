//! The process's counters, gauges and histograms, in one registry, written as OpenMetrics.
//!
//! Labels are few and their values are bounded: signal, table, reason, outcome.

use prometheus_client::encoding::text::encode;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::bucket_metrics::BucketMetrics;
use crate::derive_metrics::DeriveMetrics;
use crate::file_metrics::FileMetrics;
use crate::invariant::Invariant;
use crate::job_metrics::JobMetrics;
use crate::metadata_metrics::MetadataMetrics;
use crate::peer_metrics::PeerMetrics;
use crate::rule_metrics::RuleMetrics;
use crate::sampling_metrics::SamplingMetrics;
use crate::{Code, Signal, Table};

/// Label names with their values.
pub type Labels = Vec<(&'static str, &'static str)>;

/// Label names with values that only a running cluster knows; there are few at any time.
pub type Names = Vec<(&'static str, String)>;

/// Seconds, from 0.25 ms to 16 s, each bound twice the one before.
const SECONDS: [f64; 17] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024,
    2.048, 4.096, 8.192, 16.384,
];

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

type Seconds = Family<Labels, Histogram, fn() -> Histogram>;

/// Every figure the native module keeps. Cheap to share: each field is a handle.
pub struct Metrics {
    registry: Registry,
    strict: bool,
    /// OTLP requests, by `signal`, `transport` (grpc, http, library) and `outcome` (ok,
    /// partial, invalid, denied, exhausted, unavailable, internal).
    pub requests: Family<Labels, Counter>,
    /// OTLP requests refused whole, by `signal` and `code`.
    pub requests_refused: Family<Labels, Counter>,
    /// Request bytes after decompression, by `signal`.
    pub request_bytes: Family<Labels, Counter>,
    /// Records in well-formed requests, by `signal` (I4).
    pub records_received: Family<Labels, Counter>,
    /// Records acknowledged as durable, by `signal` (I4).
    pub records_acknowledged: Family<Labels, Counter>,
    /// Records refused, by `signal` and `reason` (I4).
    pub records_rejected: Family<Labels, Counter>,
    /// Acknowledged records that an identical earlier request had stored (I3), by `signal`.
    pub records_deduplicated: Family<Labels, Counter>,
    /// Acknowledged records that are not stored as they came, by `signal` and `reason` (I4).
    pub records_changed: Family<Labels, Counter>,
    /// Acknowledged records that are stored as they came and look wrong, by `signal` and
    /// `reason` (I4).
    pub records_flagged: Family<Labels, Counter>,
    /// Seconds from a whole request to its acknowledgement, by `signal`.
    pub ack_seconds: Seconds,
    /// Bytes appended to the log.
    pub log_appended_bytes: Counter,
    /// Group commits.
    pub log_syncs: Counter,
    /// Seconds of one fdatasync.
    pub log_sync_seconds: Histogram,
    /// Bytes of the log's segments on disk.
    pub log_bytes: Gauge,
    /// Segments on disk.
    pub log_segments: Gauge,
    /// Records that a follower has not confirmed, by `follower`; there are few of them.
    pub replica_lag_records: Family<Names, Gauge>,
    /// Bytes of those records, by `follower`.
    pub replica_lag_bytes: Family<Names, Gauge>,
    /// Records that wait for their quorum.
    pub replica_pending: Gauge,
    /// Requests whose quorum was not met in time; each is acknowledged late or refused, by `signal`.
    pub replica_timeouts: Family<Labels, Counter>,
    /// Records that were readable before they had the copies that their tenants ask for, because others
    /// that ask for fewer waited behind them, by `signal`.
    pub replica_overdue: Family<Labels, Counter>,
    /// Requests acknowledged with fewer copies than is set, as was allowed, by `signal`.
    pub replica_degraded: Family<Labels, Counter>,
    /// Times that this node learnt that another has fenced its stream.
    pub replica_fenced: Counter,
    /// Messages of fenced streams that were refused (I9).
    pub replica_fenced_refusals: Counter,
    /// Bytes that followers confirmed after they were sent again.
    pub replica_resent_bytes: Counter,
    /// Bytes that were read back from the log for followers.
    pub replica_catchup_bytes: Counter,
    /// Bytes of records appended to the replica journal.
    pub replica_appended_bytes: Counter,
    /// Seconds of one write and fdatasync of the replica journal.
    pub replica_sync_seconds: Histogram,
    /// Bytes of the replica journal's segments on disk.
    pub replica_bytes: Gauge,
    /// Records of other nodes that the replica journal holds.
    pub replica_records: Gauge,
    /// Records recovered of other nodes' streams, by `signal`.
    pub replica_recovered: Family<Labels, Counter>,
    /// Bytes of memory of the native module, by `state` (allocated, resident).
    pub native_memory: Family<Labels, Gauge>,
    /// Bytes of live batches, by `signal`.
    pub live_bytes: Family<Labels, Gauge>,
    /// Rows of live batches, by `signal`.
    pub live_rows: Family<Labels, Gauge>,
    /// Commits of flushed files, by `table`.
    pub flushes: Family<Labels, Counter>,
    /// Flush attempts that failed and are tried again, by `signal`.
    pub flush_failures: Family<Labels, Counter>,
    /// Rows written to files, by `table`.
    pub flushed_rows: Family<Labels, Counter>,
    /// Parquet bytes written, by `table`.
    pub flushed_bytes: Family<Labels, Counter>,
    /// Seconds from seal to commit, by `signal`.
    pub flush_seconds: Seconds,
    /// Damaged bytes that a read found and did not serve (I6), by `kind` (log, file, commit,
    /// checkpoint, window, replica, replica_message, copy, decisions).
    pub corruption: Family<Labels, Counter>,
    /// Files of the newest snapshot, by `table`.
    pub table_files: Family<Labels, Gauge>,
    /// Bytes of those files, by `table`.
    pub table_bytes: Family<Labels, Gauge>,
    /// Rows of those files, by `table`.
    pub table_rows: Family<Labels, Gauge>,
    /// Checkpoints of a table's log that could not be written, by `table`; the next is tried when
    /// it is due.
    pub checkpoint_failures: Family<Labels, Counter>,
    /// What the object store of the tables is asked.
    pub bucket: BucketMetrics,
    /// What is counted of tables' files on the nodes' own disks.
    pub files: FileMetrics,
    /// What the regular jobs count.
    pub jobs: JobMetrics,
    /// What is counted of derived series.
    pub derive: DeriveMetrics,
    /// What is counted of tail sampling.
    pub sampling: SamplingMetrics,
    /// What is counted of rules that rows go through.
    pub rules: RuleMetrics,
    /// What the connections between nodes count.
    pub peers: PeerMetrics,
    /// What the metadata group counts.
    pub metadata: MetadataMetrics,
    /// Queries, by `kind` (sql, flight, trace) and `outcome` (ok or the error's kind).
    pub queries: Family<Labels, Counter>,
    /// Reads that gathered other nodes' live rows, by `outcome` (ok, partial, failed).
    pub gathers: Family<Labels, Counter>,
    /// Seconds from asking the other nodes to having their rows and the files that go with them, by
    /// `level` (strong, session).
    pub gather_seconds: Seconds,
    /// Bytes of other nodes' live rows that reads hold (I5).
    pub gathered_bytes: Gauge,
    /// Queries that were worth being shared among nodes, by `outcome` (ok, local, failed): answered so,
    /// by this node alone after all, or with an error.
    pub distributed_queries: Family<Labels, Counter>,
    /// Attempts at a query that were made again without a node that was lost.
    pub distributed_retries: Counter,
    /// Tasks of this node's and other nodes' queries that were begun here.
    pub distributed_tasks: Counter,
    /// Tasks of this node's and other nodes' queries that are here now.
    pub distributed_tasks_running: Gauge,
    /// Bytes that tasks on other nodes sent here, and what they were sent with.
    pub distributed_received_bytes: Counter,
    /// Flushed files handed to the node that commits for all, by `outcome` (held, stale, fenced, failed):
    /// what failed this node commits by itself.
    pub hand_overs: Family<Labels, Counter>,
    /// Bytes that requests being received hold (I5).
    pub receive_bytes: Gauge,
    /// Open connections, by `transport` (grpc, http).
    pub connections: Family<Labels, Gauge>,
    /// Bytes that requests being stored and live batches hold (I5).
    pub admitted_bytes: Gauge,
    /// Bytes of batches that tails have still to read (I5).
    pub tail_bytes: Gauge,
    /// Queries that run.
    pub queries_running: Gauge,
    /// Queries that wait for others to end.
    pub queries_waiting: Gauge,
    /// Seconds from a query's start to its end, by `kind` (sql, flight, trace).
    pub query_seconds: Seconds,
    /// Broken invariants, by `invariant`: any value but 0 is a defect.
    pub invariant_violations: Family<Labels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry of its own, all at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("otlake");
        let bucket = BucketMetrics::new(&mut registry);
        let files = FileMetrics::new(&mut registry);
        let jobs = JobMetrics::new(&mut registry);
        let derive = DeriveMetrics::new(&mut registry);
        let sampling = SamplingMetrics::new(&mut registry);
        let rules = RuleMetrics::new(&mut registry);
        let peers = PeerMetrics::new(&mut registry);
        let metadata = MetadataMetrics::new(&mut registry);
        macro_rules! add {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
            ($name:literal, $help:literal, $unit:expr, $metric:expr) => {{
                let metric = $metric;
                registry.register_with_unit($name, $help, $unit, metric.clone());
                metric
            }};
        }
        let family: fn() -> Seconds = || Family::new_with_constructor(seconds as fn() -> Histogram);
        let counters = Family::<Labels, Counter>::default;
        let gauges = Family::<Labels, Gauge>::default;
        let metrics = Self {
            requests: add!(
                "requests",
                "OTLP requests by signal, transport and outcome",
                counters()
            ),
            requests_refused: add!(
                "requests_refused",
                "OTLP requests refused whole, by signal and error code",
                counters()
            ),
            request_bytes: add!(
                "request",
                "OTLP request bytes after decompression",
                Unit::Bytes,
                counters()
            ),
            records_received: add!(
                "records_received",
                "Records in well-formed requests (I4)",
                counters()
            ),
            records_acknowledged: add!(
                "records_acknowledged",
                "Records acknowledged as durable (I4)",
                counters()
            ),
            records_deduplicated: add!(
                "records_deduplicated",
                "Acknowledged records that an identical earlier request had stored (I3)",
                counters()
            ),
            records_rejected: add!(
                "records_rejected",
                "Records refused, by reason (I4)",
                counters()
            ),
            records_changed: add!(
                "records_changed",
                "Acknowledged records that are not stored as they came, by reason (I4)",
                counters()
            ),
            records_flagged: add!(
                "records_flagged",
                "Acknowledged records that look wrong, by reason (I4)",
                counters()
            ),
            ack_seconds: add!(
                "ack_duration",
                "From a whole request to its acknowledgement",
                Unit::Seconds,
                family()
            ),
            log_appended_bytes: add!(
                "log_appended",
                "Bytes appended to the log",
                Unit::Bytes,
                Counter::default()
            ),
            log_syncs: add!("log_syncs", "Group commits of the log", Counter::default()),
            log_sync_seconds: add!(
                "log_sync_duration",
                "One fdatasync of the log",
                Unit::Seconds,
                seconds()
            ),
            log_bytes: add!(
                "log_size",
                "Bytes of the log's segments on disk",
                Unit::Bytes,
                Gauge::default()
            ),
            log_segments: add!("log_segments", "Log segments on disk", Gauge::default()),
            replica_lag_records: add!(
                "replica_lag_records",
                "Records that a follower has not confirmed",
                Family::default()
            ),
            replica_lag_bytes: add!(
                "replica_lag",
                "Bytes of records that a follower has not confirmed",
                Unit::Bytes,
                Family::default()
            ),
            replica_pending: add!(
                "replica_pending_records",
                "Records that wait for their quorum",
                Gauge::default()
            ),
            replica_timeouts: add!(
                "replica_timeouts",
                "Requests whose quorum was not met in time",
                counters()
            ),
            replica_overdue: add!(
                "replica_overdue_records",
                "Records readable before they had the copies that their tenants ask for",
                counters()
            ),
            replica_degraded: add!(
                "replica_degraded_acks",
                "Requests acknowledged with fewer copies than is set",
                counters()
            ),
            replica_fenced: add!(
                "replica_fenced",
                "Times that another node fenced this one's stream",
                Counter::default()
            ),
            replica_fenced_refusals: add!(
                "replica_fenced_refusals",
                "Messages of fenced streams that were refused (I9)",
                Counter::default()
            ),
            replica_resent_bytes: add!(
                "replica_resent",
                "Bytes that followers confirmed after they were sent again",
                Unit::Bytes,
                Counter::default()
            ),
            replica_catchup_bytes: add!(
                "replica_catchup",
                "Bytes read back from the log for followers",
                Unit::Bytes,
                Counter::default()
            ),
            replica_appended_bytes: add!(
                "replica_appended",
                "Bytes of records appended to the replica journal",
                Unit::Bytes,
                Counter::default()
            ),
            replica_sync_seconds: add!(
                "replica_sync_duration",
                "One write and fdatasync of the replica journal",
                Unit::Seconds,
                seconds()
            ),
            replica_bytes: add!(
                "replica_size",
                "Bytes of the replica journal's segments on disk",
                Unit::Bytes,
                Gauge::default()
            ),
            replica_records: add!(
                "replica_records",
                "Records of other nodes that the replica journal holds",
                Gauge::default()
            ),
            replica_recovered: add!(
                "replica_recovered_records",
                "Records recovered of other nodes' streams",
                counters()
            ),
            native_memory: add!(
                "native_memory",
                "Bytes of memory of the native module on Linux: in use, and resident, what is free and not yet given back included",
                Unit::Bytes,
                gauges()
            ),
            live_bytes: add!("live", "Bytes of live batches", Unit::Bytes, gauges()),
            live_rows: add!("live_rows", "Rows of live batches", gauges()),
            flushes: add!("flushes", "Commits of flushed files", counters()),
            flush_failures: add!(
                "flush_failures",
                "Flush attempts that failed and are tried again",
                counters()
            ),
            flushed_rows: add!("flushed_rows", "Rows written to files", counters()),
            flushed_bytes: add!("flushed", "Parquet bytes written", Unit::Bytes, counters()),
            flush_seconds: add!(
                "flush_duration",
                "From seal to commit",
                Unit::Seconds,
                family()
            ),
            corruption: add!(
                "corruption_detected",
                "Damaged bytes that a read found and did not serve (I6)",
                counters()
            ),
            table_files: add!("table_files", "Files of the newest snapshot", gauges()),
            table_bytes: add!(
                "table_size",
                "Bytes of the newest snapshot's files",
                Unit::Bytes,
                gauges()
            ),
            table_rows: add!(
                "table_rows",
                "Rows of the newest snapshot's files",
                gauges()
            ),
            checkpoint_failures: add!(
                "checkpoint_failures",
                "Checkpoints of a table's log that could not be written",
                counters()
            ),
            bucket,
            files,
            jobs,
            derive,
            sampling,
            rules,
            peers,
            metadata,
            queries: add!("queries", "Queries by kind and outcome", counters()),
            gathers: add!(
                "gathers",
                "Reads that gathered live rows of other nodes",
                counters()
            ),
            gather_seconds: add!(
                "gather_duration",
                "From asking the other nodes to having their rows and the files that go with them",
                Unit::Seconds,
                family()
            ),
            gathered_bytes: add!(
                "gathered",
                "Bytes of live rows of other nodes that reads hold (I5)",
                Unit::Bytes,
                Gauge::default()
            ),
            distributed_queries: add!(
                "distributed_queries",
                "Queries that were worth being shared among nodes",
                counters()
            ),
            distributed_retries: add!(
                "distributed_retries",
                "Attempts at a query that were made again without a node that was lost",
                Counter::default()
            ),
            distributed_tasks: add!(
                "distributed_tasks",
                "Tasks of queries that were begun on this node",
                Counter::default()
            ),
            distributed_tasks_running: add!(
                "distributed_tasks_running",
                "Tasks of queries that are on this node",
                Gauge::default()
            ),
            distributed_received_bytes: add!(
                "distributed_received",
                "Bytes that tasks of queries on other nodes sent here",
                Unit::Bytes,
                Counter::default()
            ),
            hand_overs: add!(
                "hand_overs",
                "Flushed files handed to the node that commits for all",
                counters()
            ),
            receive_bytes: add!(
                "receive",
                "Bytes that requests being received hold (I5)",
                Unit::Bytes,
                Gauge::default()
            ),
            connections: add!("connections", "Open OTLP connections", gauges()),
            admitted_bytes: add!(
                "admitted",
                "Bytes that requests being stored and live batches hold (I5)",
                Unit::Bytes,
                Gauge::default()
            ),
            tail_bytes: add!(
                "tail",
                "Bytes of batches that tails have still to read (I5)",
                Unit::Bytes,
                Gauge::default()
            ),
            queries_running: add!("queries_running", "Queries that run", Gauge::default()),
            queries_waiting: add!(
                "queries_waiting",
                "Queries that wait for others to end",
                Gauge::default()
            ),
            query_seconds: add!(
                "query_duration",
                "From a query's start to its end",
                Unit::Seconds,
                family()
            ),
            invariant_violations: add!(
                "invariant_violations",
                "Broken invariants; not zero is a defect",
                counters()
            ),
            registry,
            strict: false,
        };
        // A counter that has not moved is told as 0, so that its absence means something.
        for signal in Signal::ALL {
            let labels = by_signal(signal);
            for counters in [
                &metrics.request_bytes,
                &metrics.records_received,
                &metrics.records_acknowledged,
                &metrics.records_deduplicated,
                &metrics.flush_failures,
            ] {
                drop(counters.get_or_create(&labels));
            }
            drop(metrics.live_bytes.get_or_create(&labels));
            drop(metrics.live_rows.get_or_create(&labels));
        }
        for table in Table::ALL {
            drop(metrics.flushes.get_or_create(&by_table(table)));
            drop(metrics.checkpoint_failures.get_or_create(&by_table(table)));
        }
        for kind in [
            "log",
            "file",
            "commit",
            "checkpoint",
            "window",
            "replica",
            "replica_message",
        ] {
            drop(metrics.corruption.get_or_create(&vec![("kind", kind)]));
        }
        for invariant in [
            Invariant::I1DurableAck,
            Invariant::I2NothingLost,
            Invariant::I3Once,
            Invariant::I4Ledger,
            Invariant::I5Bounded,
            Invariant::I6Detected,
            Invariant::I7StrongRead,
            Invariant::I8Open,
            Invariant::I9Fenced,
            Invariant::I10DiskFault,
        ] {
            let labels = vec![("invariant", invariant.id())];
            drop(metrics.invariant_violations.get_or_create(&labels));
        }
        metrics
    }

    /// Counts a request that was refused whole.
    pub fn refused(&self, signal: Signal, code: Code) {
        let labels = vec![("signal", signal.name()), ("code", code.as_str())];
        self.requests_refused.get_or_create(&labels).inc();
    }

    /// As `new`, for tests: a broken invariant stops whoever broke it at once.
    pub fn strict() -> Self {
        Self {
            strict: true,
            ..Self::new()
        }
    }

    /// Counts damage that was found.
    pub fn damaged(&self, kind: &'static str) {
        self.corruption.get_or_create(&vec![("kind", kind)]).inc();
    }

    /// Counts a broken invariant and logs what was seen. The node goes on: what is wrong is refused
    /// or left out where it was found, or cannot be mended by an end.
    ///
    /// # Panics
    /// Where the metrics are `strict`.
    pub fn violated(&self, invariant: Invariant, what: &str) {
        let id = invariant.id();
        self.invariant_violations
            .get_or_create(&vec![("invariant", id)])
            .inc();
        tracing::error!(target: "otlake::invariant", id, "a broken invariant: {what}");
        assert!(!self.strict, "{id}: {what}");
    }

    /// How often an invariant was broken.
    pub fn violations(&self, invariant: Invariant) -> u64 {
        let labels = vec![("invariant", invariant.id())];
        self.invariant_violations.get_or_create(&labels).get()
    }

    /// The OpenMetrics text, `# EOF` included.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string cannot fail");
        text
    }
}

/// The label of a signal.
pub fn by_signal(signal: Signal) -> Labels {
    vec![("signal", signal.name())]
}

/// The label of a table.
pub fn by_table(table: Table) -> Labels {
    vec![("table", table.name())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_invariant_is_counted_and_each_is_told_from_the_start() {
        let metrics = Metrics::new();
        metrics.violated(Invariant::I8Open, "a test");
        assert_eq!(metrics.violations(Invariant::I8Open), 1);
        let text = metrics.encode();
        let line = |line: &&str| line.starts_with("otlake_invariant_violations_total{");
        assert_eq!(text.lines().filter(line).count(), 10);
    }

    #[test]
    #[should_panic(expected = "I8: a test")]
    fn strict_metrics_stop_whoever_breaks_an_invariant() {
        Metrics::strict().violated(Invariant::I8Open, "a test");
    }
}
