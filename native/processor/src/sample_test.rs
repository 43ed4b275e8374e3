//! Tail sampling in a whole node: what is written, after crashes, late, resent and taken over.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use otlake_base::checksum::Checked;
use otlake_base::{Code, Error, Signal, StreamId, SystemClock, Table};
use otlake_derive::{DeriveConfig, names};
use otlake_flush::{OnStep, Step};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::testing::{
    capture, config, crash_at, folders, ingest, ledger, open, parquet_files, records, request_of,
};
use crate::{Condition, Policy, Processor, ProcessorConfig, SampleConfig, Verification};

const START: u64 = 1_767_225_600_000_000_000;

fn errors() -> Policy {
    Policy {
        name: "errors".into(),
        conditions: vec![Condition::Status(vec![2])],
    }
}

fn half() -> Policy {
    Policy {
        name: "half".into(),
        conditions: vec![Condition::Probability(0.5)],
    }
}

/// A node that keeps traces with errors, and flushes only when asked.
fn sampling(root: &Path) -> ProcessorConfig {
    sampling_by(root, vec![errors()])
}

fn sampling_by(root: &Path, policies: Vec<Policy>) -> ProcessorConfig {
    ProcessorConfig {
        sample: SampleConfig {
            policies,
            ..SampleConfig::default()
        },
        ..config(root)
    }
}

/// Every third trace fails.
fn fails(trace: u64) -> bool {
    trace.is_multiple_of(3)
}

/// Spans of traces number `first` to `first + count - 1`, each the trace's span number `part`; only
/// number 0 tells that a trace fails.
async fn take(node: &Processor, part: u64, first: u64, count: u64) {
    let span = |trace: u64| Span {
        trace_id: u128::from(trace + 1).to_be_bytes().to_vec(),
        span_id: (trace * 100 + part + 1).to_be_bytes().to_vec(),
        name: "work".into(),
        kind: 2,
        start_time_unix_nano: START,
        end_time_unix_nano: START + 1_000_000,
        status: Some(Status {
            code: if fails(trace) && part == 0 { 2 } else { 0 },
            ..Status::default()
        }),
        ..Span::default()
    };
    let body = request_of((first..first + count).map(span).collect());
    // Each request comes twice, as from a client that did not hear its answer.
    for _ in 0..2 {
        let ack = loop {
            match ingest(node, Signal::Traces, body.clone()).await {
                Err(error) if error.code == Code::IngestOverloaded => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                outcome => break outcome.expect("an ack"),
            }
        };
        assert_eq!(ack.accepted, count);
    }
}

type Seen = BTreeMap<(u64, u64), u64>;

fn add(batch: &RecordBatch, seen: &mut Seen) {
    let ids = batch.column_by_name("span_id").expect("ids");
    for id in ids.as_fixed_size_binary().iter().flatten() {
        let id = u64::from_be_bytes(id.try_into().expect("8 bytes")) - 1;
        *seen.entry((id / 100, id % 100)).or_insert(0) += 1;
    }
}

/// Spans in files, by trace and part, with how often each is there.
fn in_files(node: &Processor) -> Seen {
    let capture = capture(node, Table::Spans);
    let mut seen = Seen::new();
    for file in capture.files.iter() {
        let file = std::fs::File::open(capture.root.join(&file.path)).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        for batch in reader.build().expect("a reader") {
            add(&batch.expect("a batch"), &mut seen);
        }
    }
    seen
}

/// Spans that a query sees.
fn readable(node: &Processor) -> Seen {
    let mut seen = in_files(node);
    for live in capture(node, Table::Spans).live {
        add(&live.batch, &mut seen);
    }
    seen
}

/// Parts of the traces below `count`, of those that are kept or of all, once each.
fn parts_of(count: u64, parts: u64, all: bool) -> Seen {
    let traces = (0..count).filter(|trace| all || fails(*trace));
    traces
        .flat_map(|trace| (0..parts).map(move |part| ((trace, part), 1)))
        .collect()
}

fn watermark(node: &Processor, stream: StreamId) -> u64 {
    let snapshot = node.tables().handle(Table::Spans).snapshot();
    snapshot.watermarks.get(&stream).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_see_all_spans_until_they_are_flushed_and_then_those_of_kept_traces() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(sampling(root.path()), None).await;
    take(&node, 0, 0, 10).await;
    take(&node, 1, 0, 10).await;
    assert_eq!(readable(&node), parts_of(10, 2, true));
    node.flush().await.expect("a flush");
    assert_eq!(readable(&node), parts_of(10, 2, false));
    assert_eq!(node.live().figures().rows, 0);
    // Dropped is not lost: what was acknowledged stays so.
    assert_eq!(ledger(&node, Signal::Traces), (40, 40, 0));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i3_a_crash_at_any_step_of_a_flush_keeps_each_kept_span_once_and_brings_back_no_dropped_one()
 {
    for step in [
        Step::Written(Table::Spans),
        Step::Committed(Table::Spans),
        Step::Releasing(Signal::Traces),
    ] {
        let root = tempfile::tempdir().expect("a folder");
        let (folder, crashed) = folders(root.path());
        let node = open(sampling(&folder), Some(crash_at(step, &folder, &crashed))).await;
        take(&node, 0, 0, 15).await;
        take(&node, 1, 0, 15).await;
        node.flush().await.expect("a flush");
        drop(node);
        for start in 0..2u64 {
            let node = open(sampling(&crashed), None).await;
            // Late spans say that nothing failed, and follow; resends are told as stored.
            take(&node, 0, 0, 15).await;
            take(&node, 2 + start, 0, 15).await;
            node.flush().await.expect("a flush");
            let expected = parts_of(15, 3 + start, false);
            assert_eq!(readable(&node), expected, "{step:?}, start {start}");
            assert_eq!(parquet_files(&crashed) as u64, node.stats().files);
            node.close().await.expect("a close");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_decision_that_was_made_before_a_crash_holds_for_what_the_replay_flushes() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = folders(root.path());
    let step = Step::Written(Table::Spans);
    let node = open(sampling(&folder), Some(crash_at(step, &folder, &crashed))).await;
    let stream = node.session().stream;
    // That the traces fail is said after they were decided, and not yet committed.
    take(&node, 1, 0, 9).await;
    node.flush().await.expect("a flush");
    drop(node);
    let node = open(sampling(&crashed), None).await;
    assert_eq!(watermark(&node, stream), 0);
    assert_eq!(readable(&node).len(), 9, "the replay has them all");
    take(&node, 0, 0, 9).await;
    node.flush().await.expect("a flush");
    assert!(readable(&node).is_empty());
    // Without the folder they are decided anew.
    node.close().await.expect("a close");
    std::fs::remove_dir_all(crashed.join("sampling")).expect("a folder");
    let node = open(sampling(&crashed), None).await;
    take(&node, 0, 0, 8).await;
    node.flush().await.expect("a flush");
    assert_eq!(readable(&node), parts_of(8, 1, false));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watermark_passes_a_flush_of_which_everything_is_dropped() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(sampling(root.path()), None).await;
    let stream = node.session().stream;
    take(&node, 1, 0, 10).await;
    let last = node.session().sequence;
    node.flush().await.expect("a flush");
    assert!(readable(&node).is_empty());
    assert_eq!(parquet_files(root.path()), 0);
    assert_eq!(watermark(&node, stream), last);
    assert_eq!(node.live().figures().batches, 0);
    node.close().await.expect("a close");
    let node = open(sampling(root.path()), None).await;
    assert_eq!(node.live().figures().rows, 0, "the log has nothing of it");
    assert!(readable(&node).is_empty());
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_fails_is_repeated_with_what_was_decided() {
    let root = tempfile::tempdir().expect("a folder");
    let fails_now = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails_now);
    let on_step: OnStep = Arc::new(move |step| match step {
        Step::Written(Table::Spans) if failing.load(Ordering::Acquire) => {
            Err(Error::new(Code::TableIo, "a disk that is away"))
        }
        _ => Ok(()),
    });
    let node = open(sampling(root.path()), Some(on_step)).await;
    take(&node, 1, 0, 9).await;
    node.flush().await.expect_err("the disk is away");
    take(&node, 0, 0, 9).await;
    assert_eq!(readable(&node), parts_of(9, 2, true));
    fails_now.store(false, Ordering::Release);
    node.flush().await.expect("a flush");
    assert!(readable(&node).is_empty());
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_wait_for_the_others_of_their_trace_and_no_longer() {
    let root = tempfile::tempdir().expect("a folder");
    let mut config = sampling(root.path());
    config.flush_interval_ms = 100;
    // Long enough for a busy machine to take the second part before.
    config.sample.decision_wait_ms = 15_000;
    let node = open(config, None).await;
    take(&node, 1, 0, 6).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    // An interval has passed, and they are there.
    assert_eq!(readable(&node).len(), 6);
    take(&node, 0, 0, 6).await;
    while node.live().figures().rows > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(readable(&node), parts_of(6, 2, false));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_short_of_memory_traces_are_decided_early_and_counted() {
    let root = tempfile::tempdir().expect("a folder");
    let mut config = sampling(root.path());
    config.sample.decision_wait_ms = 3_600_000;
    config.live_max_bytes = 1024 * 1024;
    let node = open(config, None).await;
    for request in 0..200 {
        take(&node, 0, request * 30, 30).await;
    }
    let early = vec![("reason", "memory")];
    let early = node.metrics.sampling.early.get_or_create(&early).get();
    assert!(early > 0);
    node.flush().await.expect("a flush");
    assert_eq!(readable(&node), parts_of(6_000, 1, false));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_derived_counts_the_spans_that_are_dropped_too() {
    let root = tempfile::tempdir().expect("a folder");
    let config = ProcessorConfig {
        derive: DeriveConfig {
            span_metrics: true,
            ..DeriveConfig::default()
        },
        ..sampling(root.path())
    };
    let node = open(config, None).await;
    take(&node, 0, 0, 20).await;
    node.flush().await.expect("a flush");
    assert_eq!(readable(&node), parts_of(20, 1, false));
    let capture = capture(&node, Table::MetricsSum);
    let mut calls = 0;
    for file in capture.files.iter() {
        let file = std::fs::File::open(capture.root.join(&file.path)).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        for batch in reader.build().expect("a reader") {
            let batch = batch.expect("a batch");
            let column = |name| batch.column_by_name(name).expect("a column");
            let names = arrow::compute::cast(column("name"), &arrow::datatypes::DataType::Utf8);
            let names = names.expect("text");
            let values = column("value_int").as_primitive::<Int64Type>();
            let rows = names.as_string::<i32>().iter().zip(values.iter());
            calls += rows
                .filter(|(name, _)| *name == Some(names::CALLS))
                .map(|(_, value)| value.expect("a count"))
                .sum::<i64>();
        }
    }
    assert_eq!(calls, 20);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_whoever_takes_a_stream_over_decides_of_what_its_owner_has_not_committed() {
    let root = tempfile::tempdir().expect("a folder");
    let shared = |node: &str| ProcessorConfig {
        tables_dir: Some(root.path().join("tables")),
        leave_earlier: true,
        ..sampling_by(&root.path().join(node), vec![errors(), half()])
    };
    let owner = open(shared("owner"), None).await;
    let other = open(shared("other"), None).await;
    let stream = owner.session().stream;
    take(&owner, 0, 0, 10).await;
    owner.flush().await.expect("a flush");
    // Their randomness is next to nothing: no probability keeps them.
    take(&owner, 1, 0, 10).await;
    other.take_over(stream, 2).await.expect("it is the first");
    owner.flush().await.expect("the rest is not its own");
    for (position, record) in records(&root.path().join("owner"), stream) {
        other.adopt(position, record, true).await.expect("adopted");
    }
    other.flush().await.expect("a flush");
    let snapshot = other.tables().handle(Table::Spans).refresh().await;
    assert!(snapshot.expect("a look").watermarks[&stream] >= owner.session().sequence);
    // What failed was committed by the owner; that the late spans belong to it the other cannot know.
    assert_eq!(readable(&other), parts_of(10, 1, false));
    owner.close().await.expect("a close");
    other.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_damaged_commit_is_flushed_again_with_what_was_decided() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = folders(root.path());
    let step = Step::Committed(Table::Spans);
    let node = open(sampling(&folder), Some(crash_at(step, &folder, &crashed))).await;
    let stream = node.session().stream;
    take(&node, 0, 0, 12).await;
    node.flush().await.expect("a flush");
    drop(node);
    let log = crashed.join("tables/spans/_delta_log");
    let commits = std::fs::read_dir(log).expect("the table's log");
    let commit = commits
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .max()
        .expect("a commit");
    let mut bytes = std::fs::read(&commit).expect("it");
    let at = bytes
        .windows(9)
        .position(|window| window == b"timestamp")
        .expect("the commit says when");
    bytes[at] ^= 1;
    std::fs::write(&commit, bytes).expect("a write");
    let metrics = Arc::new(otlake_base::Metrics::strict());
    let node = Processor::open(sampling(&crashed), Arc::new(SystemClock), metrics)
        .await
        .expect("it is flushed again");
    assert_eq!(watermark(&node, stream), 0);
    take(&node, 1, 0, 12).await;
    node.flush().await.expect("a flush");
    assert_eq!(readable(&node), parts_of(12, 2, false));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_check_of_the_folder_finds_damaged_decisions_and_misses_no_dropped_rows() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(sampling(root.path()), None).await;
    take(&node, 0, 0, 30).await;
    node.close().await.expect("a close");
    let findings = || async {
        let mut verification = Verification::plan(root.path()).await.expect("a folder");
        let mut findings = Vec::new();
        while let Some(finding) = verification.next().await {
            findings.push(finding.expect("it can be read"));
        }
        findings
    };
    let whole = findings().await;
    let is_whole = |of: &crate::Finding| of.checked == Checked::Whole;
    assert!(whole.iter().all(is_whole), "{whole:?}");
    let mut decisions = whole.iter().filter(|of| of.kind == "decisions");
    let path = root.path().join(&decisions.next().expect("one").path);
    let mut bytes = std::fs::read(&path).expect("it");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("a write");
    let damaged = findings().await;
    let mut damaged = damaged.iter().filter(|of| !is_whole(of));
    assert_eq!(damaged.next().expect("one").kind, "decisions");
    assert!(damaged.next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_cannot_be_used_end_the_start_and_without_any_no_folder_is_made() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("node");
    let policies = vec![Policy {
        name: "share".into(),
        conditions: vec![Condition::Probability(2.0)],
    }];
    let metrics = Arc::new(otlake_base::Metrics::new());
    let refused = Processor::open(
        sampling_by(&folder, policies),
        Arc::new(SystemClock),
        metrics,
    );
    let error = refused.await.err().expect("it is refused");
    assert_eq!(error.code, Code::ConfigInvalid);
    assert!(error.message.contains("`share`"), "{}", error.message);
    assert!(!folder.exists());
    let node = open(config(&folder), None).await;
    take(&node, 0, 0, 10).await;
    node.flush().await.expect("a flush");
    assert_eq!(readable(&node), parts_of(10, 1, true));
    assert!(!folder.join("sampling").exists());
    node.close().await.expect("a close");
}
