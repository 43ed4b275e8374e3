//! What becomes of records that are not as they should be: rows, ledger, log and replay.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use otlake_base::limits::RecordLimits;
use otlake_base::{Code, Signal, Table};
use prost::Message;

use crate::testing::{
    bad_spans, capture, config, copy_as_crashed, each_once, ingest, ledger, numbers, open,
    request_of, spans,
};
use crate::{Processor, ProcessorConfig};

fn good(first: u64, count: u64) -> Vec<opentelemetry_proto::tonic::trace::v1::Span> {
    let mut request = ExportTraceServiceRequest::decode(spans(first, count)).expect("it is OTLP");
    request.resource_spans.remove(0).scope_spans.remove(0).spans
}

/// Three spans as they should be, two too long, one that ends before it starts, two without ids.
fn mixed() -> Bytes {
    let mut spans = good(0, 6);
    for span in &mut spans[3..5] {
        let value = any_value::Value::StringValue("ä".repeat(20));
        span.attributes.push(KeyValue {
            key: "long".into(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }
    spans[5].end_time_unix_nano = spans[5].start_time_unix_nano - 1;
    spans.extend(bad_spans(2));
    request_of(spans)
}

fn short_values(root: &std::path::Path) -> ProcessorConfig {
    ProcessorConfig {
        record_limits: RecordLimits {
            attribute_value_bytes: 33,
            ..RecordLimits::default()
        },
        ..config(root)
    }
}

/// The lines of the ledger by reason, without their prefix.
fn by_reason(node: &Processor) -> Vec<String> {
    let text = node.metrics.encode();
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix("otlake_records_")?;
        line.contains("reason=").then(|| line.to_owned())
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

fn attributes(node: &Processor) -> Vec<String> {
    let capture = capture(node, Table::Spans);
    let live = capture.live.iter().flat_map(|live| {
        let column = live.batch.column_by_name("attributes").expect("a column");
        let column = arrow::array::AsArray::as_string_view(column);
        column
            .iter()
            .map(|text| text.expect("no null").to_owned())
            .collect::<Vec<_>>()
    });
    let mut all: Vec<String> = live.collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_each_record_is_kept_changed_or_rejected_and_counted_by_reason() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(short_values(root.path()), None).await;
    let ack = ingest(&node, Signal::Traces, mixed())
        .await
        .expect("an ack");
    assert_eq!((ack.accepted, ack.rejections.count), (6, 2));
    assert_eq!(ack.changed, [("attribute_value_truncated", 2)]);
    let message = ack.message().expect("the client is told");
    assert!(
        message.starts_with("records refused: invalid_trace_id 2; the first: resource_spans[0]")
            && message.ends_with("records changed: attribute_value_truncated 2"),
        "{message}"
    );
    assert_eq!(ledger(&node, Signal::Traces), (8, 6, 2));
    assert_eq!(
        by_reason(&node),
        [
            "changed_total{signal=\"traces\",reason=\"attribute_value_truncated\"} 2",
            "flagged_total{signal=\"traces\",reason=\"end_before_start\"} 1",
            "rejected_total{signal=\"traces\",reason=\"invalid_trace_id\"} 2",
        ]
    );
    // The cut is at the end of a character.
    let cut = format!("{{\"long\":\"{}\"}}", "ä".repeat(16));
    assert_eq!(attributes(&node), [&cut, &cut, "{}", "{}", "{}", "{}"]);
    node.close().await.expect("a close");
}

#[test]
fn i4_every_reason_of_the_node_is_documented() {
    let document = include_str!("../../../docs/validation.md");
    for code in Code::ALL {
        let row = format!("\n| `{}` |", crate::ledger::reason(*code));
        assert!(document.contains(&row), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_request_refused_whole_counts_by_its_code_and_no_record() {
    let root = tempfile::tempdir().expect("a folder");
    let node = open(config(root.path()), None).await;
    let malformed = ingest(&node, Signal::Logs, Bytes::from_static(&[10, 200, 1])).await;
    assert_eq!(malformed.expect_err("it is").code, Code::OtlpMalformed);
    let text = node.metrics.encode();
    let line = "otlake_requests_refused_total{signal=\"logs\",code=\"OTLP_MALFORMED\"} 1";
    assert!(text.lines().any(|found| found == line), "{text}");
    assert_eq!(ledger(&node, Signal::Logs), (0, 0, 0));
    node.close().await.expect("a close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_what_was_acknowledged_returns_under_other_limits() {
    let (root, copy) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let node = open(short_values(root.path()), None).await;
    ingest(&node, Signal::Traces, mixed())
        .await
        .expect("an ack");
    ingest(&node, Signal::Traces, spans(6, 4))
        .await
        .expect("an ack");
    let before = attributes(&node);
    copy_as_crashed(root.path(), copy.path());
    node.close().await.expect("a close");

    for record_limits in [
        RecordLimits::default(),
        RecordLimits {
            attributes: 1,
            attribute_key_bytes: 1,
            ..RecordLimits::default()
        },
    ] {
        let again = tempfile::tempdir().expect("a folder");
        copy_as_crashed(copy.path(), again.path());
        let other = ProcessorConfig {
            record_limits,
            ..config(again.path())
        };
        // Nothing was flushed: the rows come from the log.
        let node = open(other, None).await;
        assert_eq!(numbers(&node, Table::Spans), each_once(10));
        assert_eq!(attributes(&node), before);
        // A resend is known by what the client sent, not by what the log keeps of the limits (I3).
        ingest(&node, Signal::Traces, mixed())
            .await
            .expect("an ack");
        assert_eq!(numbers(&node, Table::Spans), each_once(10));
        node.close().await.expect("a close");
    }
}
