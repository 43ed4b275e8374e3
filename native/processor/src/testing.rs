//! Requests whose records are numbered, and what the node holds of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlake_base::disk::real;
use otlake_base::metrics::by_signal;
use otlake_base::{
    Capture, Consistency, Metrics, Position, Result, Signal, StreamId, SystemClock, Table,
};
use otlake_flush::{OnStep, Step};
use otlake_log::{Record, StreamReader};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message;

use crate::{Ack, Processor, ProcessorConfig};

/// The time of record 0: 2026-01-01, so that records have one day.
const EPOCH: u64 = 1_767_225_600_000_000_000;

fn resource() -> Option<Resource> {
    let value = AnyValue {
        value: Some(any_value::Value::StringValue("checkout".into())),
    };
    let name = KeyValue {
        key: "service.name".into(),
        value: Some(value),
        ..KeyValue::default()
    };
    Some(Resource {
        attributes: vec![name],
        ..Resource::default()
    })
}

fn span(number: u64) -> Span {
    Span {
        trace_id: u128::from(number + 1).to_be_bytes().to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: format!("operation {}", number % 7),
        kind: 2,
        start_time_unix_nano: EPOCH + number,
        end_time_unix_nano: EPOCH + number + 1_000,
        ..Span::default()
    }
}

/// An export request of these spans.
pub(crate) fn request_of(spans: Vec<Span>) -> Bytes {
    let scope_spans = vec![ScopeSpans {
        spans,
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        resource: resource(),
        scope_spans,
        ..ResourceSpans::default()
    }];
    Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec())
}

/// Spans number `first` to `first + count - 1`.
pub(crate) fn spans(first: u64, count: u64) -> Bytes {
    request_of((first..first + count).map(span).collect())
}

/// Spans that the specification forbids: their trace ids are three bytes long.
pub(crate) fn bad_spans(count: u64) -> Vec<Span> {
    (0..count)
        .map(|number| Span {
            trace_id: vec![1, 2, 3],
            ..span(number)
        })
        .collect()
}

/// `good` spans from number `first`, then `bad` ones.
pub(crate) fn mixed_spans(first: u64, good: u64, bad: u64) -> Bytes {
    request_of(
        (first..first + good)
            .map(span)
            .chain(bad_spans(bad))
            .collect(),
    )
}

/// Log records number `first` to `first + count - 1`.
pub(crate) fn logs(first: u64, count: u64) -> Bytes {
    let record = |number| LogRecord {
        time_unix_nano: EPOCH + number,
        ..LogRecord::default()
    };
    let log_records = (first..first + count).map(record).collect();
    let scope_logs = vec![ScopeLogs {
        log_records,
        ..ScopeLogs::default()
    }];
    let resource_logs = vec![ResourceLogs {
        resource: resource(),
        scope_logs,
        ..ResourceLogs::default()
    }];
    Bytes::from(ExportLogsServiceRequest { resource_logs }.encode_to_vec())
}

/// Points number `first` to `first + count - 1` in each of the five tables.
pub(crate) fn points(first: u64, count: u64) -> Bytes {
    let times = || (first..first + count).map(|number| EPOCH + number);
    let number = |time_unix_nano| NumberDataPoint {
        time_unix_nano,
        value: Some(number_data_point::Value::AsInt(1)),
        ..NumberDataPoint::default()
    };
    let gauge = Gauge {
        data_points: times().map(number).collect(),
    };
    let sum = Sum {
        data_points: times().map(number).collect(),
        aggregation_temporality: 2,
        is_monotonic: true,
    };
    let histogram = |time_unix_nano| HistogramDataPoint {
        time_unix_nano,
        count: 1,
        bucket_counts: vec![1],
        ..HistogramDataPoint::default()
    };
    let histogram = Histogram {
        data_points: times().map(histogram).collect(),
        aggregation_temporality: 2,
    };
    let exponential = |time_unix_nano| ExponentialHistogramDataPoint {
        time_unix_nano,
        ..ExponentialHistogramDataPoint::default()
    };
    let exponential = ExponentialHistogram {
        data_points: times().map(exponential).collect(),
        aggregation_temporality: 2,
    };
    let summary = |time_unix_nano| SummaryDataPoint {
        time_unix_nano,
        ..SummaryDataPoint::default()
    };
    let summary = Summary {
        data_points: times().map(summary).collect(),
    };
    let metrics = [
        ("gauge", metric::Data::Gauge(gauge)),
        ("sum", metric::Data::Sum(sum)),
        ("histogram", metric::Data::Histogram(histogram)),
        (
            "exponential",
            metric::Data::ExponentialHistogram(exponential),
        ),
        ("summary", metric::Data::Summary(summary)),
    ]
    .map(|(name, data)| Metric {
        name: name.into(),
        data: Some(data),
        ..Metric::default()
    });
    let scope_metrics = vec![ScopeMetrics {
        metrics: metrics.into(),
        ..ScopeMetrics::default()
    }];
    let resource_metrics = vec![ResourceMetrics {
        resource: resource(),
        scope_metrics,
        ..ResourceMetrics::default()
    }];
    Bytes::from(ExportMetricsServiceRequest { resource_metrics }.encode_to_vec())
}

/// A node that flushes only when asked.
pub(crate) fn config(root: &Path) -> ProcessorConfig {
    ProcessorConfig {
        flush_interval_ms: 3_600_000,
        log_segment_bytes: 1024 * 1024,
        ..ProcessorConfig::new(root)
    }
}

pub(crate) async fn open(config: ProcessorConfig, on_step: Option<OnStep>) -> Arc<Processor> {
    let metrics = Arc::new(Metrics::strict());
    Processor::open_observed(config, Arc::new(SystemClock), metrics, on_step)
        .await
        .expect("the node opens")
}

pub(crate) async fn ingest(node: &Processor, signal: Signal, body: Bytes) -> Result<Ack> {
    node.ingest(signal, "default".into(), "library", body).await
}

pub(crate) fn capture(node: &Processor, table: Table) -> Capture {
    node.source(table)
        .capture(&Consistency::Strong)
        .expect("a strong capture")
}

/// Rows of a capture, by the snapshot's count.
pub(crate) fn rows(capture: &Capture) -> u64 {
    let live: u64 = capture
        .live
        .iter()
        .map(|live| live.batch.num_rows() as u64)
        .sum();
    live + capture.files.iter().map(|file| file.rows).sum::<u64>()
}

/// The numbers of a table's records, as its live rows and its files' rows hold them, with how
/// often each is there.
pub(crate) fn numbers(node: &Processor, table: Table) -> BTreeMap<u64, u64> {
    numbers_of(node, table, None)
}

/// The same of one tenant, or of all.
pub(crate) fn numbers_of(
    node: &Processor,
    table: Table,
    tenant: Option<&str>,
) -> BTreeMap<u64, u64> {
    let capture = capture(node, table);
    let is_of = |of: &str| tenant.is_none_or(|tenant| tenant == of);
    let live = capture.live.iter().filter(|live| is_of(&live.tenant));
    let mut batches: Vec<RecordBatch> = live.map(|live| live.batch.clone()).collect();
    for file in capture.files.iter().filter(|file| is_of(&file.tenant)) {
        let file = File::open(capture.root.join(&file.path)).expect("a file of the snapshot");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        batches.extend(
            reader
                .build()
                .expect("a reader")
                .map(|batch| batch.expect("a batch")),
        );
    }
    let mut numbers = BTreeMap::new();
    for batch in batches {
        let times = batch
            .column_by_name(table.time_column())
            .expect("the time column");
        for time in times.as_primitive::<Int64Type>().values() {
            *numbers.entry(*time as u64 - EPOCH).or_insert(0) += 1;
        }
    }
    numbers
}

/// Each number below `count`, once.
pub(crate) fn each_once(count: u64) -> BTreeMap<u64, u64> {
    (0..count).map(|number| (number, 1)).collect()
}

/// What a crash at this moment leaves: the folder, copied in an order that cannot show a later
/// state of what refers than of what is referred to. The log comes before the tables that make
/// its records superfluous, and a table's own log before its files.
pub(crate) fn copy_as_crashed(from: &Path, to: &Path) {
    copy(&from.join("log"), &to.join("log"));
    let tables = std::fs::read_dir(from.join("tables")).expect("the tables");
    for table in tables {
        let name = table.expect("a table").file_name();
        let (from, to) = (
            from.join("tables").join(&name),
            to.join("tables").join(&name),
        );
        copy(&from.join("_delta_log"), &to.join("_delta_log"));
        copy(&from, &to);
    }
    // Decisions of tail sampling are durable before the commit that they are of: copied after the tables, they
    // are a later state, of which the copy shows nothing else.
    let decisions = from.join("sampling");
    if decisions.exists() {
        copy(&decisions, &to.join("sampling"));
    }
}

/// A folder for a node, and one for what a crash of it leaves.
pub(crate) fn folders(root: &Path) -> (PathBuf, PathBuf) {
    (root.join("node"), root.join("crashed"))
}

/// Copies what a crash at a step leaves, the first time that a flush comes to it.
pub(crate) fn crash_at(at: Step, from: &Path, to: &Path) -> OnStep {
    let (from, to) = (from.to_owned(), to.to_owned());
    let passed = AtomicU64::new(0);
    Arc::new(move |step| {
        if step == at && passed.fetch_add(1, Ordering::SeqCst) == 0 {
            copy_as_crashed(&from, &to);
        }
        Ok(())
    })
}

/// Sends a hundred rows of each table, every request twice, as clients do that heard no answer.
pub(crate) async fn ingest_each_twice(node: &Processor) {
    for request in 0..10 {
        for signal in Signal::ALL {
            let body = match signal {
                Signal::Traces => spans(request * 10, 10),
                Signal::Logs => logs(request * 10, 10),
                Signal::Metrics => points(request * 10, 10),
            };
            for _ in 0..2 {
                ingest(node, signal, body.clone()).await.expect("an ack");
            }
        }
    }
}

/// Takes over the stream of a node that has gone: adopts the first half of its records, and appends the
/// others again.
pub(crate) async fn adopt_and_append(node: &Arc<Processor>, gone: &Path, stream: StreamId) {
    node.take_over(stream, 2).await.expect("it is taken over");
    let records = records(gone, stream);
    assert!(records.len() >= 2, "both ways are gone");
    let (adopted, appended) = records.split_at(records.len() / 2);
    for (position, record) in adopted {
        let adopted = node.adopt(*position, record.clone(), true);
        adopted.await.expect("adopted");
    }
    for (_, record) in appended {
        let appended = node.append_again(record.clone());
        appended.await.expect("appended");
    }
}

/// Calls that files of the derived series count, by tenant.
pub(crate) fn derived_calls(node: &Processor) -> BTreeMap<String, i64> {
    let capture = capture(node, Table::MetricsSum);
    let mut calls = BTreeMap::new();
    for file in capture.files.iter() {
        let path = File::open(capture.root.join(&file.path)).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(path).expect("Parquet");
        for batch in reader.build().expect("a reader") {
            let batch = batch.expect("a batch");
            let counts = batch.column_by_name("value_int").expect("it");
            let counts = counts.as_primitive::<Int64Type>().values().iter();
            *calls.entry(file.tenant.to_string()).or_insert(0) += counts.sum::<i64>();
        }
    }
    calls
}

/// The records of a stream in a node's log.
pub(crate) fn records(root: &Path, stream: StreamId) -> Vec<(Position, Record)> {
    let mut reader = StreamReader::new(real(), root.join("log"), stream, 1);
    let mut records = Vec::new();
    loop {
        let chunk = reader.read(None, 1 << 20).expect("the log can be read");
        for frame in &chunk.frames {
            records.push((frame.position(), frame.record().expect("a record")));
        }
        if chunk.ended {
            return records;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            if entry.file_name() != "_delta_log" || !to.exists() {
                copy(&entry.path(), &to);
            }
        } else {
            // What goes while it is copied, a temporary name or a segment that the tables have
            // made superfluous, a crash a moment later would not have left either.
            match std::fs::copy(entry.path(), to) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.expect("a copy")),
            }
        }
    }
}

/// Parquet files below a folder.
pub(crate) fn parquet_files(root: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(root) else {
        return 0;
    };
    entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| match path.is_dir() {
            true => parquet_files(&path),
            false => usize::from(path.extension().is_some_and(|end| end == "parquet")),
        })
        .sum()
}

/// Received, acknowledged and rejected records of a signal.
pub(crate) fn ledger(node: &Processor, signal: Signal) -> (u64, u64, u64) {
    let labels = by_signal(signal);
    let metrics = &node.metrics;
    let rejected = metrics
        .encode()
        .lines()
        .filter(|line| line.starts_with("otlake_records_rejected_total"))
        .filter(|line| line.contains(&format!("signal=\"{}\"", signal.name())))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    (
        metrics.records_received.get_or_create(&labels).get(),
        metrics.records_acknowledged.get_or_create(&labels).get(),
        rejected,
    )
}
