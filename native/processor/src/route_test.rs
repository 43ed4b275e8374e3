//! Rows that rules give to another tenant than their sender: whatever becomes of a record, they are that
//! tenant's, each once, and the record stays its sender's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use otlake_base::{RowRules, Signal, StreamId, Table, TableRows};
use otlake_derive::DeriveConfig;
use otlake_flush::Step;

use crate::testing::{
    adopt_and_append, capture, config, copy_as_crashed, crash_at, derived_calls, folders, ingest,
    ingest_each_twice, ledger, logs, numbers, numbers_of, open, records, request_of, rows, spans,
};
use crate::{Condition, Policy, Processor, ProcessorConfig, SampleConfig};

const SENDER: &str = "default";
const ARCHIVE: &str = "archive";
const START: u64 = 1_767_225_600_000_000_000;

/// Rows whose time is odd go to the archive.
#[derive(Debug)]
struct Odd;

impl RowRules for Odd {
    fn apply(&self, tenant: &Arc<str>, tables: Vec<(Table, RecordBatch)>) -> Vec<TableRows> {
        let mut parts = Vec::new();
        for (table, batch) in tables {
            let times = batch.column_by_name(table.time_column()).expect("a time");
            let times = times.as_primitive::<Int64Type>().values();
            for (goes, tenant) in [(false, Arc::clone(tenant)), (true, ARCHIVE.into())] {
                let is_of = times.iter().map(|time| Some((time % 2 == 1) == goes));
                let is_of: BooleanArray = is_of.collect();
                let own = filter_record_batch(&batch, &is_of).expect("rows");
                if own.num_rows() > 0 {
                    let rows = as_of(&own, &tenant);
                    parts.push(TableRows {
                        table,
                        tenant,
                        rows,
                    });
                }
            }
        }
        parts
    }
}

/// The rows with another name in their column.
fn as_of(rows: &RecordBatch, tenant: &str) -> RecordBatch {
    let schema = rows.schema();
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    let names = std::iter::repeat_n(tenant, rows.num_rows());
    columns[schema.index_of("tenant").expect("it")] =
        Arc::new(StringViewArray::from_iter_values(names));
    RecordBatch::try_new(schema, columns).expect("the same rows")
}

fn routing(root: &Path) -> ProcessorConfig {
    ProcessorConfig {
        rules: Some(Arc::new(Odd)),
        ..config(root)
    }
}

fn every_second(first: u64, end: u64) -> BTreeMap<u64, u64> {
    (first..end).step_by(2).map(|number| (number, 1)).collect()
}

/// Each table has the even numbers below `count` of the sender, the odd ones of the archive, and no others.
fn assert_parted(node: &Processor, tables: &[Table], count: u64, what: &dyn std::fmt::Debug) {
    for table in tables {
        let of = |tenant| numbers_of(node, *table, Some(tenant));
        assert_eq!(of(SENDER), every_second(0, count), "{what:?} {table:?}");
        assert_eq!(of(ARCHIVE), every_second(1, count), "{what:?} {table:?}");
        assert_eq!(numbers(node, *table).len() as u64, count);
    }
}

fn watermark(node: &Processor, table: Table, stream: StreamId) -> u64 {
    let snapshot = node.tables().handle(table).snapshot();
    snapshot.watermarks.get(&stream).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_i3_crashes_and_resends_give_each_tenant_its_rows_once() {
    for step in [
        None,
        Some(Step::Written(Table::MetricsSum)),
        Some(Step::Committed(Table::MetricsGauge)),
        Some(Step::Committed(Table::Spans)),
        Some(Step::Releasing(Signal::Logs)),
    ] {
        let root = tempfile::tempdir().expect("a folder");
        let (folder, crashed) = folders(root.path());
        let on_step = step.map(|step| crash_at(step, &folder, &crashed));
        let node = open(routing(&folder), on_step).await;
        ingest_each_twice(&node).await;
        assert_parted(&node, &Table::ALL, 100, &"live");
        match step {
            None => copy_as_crashed(&folder, &crashed),
            Some(_) => node.flush().await.expect("a flush"),
        }
        drop(node);
        let node = open(routing(&crashed), None).await;
        assert_parted(&node, &Table::ALL, 100, &step);
        // What the client of the one that crashed sends again is known, by what it sent.
        ingest(&node, Signal::Traces, spans(0, 10))
            .await
            .expect("an ack");
        node.flush().await.expect("a flush");
        assert_eq!(node.live().figures().rows, 0);
        assert_parted(&node, &Table::ALL, 100, &step);
        node.close().await.expect("a close");
        let node = open(routing(&crashed), None).await;
        assert_eq!((node.stats().live_rows, node.stats().file_rows), (0, 700));
        assert_parted(&node, &Table::ALL, 100, &step);
        node.close().await.expect("a close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_all_of_whose_rows_go_is_stored_and_counted_as_its_senders() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(routing(root.path()), None).await;
    let ack = ingest(&node, Signal::Traces, spans(11, 1))
        .await
        .expect("an ack");
    assert_eq!((ack.accepted, ack.position), (1, Some(node.session())));
    let again = ingest(&node, Signal::Traces, spans(11, 1)).await;
    assert_eq!(again.expect("an ack").accepted, 1);
    assert_eq!(ledger(&node, Signal::Traces), (2, 2, 0));
    assert_eq!(rows(&capture(&node, Table::Spans)), 1);
    // The same of another tenant is another record, and its row one more of the archive.
    let other = node.ingest(Signal::Traces, "other".into(), "library", spans(11, 1));
    other.await.expect("an ack");
    let of_archive = || numbers_of(&node, Table::Spans, Some(ARCHIVE));
    assert_eq!(of_archive(), [(11, 2)].into());
    let (stream, last) = (node.session().stream, node.session().sequence);
    node.flush().await.expect("a flush");
    assert_eq!(of_archive(), [(11, 2)].into());
    let files = capture(&node, Table::Spans).files;
    assert_eq!(files.len(), 1);
    assert_eq!((&*files[0].tenant, files[0].rows), (ARCHIVE, 2));
    assert!(files[0].path.starts_with("tenant=archive/"));
    assert_eq!(watermark(&node, Table::Spans, stream), last);
    assert_eq!(node.live().figures().batches, 0);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_another_node_and_one_that_is_appended_again_are_routed() {
    let root = tempfile::tempdir().expect("a folder");
    let shared = |node: &str| ProcessorConfig {
        tables_dir: Some(root.path().join("tables")),
        leave_earlier: true,
        ..routing(&root.path().join(node))
    };
    let owner = open(shared("owner"), None).await;
    for request in 0..4 {
        let body = spans(request * 10, 10);
        ingest(&owner, Signal::Traces, body).await.expect("an ack");
        if request == 0 {
            // Files have some of them, as the tenant's that they went to.
            owner.flush().await.expect("a flush");
        }
    }
    let stream = owner.session().stream;
    drop(owner);
    let other = open(shared("other"), None).await;
    let gone = root.path().join("owner");
    let records = records(&gone, stream);
    assert!(records.iter().all(|(_, record)| &*record.tenant == SENDER));
    adopt_and_append(&other, &gone, stream).await;
    assert_parted(&other, &[Table::Spans], 40, &"live");
    other.flush().await.expect("a flush");
    assert_parted(&other, &[Table::Spans], 40, &"in files");
    other.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_are_derived_for_the_tenant_that_the_spans_went_to() {
    let root = tempfile::tempdir().expect("a folder");
    let deriving = ProcessorConfig {
        derive: DeriveConfig {
            span_metrics: true,
            ..DeriveConfig::default()
        },
        ..routing(root.path())
    };
    let node = open(deriving, None).await;
    // 11 spans: 6 are even.
    ingest(&node, Signal::Traces, spans(0, 11))
        .await
        .expect("an ack");
    node.flush().await.expect("a flush");
    let expected = [(SENDER.to_owned(), 6), (ARCHIVE.to_owned(), 5)];
    assert_eq!(derived_calls(&node), expected.into());
    node.close().await.expect("a close");
}

/// One span for each of these times, of one trace; the number of those that fail is given.
fn trace(number: u64, times: &[u64], fails: u64) -> Vec<Span> {
    let span = |time: &u64| Span {
        trace_id: u128::from(number).to_be_bytes().to_vec(),
        span_id: (number * 100 + time + 1).to_be_bytes().to_vec(),
        name: "work".into(),
        kind: 2,
        start_time_unix_nano: START + time,
        end_time_unix_nano: START + time + 1_000,
        status: Some(Status {
            code: if *time == fails { 2 } else { 0 },
            ..Status::default()
        }),
        ..Span::default()
    };
    times.iter().map(span).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_sampling_decides_of_each_tenants_spans_of_a_trace() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = folders(root.path());
    let sampling = |root: &Path| ProcessorConfig {
        sample: SampleConfig {
            policies: vec![Policy {
                name: "errors".into(),
                conditions: vec![Condition::Status(vec![2])],
            }],
            ..SampleConfig::default()
        },
        ..routing(root)
    };
    let step = Step::Written(Table::Spans);
    let node = open(sampling(&folder), Some(crash_at(step, &folder, &crashed))).await;
    // The first trace fails in the archive alone, the second at the sender's, the third nowhere.
    let mut first = trace(1, &[0, 1, 2], 3);
    first.extend(trace(2, &[10, 11, 12], 12));
    first.extend(trace(3, &[20, 21], 99));
    ingest(&node, Signal::Traces, request_of(first))
        .await
        .expect("an ack");
    // More of them, in another request.
    let mut second = trace(1, &[3, 4, 5], 3);
    second.extend(trace(2, &[13, 14], 12));
    ingest(&node, Signal::Traces, request_of(second))
        .await
        .expect("an ack");
    assert_eq!(numbers(&node, Table::Spans).len(), 13);
    node.flush().await.expect("a flush");
    let of = |node: &Processor, tenant| -> Vec<u64> {
        let numbers = numbers_of(node, Table::Spans, Some(tenant));
        assert!(numbers.values().all(|times| *times == 1));
        numbers.into_keys().collect()
    };
    assert_eq!(of(&node, ARCHIVE), [1, 3, 5]);
    assert_eq!(of(&node, SENDER), [10, 12, 14]);
    drop(node);
    let node = open(sampling(&crashed), None).await;
    node.flush().await.expect("a flush");
    assert_eq!(of(&node, ARCHIVE), [1, 3, 5]);
    assert_eq!(of(&node, SENDER), [10, 12, 14]);
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_in_files_stay_and_what_the_log_holds_is_routed_by_the_rules_of_the_next_start() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = folders(root.path());
    let node = open(config(&folder), None).await;
    ingest(&node, Signal::Logs, logs(0, 10))
        .await
        .expect("an ack");
    node.flush().await.expect("a flush");
    ingest(&node, Signal::Logs, logs(10, 10))
        .await
        .expect("an ack");
    copy_as_crashed(&folder, &crashed);
    drop(node);
    let node = open(routing(&crashed), None).await;
    let expect = |node: &Processor| {
        let of = |tenant| numbers_of(node, Table::Logs, Some(tenant));
        let mut of_sender = every_second(10, 20);
        of_sender.extend((0..10).map(|number| (number, 1)));
        assert_eq!(of(SENDER), of_sender);
        assert_eq!(of(ARCHIVE), every_second(11, 20));
    };
    expect(&node);
    node.flush().await.expect("a flush");
    expect(&node);
    node.close().await.expect("a close");
    // Without the rule they stay where they are.
    let node = open(config(&crashed), None).await;
    expect(&node);
    node.close().await.expect("a close");
}
