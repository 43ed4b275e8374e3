//! What OTLP/JSON can say and protobuf cannot costs the record that it stands in, and no other.

use bytes::Bytes;
use otlake_base::Signal;
use otlake_base::limits::RecordLimits;

use super::to_protobuf;
use crate::{Decoded, decode};

fn decoded(signal: Signal, json: &str) -> Decoded {
    let body = Bytes::from(to_protobuf(signal, json.as_bytes()).unwrap());
    decode(signal, &body, "t", &RecordLimits::default()).unwrap()
}

/// A request of these spans' fields, each beside ids that are as they should be.
fn spans(each: &[&str]) -> String {
    let ids = r#""traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708""#;
    let spans: Vec<String> = each.iter().map(|it| format!("{{{ids},{it}}}")).collect();
    let spans = spans.join(",");
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#)
}

#[test]
fn an_id_that_is_no_hexadecimal_text_refuses_its_span_alone() {
    for (id, got) in [
        ("zz", 1),
        ("0102030405060708090a0b0c0d0e0f1", 17),
        ("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", 1),
        ("0102030405060708090a0b0c0d0e0fzz", 17),
        ("0102030405060708090a0b0c0d0e0f10zz", 17),
        ("0102030405060708090a0b0c0d0e0f1é", 17),
        ("0x02030405060708090a0b0c0d0e0f10", 1),
        ("abcd", 2),
    ] {
        let found = decoded(
            Signal::Traces,
            &spans(&[r#""name":"a""#, &format!(r#""traceId":"{id}""#)]),
        );
        assert_eq!((found.received, found.accepted), (2, 1), "{id}");
        assert_eq!(found.rejections.by_reason, [("invalid_trace_id", 1)]);
        let first = format!(
            "resource_spans[0].scope_spans[0].spans[1].trace_id: \
             must be 16 bytes, 32 hexadecimal digits in JSON, got {got}"
        );
        assert_eq!(found.rejections.first, Some(first));
    }
}

#[test]
fn no_text_that_is_no_id_passes_for_one() {
    for (field, reason) in [
        ("spanId", "invalid_span_id"),
        ("parentSpanId", "invalid_parent_span_id"),
    ] {
        for id in ["zz", "010203040506070z", "01020304050607zz", "-1", " "] {
            let found = decoded(Signal::Traces, &spans(&[&format!(r#""{field}":"{id}""#)]));
            assert_eq!(found.rejections.by_reason, [(reason, 1)], "{id}");
        }
    }
    let link = r#""links":[{"traceId":"zz","spanId":"0102030405060708"}]"#;
    let found = decoded(Signal::Traces, &spans(&[link]));
    assert_eq!(found.rejections.by_reason, [("invalid_link", 1)]);
    let log = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"zz"},{}]}]}]}"#;
    let found = decoded(Signal::Logs, log);
    assert_eq!((found.accepted, found.rejections.count), (2, 0));
    assert_eq!(found.changed, [("invalid_trace_id", 1)]);
}

#[test]
fn half_a_surrogate_pair_counts_its_record_as_changed() {
    let half = r#"\ud83d"#;
    for (text, changed) in [
        (r#""name":"whole \ud83d\ude00""#.to_owned(), 0),
        (format!(r#""name":"{half}""#), 1),
        (format!(r#""name":"{half}","traceState":"{half}""#), 1),
        (
            format!(r#""attributes":[{{"key":"a","value":{{"stringValue":"{half}"}}}}]"#),
            1,
        ),
        (
            format!(r#""events":[{{"attributes":[{{"key":"{half}"}}]}}]"#),
            1,
        ),
        // Nobody reads it.
        (format!(r#""unknown":{{"{half}":"{half}"}},"{half}":1"#), 0),
    ] {
        let found = decoded(
            Signal::Traces,
            &spans(&[r#""name":"before""#, &text, r#""name":"after""#]),
        );
        assert_eq!(found.accepted, 3, "{text}");
        let count: u64 = found.changed.iter().map(|(_, count)| count).sum();
        assert_eq!(count, changed, "{text}");
        assert!(
            found
                .changed
                .iter()
                .all(|(reason, _)| *reason == "text_replaced")
        );
    }
}

#[test]
fn half_a_surrogate_pair_in_what_records_share_changes_all_of_them() {
    let point = r#"{"timeUnixNano":"1767225600000000000","asInt":"1"}"#;
    let of = |resource: &str, scope: &str, unit: &str, point: &str| {
        format!(
            r#"{{"resourceMetrics":[{{"schemaUrl":"{resource}","scopeMetrics":[
                {{"scope":{{"name":"{scope}"}},"metrics":[
                    {{"name":"m","unit":"{unit}","gauge":{{"dataPoints":[{point},{point}]}}}},
                    {{"name":"n","sum":{{"dataPoints":[{point}]}}}}
                ]}},
                {{"metrics":[{{"name":"o","gauge":{{"dataPoints":[{point}]}}}}]}}
            ]}}]}}"#
        )
    };
    let odd = r#"{"attributes":[{"key":"\udc00"}]}"#;
    for (json, changed) in [
        (of("", "", "", point), 0),
        (of(r"\ud800", "", "", point), 4),
        (of("", r"\ud800", "", point), 3),
        (of("", "", r"\ud800", point), 2),
        (of("", "", "", odd), 4),
    ] {
        let found = decoded(Signal::Metrics, &json);
        assert_eq!(found.accepted, 4);
        let count = found
            .changed
            .iter()
            .find(|(reason, _)| *reason == "text_replaced");
        assert_eq!(count.map_or(0, |(_, count)| *count), changed, "{json}");
    }
}
