//! Every field of OTLP through storage (I8): random requests of each signal are ingested, flushed,
//! merged and read back from the committed files, and are the records that came in.
//!
//! `OTLAKE_TEST_SEED` gives the same requests again; without it each run takes a seed from the
//! clock, and prints it.

#[path = "../../decode/src/json/random_otlp_test.rs"]
#[allow(dead_code)]
mod random_otlp;
#[path = "../../decode/src/encode/whole_records_test.rs"]
mod whole_records;

use std::collections::HashSet;
use std::fs::File;

use arrow::array::RecordBatch;
use bytes::Bytes;
use opentelemetry_proto::tonic::logs::v1::LogsData;
use opentelemetry_proto::tonic::metrics::v1::{MetricsData, metric};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use otlake_base::{Clock, Signal, SystemClock, Table};
use otlake_decode::encode::encode;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use prost::Message;

use self::random_otlp::{logs, metrics, traces};
use self::whole_records::{Whole, data_points, log_records, spans};
use crate::testing::{capture, config, ingest, open};
use crate::{Job, Processor};

/// Requests of each signal, and flushes that they are spread over.
const REQUESTS: usize = 96;
const FLUSHES: usize = 3;

/// 2026-01-01. Random times are of any day there is; files merge within one.
const MIDNIGHT: u64 = 1_767_225_600_000_000_000;
const NANOS_PER_DAY: u64 = 86_400_000_000_000;

fn seed() -> u64 {
    let seed = std::env::var("OTLAKE_TEST_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| SystemClock.unix_nano());
    println!("OTLAKE_TEST_SEED={seed}");
    seed
}

/// Random messages of one signal.
struct Messages<S> {
    strategy: S,
    runner: TestRunner,
}

impl<S: Strategy> Messages<S> {
    fn new(strategy: S, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self {
            strategy,
            runner: TestRunner::new_with_rng(Config::default(), random),
        }
    }

    fn next(&mut self) -> S::Value {
        let tree = self.strategy.new_tree(&mut self.runner);
        tree.expect("a message").current()
    }
}

/// Moves the time that decides a row's day into one day; unset stays unset, which has its own.
fn within_a_day(time: &mut u64) {
    if *time != 0 {
        *time = MIDNIGHT + *time % NANOS_PER_DAY;
    }
}

fn same_day_spans(mut data: TracesData) -> TracesData {
    let groups = data.resource_spans.iter_mut();
    let scopes = groups.flat_map(|group| &mut group.scope_spans);
    for span in scopes.flat_map(|scope| &mut scope.spans) {
        within_a_day(&mut span.start_time_unix_nano);
    }
    data
}

fn same_day_logs(mut data: LogsData) -> LogsData {
    let groups = data.resource_logs.iter_mut();
    let scopes = groups.flat_map(|group| &mut group.scope_logs);
    for record in scopes.flat_map(|scope| &mut scope.log_records) {
        within_a_day(&mut record.time_unix_nano);
        if record.time_unix_nano == 0 {
            within_a_day(&mut record.observed_time_unix_nano);
        }
    }
    data
}

fn same_day_points(mut data: MetricsData) -> MetricsData {
    use metric::Data;
    let groups = data.resource_metrics.iter_mut();
    let scopes = groups.flat_map(|group| &mut group.scope_metrics);
    for metric in scopes.flat_map(|scope| &mut scope.metrics) {
        macro_rules! move_points {
            ($data:expr) => {
                for point in &mut $data.data_points {
                    within_a_day(&mut point.time_unix_nano);
                }
            };
        }
        match &mut metric.data {
            None => {}
            Some(Data::Gauge(data)) => move_points!(data),
            Some(Data::Sum(data)) => move_points!(data),
            Some(Data::Histogram(data)) => move_points!(data),
            Some(Data::ExponentialHistogram(data)) => move_points!(data),
            Some(Data::Summary(data)) => move_points!(data),
        }
    }
    data
}

/// The rows of a table's committed files.
fn stored(node: &Processor, table: Table) -> Vec<(Table, RecordBatch)> {
    let capture = capture(node, table);
    assert!(capture.live.is_empty(), "all is in files");
    let files = capture.files.iter().flat_map(|file| {
        let file = File::open(capture.root.join(&file.path)).expect("a file of the snapshot");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        reader.build().expect("a reader")
    });
    files
        .map(|batch| (table, batch.expect("a batch")))
        .collect()
}

/// Whether a table has several files of one day.
fn has_mergeable(node: &Processor, table: Table) -> bool {
    let files = capture(node, table).files;
    let days: HashSet<i32> = files.iter().map(|file| file.day).collect();
    days.len() < files.len()
}

/// Sends random messages, and compares what the merged files give back with what came in.
async fn return_as_they_came<M, S>(signal: Signal, strategy: S, whole: impl Fn(&M) -> Vec<Whole>)
where
    M: Message + Default,
    S: Strategy<Value = M>,
{
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    let mut messages = Messages::new(strategy, seed());
    let mut sent = Vec::new();
    for _ in 0..FLUSHES {
        for _ in 0..REQUESTS / FLUSHES {
            let message = messages.next();
            let body = Bytes::from(message.encode_to_vec());
            let ack = ingest(&node, signal, body).await.expect("an ack");
            let records = whole(&message);
            assert_eq!(ack.rejections.first, None);
            assert_eq!(ack.accepted, records.len() as u64);
            sent.extend(records);
        }
        node.flush().await.expect("a flush");
    }
    // Few random requests have every kind of point in every flush.
    let tables = signal.tables().iter().copied();
    let mergeable: Vec<Table> = tables
        .filter(|table| has_mergeable(&node, *table))
        .collect();
    assert!(!mergeable.is_empty(), "nothing is merged");
    let report = node.run_job(Job::Compact).await.expect("a run");
    for (table, work) in &report.tables {
        if mergeable.contains(table) {
            assert!(
                work.files_in > work.files_out && work.files_out > 0,
                "files of {} were merged: {work:?}",
                table.name()
            );
        }
        assert_eq!(work.duplicates, 0, "no two spans are equal");
    }
    let tables = signal.tables().iter();
    let rows: Vec<_> = tables.flat_map(|table| stored(&node, *table)).collect();
    let exported = encode(&rows).expect("they are our rows");
    let exported = whole(&M::decode(exported.as_slice()).expect("it is OTLP"));
    sent.sort();
    assert_eq!(exported.len(), sent.len());
    for (exported, sent) in exported.iter().zip(&sent) {
        assert_eq!(exported, sent);
    }
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_spans_are_stored_without_loss() {
    let messages = traces().prop_map(same_day_spans);
    return_as_they_came(Signal::Traces, messages, spans).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_log_records_are_stored_without_loss() {
    let messages = logs().prop_map(same_day_logs);
    return_as_they_came(Signal::Logs, messages, log_records).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_data_points_are_stored_without_loss() {
    let messages = metrics().prop_map(same_day_points);
    return_as_they_came(Signal::Metrics, messages, data_points).await;
}
