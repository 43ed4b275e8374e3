//! Derived rows of a whole node: with resends, after crashes, and where another node goes on.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlake_base::{Code, Error, Signal, Table};
use otlake_derive::{DeriveConfig, names};
use otlake_flush::{OnStep, Step};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message;

use crate::testing::{
    capture, config, copy_as_crashed, crash_at, folders, ingest, open, points, records,
};
use crate::{Processor, ProcessorConfig};

const START: u64 = 1_767_225_600_000_000_000;
const LONG_MS: u64 = 3_600_000;

fn deriving(root: &Path, edge_wait_ms: u64) -> ProcessorConfig {
    ProcessorConfig {
        derive: DeriveConfig {
            span_metrics: true,
            service_graph: true,
            edge_wait_ms,
            ..DeriveConfig::default()
        },
        ..config(root)
    }
}

fn text(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value)),
        }),
        ..KeyValue::default()
    }
}

fn of_service(name: String, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text("service.name", name)],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

/// The client's or the server's spans of calls number `first` to `first + count - 1`, each of which
/// is between two services of its own. A client says whom it called.
fn calls(is_client: bool, first: u64, count: u64) -> Bytes {
    let resource_spans = (first..first + count).map(|number| {
        let span = Span {
            trace_id: u128::from(number + 1).to_be_bytes().to_vec(),
            span_id: (2 * number + u64::from(is_client) + 1)
                .to_be_bytes()
                .to_vec(),
            parent_span_id: match is_client {
                true => Vec::new(),
                false => (2 * number + 2).to_be_bytes().to_vec(),
            },
            name: "call".into(),
            kind: if is_client { 3 } else { 2 },
            start_time_unix_nano: START,
            end_time_unix_nano: START + 5_000_000,
            attributes: match is_client {
                true => vec![text("peer.service", format!("peer {number}"))],
                false => Vec::new(),
            },
            ..Span::default()
        };
        let side = if is_client { "client" } else { "server" };
        of_service(format!("{side} {number}"), vec![span])
    });
    let resource_spans = resource_spans.collect();
    Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec())
}

/// What derived rows count, by name and by services.
fn counts(node: &Processor, table: Table) -> BTreeMap<(String, String), u64> {
    let capture = capture(node, table);
    let mut counts = BTreeMap::new();
    for file in capture.files.iter() {
        let file = File::open(capture.root.join(&file.path)).expect("a file of the snapshot");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        for batch in reader.build().expect("a reader") {
            add(&batch.expect("a batch"), table, &mut counts);
        }
    }
    counts
}

fn add(batch: &RecordBatch, table: Table, counts: &mut BTreeMap<(String, String), u64>) {
    let column = |name| batch.column_by_name(name).expect("a column");
    let text = |name, row| {
        let column = arrow::compute::cast(column(name), &arrow::datatypes::DataType::Utf8);
        column
            .expect("text")
            .as_string::<i32>()
            .value(row)
            .to_owned()
    };
    let values = match table {
        Table::MetricsSum => column("value_int"),
        _ => column("count"),
    };
    for row in 0..batch.num_rows() {
        let name = text("name", row);
        if !name.starts_with("traces_") {
            continue;
        }
        let json = text("attributes", row);
        let label = |key: &str| {
            let (_, rest) = json.split_once(&format!("\"{key}\":\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        let of = match label("service") {
            Some(service) => service,
            None => {
                let (client, server) = (label("client"), label("server"));
                format!("{} > {}", client.expect("one"), server.expect("one"))
            }
        };
        let value = values.as_primitive::<Int64Type>().value(row) as u64;
        *counts.entry((name, of)).or_insert(0) += value;
    }
}

/// What `count` calls come to, the first `paired` of which have both halves.
fn expected(table: Table, count: u64, paired: u64) -> BTreeMap<(String, String), u64> {
    let (of_span, of_edge) = match table {
        Table::MetricsSum => (names::CALLS, vec![names::REQUESTS]),
        _ => (names::LATENCY, vec![names::CLIENT, names::SERVER]),
    };
    let mut counts = BTreeMap::new();
    let mut one = |name: &str, of: String| counts.insert((name.to_owned(), of), 1);
    for number in 0..count {
        one(of_span, format!("client {number}"));
        if number < paired {
            one(of_span, format!("server {number}"));
            for name in &of_edge {
                one(name, format!("client {number} > server {number}"));
            }
        } else {
            one(of_edge[0], format!("client {number} > peer {number}"));
        }
    }
    counts
}

fn holds(node: &Processor, count: u64, paired: u64, when: &str) {
    for table in Table::DERIVED {
        let expected = expected(table, count, paired);
        assert_eq!(counts(node, table), expected, "{when}: {}", table.name());
    }
}

async fn take(node: &Processor, is_client: bool, first: u64, count: u64) {
    // Each request comes twice, as from a client that did not hear its answer.
    for _ in 0..2 {
        let body = calls(is_client, first, count);
        ingest(node, Signal::Traces, body).await.expect("an ack");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_crash_at_any_step_of_a_flush_counts_each_span_and_each_call_once() {
    let steps = [
        Step::Written(Table::MetricsSum),
        Step::Committed(Table::MetricsSum),
        Step::Written(Table::MetricsHistogram),
        Step::Committed(Table::MetricsHistogram),
        Step::Written(Table::Spans),
        Step::Committed(Table::Spans),
        Step::Releasing(Signal::Traces),
    ];
    for step in steps {
        let root = tempfile::tempdir().expect("a folder");
        let (folder, crashed) = folders(root.path());
        let on_step = crash_at(step, &folder, &crashed);
        let node = open(deriving(&folder, LONG_MS), Some(on_step)).await;
        for first in [0, 5, 10] {
            take(&node, true, first, 5).await;
        }
        // Some of the servers come with their clients, and some after the crash.
        take(&node, false, 0, 5).await;
        node.flush().await.expect("a flush");
        drop(node);
        for round in 0..2 {
            let node = open(deriving(&crashed, LONG_MS), None).await;
            if round == 0 {
                take(&node, true, 10, 5).await;
                take(&node, false, 0, 5).await;
                take(&node, false, 5, 10).await;
            }
            node.flush().await.expect("a flush");
            let when = format!("{step:?}, start {round}");
            holds(&node, 15, 15, &when);
            assert_eq!(capture(&node, Table::Spans).live.len(), 0, "{when}");
            node.close().await.expect("a close");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_client_that_waits_when_the_node_is_killed_becomes_one_edge_after_it() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = folders(root.path());
    let node = open(deriving(&folder, LONG_MS), None).await;
    take(&node, true, 0, 10).await;
    take(&node, false, 0, 3).await;
    node.flush().await.expect("a flush");
    // Its records are in files, and in the log for what may come still.
    assert!(node.stats().log_segments > 0);
    copy_as_crashed(&folder, &crashed);
    drop(node);
    let node = open(deriving(&crashed, 1), None).await;
    assert_eq!(capture(&node, Table::Spans).live.len(), 0, "files cover it");
    take(&node, false, 3, 2).await;
    node.flush().await.expect("a flush");
    // The others are let go of after a millisecond or two, without another flush.
    let labels = vec![("connection", "virtual_node")];
    let told = |node: &Processor| node.metrics.derive.edges.get_or_create(&labels).get();
    while told(&node) < 5 {
        tokio::task::yield_now().await;
    }
    holds(&node, 10, 5, "after the wait");
    node.close().await.expect("a close");
    let node = open(deriving(&crashed, 1), None).await;
    node.flush().await.expect("a flush");
    holds(&node, 10, 5, "after another start");
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_metrics_that_come_in_and_those_that_are_derived_do_not_cover_each_other() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, crashed) = folders(root.path());
    // Derived rows are committed while metrics that came before them are not.
    let on_step = crash_at(Step::Releasing(Signal::Traces), &folder, &crashed);
    let fails: OnStep = Arc::new(move |step| {
        on_step(step)?;
        match step {
            Step::Written(Table::MetricsGauge) => {
                Err(Error::new(Code::TableIo, "a disk that is away"))
            }
            _ => Ok(()),
        }
    });
    let node = open(deriving(&folder, LONG_MS), Some(fails)).await;
    let metrics = points(0, 10);
    ingest(&node, Signal::Metrics, metrics)
        .await
        .expect("an ack");
    take(&node, true, 0, 5).await;
    take(&node, false, 0, 5).await;
    node.flush().await.expect_err("the disk is away");
    drop(node);
    let node = open(deriving(&crashed, LONG_MS), None).await;
    node.flush().await.expect("a flush");
    holds(&node, 5, 5, "after the crash");
    for (table, derived) in [(Table::MetricsSum, 15), (Table::MetricsHistogram, 20)] {
        let rows: u64 = capture(&node, table)
            .files
            .iter()
            .map(|file| file.rows)
            .sum();
        assert_eq!(rows, derived + 10, "{}", table.name());
    }
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_i9_whoever_takes_a_stream_over_counts_what_its_owner_has_not_and_nothing_else() {
    for at in [
        Step::Written(Table::MetricsSum),
        Step::Written(Table::MetricsHistogram),
        Step::Written(Table::Spans),
    ] {
        let root = tempfile::tempdir().expect("a folder");
        let fails = Arc::new(AtomicBool::new(true));
        let failing = Arc::clone(&fails);
        let on_step: OnStep =
            Arc::new(
                move |step| match step == at && failing.load(Ordering::Acquire) {
                    true => Err(Error::new(Code::TableIo, "a disk that is away")),
                    false => Ok(()),
                },
            );
        let shared = |node: &str| ProcessorConfig {
            tables_dir: Some(root.path().join("tables")),
            leave_earlier: true,
            ..deriving(&root.path().join(node), LONG_MS)
        };
        let owner = open(shared("owner"), Some(on_step)).await;
        let other = open(shared("other"), None).await;
        let stream = owner.session().stream;
        take(&owner, true, 0, 10).await;
        take(&owner, false, 0, 10).await;
        owner.flush().await.expect_err("the disk is away");
        other.take_over(stream, 2).await.expect("it is the first");
        // The owner was paused, say, and goes on where it was.
        fails.store(false, Ordering::Release);
        owner.flush().await.expect("the rest is not its own");
        for (position, record) in records(&root.path().join("owner"), stream) {
            other.adopt(position, record, true).await.expect("adopted");
        }
        other.flush().await.expect("a flush");
        holds(&other, 10, 10, &format!("{at:?}"));
        owner.close().await.expect("a close");
        other.close().await.expect("a close");
    }
}
