//! What goes beyond a limit, against plain code that cuts prost's messages; and the log's bytes,
//! whose replay must give the rows that were acknowledged.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::MetricsData;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use otlake_base::Signal;
use otlake_base::limits::RecordLimits;
use proptest::prelude::*;
use prost::Message;

use crate::cut_test::Cut;
use crate::json::random_otlp_test::{logs, metrics, traces, value};
use crate::{Decoded, as_received, decode, replay, to_log};

fn decoded(signal: Signal, body: &[u8], limits: &RecordLimits) -> Decoded {
    decode(signal, &Bytes::copy_from_slice(body), "t", limits).unwrap()
}

/// Limits so small that random messages often go beyond them.
fn small() -> impl Strategy<Value = RecordLimits> {
    (
        0..3usize,
        0..6usize,
        0..6usize,
        1..4usize,
        0..3usize,
        0..3usize,
    )
        .prop_map(
            |(
                attributes,
                attribute_key_bytes,
                attribute_value_bytes,
                value_depth,
                events,
                links,
            )| {
                RecordLimits {
                    attributes,
                    attribute_key_bytes,
                    attribute_value_bytes,
                    value_depth,
                    events,
                    links,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn spans_are_cut_as_plain_code_cuts_them(data in traces(), limits in small()) {
        let cut = Cut(limits).traces(data.clone());
        let found = decoded(Signal::Traces, &data.encode_to_vec(), &limits);
        let expected = decoded(Signal::Traces, &cut.encode_to_vec(), &RecordLimits::NONE);
        prop_assert_eq!(&found.tables, &expected.tables);
        prop_assert_eq!(found.rejections.count, 0);
        prop_assert_eq!(found.limited, cut.encode_to_vec() != data.encode_to_vec());
        let rows = found.accepted;
        prop_assert!(found.changed.iter().all(|(_, count)| *count <= rows));
    }

    #[test]
    fn log_records_are_cut_as_plain_code_cuts_them(data in logs(), limits in small()) {
        let cut = Cut(limits).logs(data.clone());
        let found = decoded(Signal::Logs, &data.encode_to_vec(), &limits);
        let expected = decoded(Signal::Logs, &cut.encode_to_vec(), &RecordLimits::NONE);
        prop_assert_eq!(&found.tables, &expected.tables);
        prop_assert_eq!(found.limited, cut.encode_to_vec() != data.encode_to_vec());
    }

    #[test]
    fn data_points_are_cut_as_plain_code_cuts_them_but_for_their_identity(
        data in metrics(), limits in small(),
    ) {
        let cut = Cut(limits).metrics(data.clone());
        let found = decoded(Signal::Metrics, &data.encode_to_vec(), &limits);
        let expected = decoded(Signal::Metrics, &cut.encode_to_vec(), &RecordLimits::NONE);
        prop_assert_eq!(&found.tables, &expected.tables);
        let refused = found.received - expected.received;
        prop_assert_eq!(found.rejections.count, refused);
        let by_reason = &found.rejections.by_reason;
        prop_assert!(by_reason.iter().all(|(reason, _)| *reason == "attribute_limit"));
    }

    /// Data points are refused instead, where their identity is concerned.
    #[test]
    fn i4_what_is_received_is_a_row_or_refused(
        traces in traces(), logs in logs(), metrics in metrics(), limits in small(),
    ) {
        for (signal, body) in [
            (Signal::Traces, traces.encode_to_vec()),
            (Signal::Logs, logs.encode_to_vec()),
            (Signal::Metrics, metrics.encode_to_vec()),
        ] {
            let found = decoded(signal, &body, &limits);
            prop_assert_eq!(found.received, found.accepted + found.rejections.count);
            let by_reason: u64 = found.rejections.by_reason.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(by_reason, found.rejections.count);
            prop_assert_eq!(found.rejections.first.is_some(), by_reason > 0);
        }
        let points: usize = metrics.resource_metrics.iter().flat_map(|it| &it.scope_metrics)
            .flat_map(|it| &it.metrics).map(points).sum();
        prop_assert_eq!(decoded(Signal::Metrics, &metrics.encode_to_vec(), &limits).received, points as u64);
    }

    #[test]
    fn i2_a_replay_gives_the_rows_that_were_acknowledged(
        traces in traces(), logs in logs(), metrics in metrics(), limits in small(),
    ) {
        for (signal, body) in [
            (Signal::Traces, traces.encode_to_vec()),
            (Signal::Logs, logs.encode_to_vec()),
            (Signal::Metrics, metrics.encode_to_vec()),
        ] {
            let body = Bytes::from(body);
            let first = decode(signal, &body, "t", &limits).unwrap();
            let logged = to_log(body.clone(), &first, &limits);
            prop_assert_eq!(logged == body, !first.limited);
            prop_assert_eq!(&as_received(&logged), &body);
            let again = replay(signal, &logged, "t").unwrap();
            prop_assert_eq!(&again.tables, &first.tables);
            // Sent again as it is logged, it is still what it says, and not taken for a mark.
            let resent = decode(signal, &logged, "t", &RecordLimits::default()).unwrap();
            let logged_again = to_log(logged.clone(), &resent, &RecordLimits::default());
            prop_assert_eq!(&as_received(&logged_again), &logged);
            prop_assert_eq!(&replay(signal, &logged_again, "t").unwrap().tables, &resent.tables);
        }
    }

    #[test]
    fn what_is_within_the_limits_is_not_changed(value in value()) {
        let body = log_of(vec![entry("key", value)]);
        let found = decoded(Signal::Logs, &body, &RecordLimits::default());
        prop_assert!(found.changed.is_empty() && !found.limited, "{:?}", found.changed);
    }
}

fn points(metric: &opentelemetry_proto::tonic::metrics::v1::Metric) -> usize {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data::*;
    match &metric.data {
        None => 0,
        Some(Gauge(data)) => data.data_points.len(),
        Some(Sum(data)) => data.data_points.len(),
        Some(Histogram(data)) => data.data_points.len(),
        Some(ExponentialHistogram(data)) => data.data_points.len(),
        Some(Summary(data)) => data.data_points.len(),
    }
}

fn entry(key: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(value),
        ..Default::default()
    }
}

fn log_of(attributes: Vec<KeyValue>) -> Vec<u8> {
    let record = LogRecord {
        time_unix_nano: 1 << 60,
        attributes,
        ..Default::default()
    };
    let scope_logs = vec![ScopeLogs {
        log_records: vec![record],
        ..Default::default()
    }];
    LogsData {
        resource_logs: vec![ResourceLogs {
            scope_logs,
            ..Default::default()
        }],
    }
    .encode_to_vec()
}

#[test]
fn a_mark_has_one_form_that_other_versions_read() {
    let limits = RecordLimits {
        attributes: 1,
        attribute_key_bytes: 2,
        attribute_value_bytes: usize::MAX,
        value_depth: 4,
        events: 5,
        links: 6,
    };
    let body = log_of(vec![
        entry("a", AnyValue::default()),
        entry("b", AnyValue::default()),
    ]);
    let found = decoded(Signal::Logs, &body, &limits);
    assert_eq!(found.changed, [("attributes_dropped", 1)]);
    let logged = to_log(Bytes::from(body.clone()), &found, &limits);
    let mark =
        b"\xc2\xa3\x09\x18\x01\0\0\0\x02\0\0\0\xff\xff\xff\xff\x04\0\0\0\x05\0\0\0\x06\0\0\0";
    assert_eq!(&logged[body.len()..], mark);
}

/// Each text of a message in turn becomes bytes that are not UTF-8: the records below it are
/// refused, and no other.
#[test]
fn i4_text_that_is_not_utf8_refuses_the_records_it_belongs_to() {
    let text = |text: &str| AnyValue {
        value: Some(Value::StringValue(text.into())),
    };
    let mut data = TracesData::default();
    for number in 1..3u8 {
        let span = |at: u8| Span {
            trace_id: vec![number; 16],
            span_id: vec![at; 8],
            name: format!("text of name {number} {at}"),
            trace_state: format!("text of state {number} {at}"),
            attributes: vec![
                entry(&format!("text of key {number} {at}"), text("x")),
                entry("x", text(&format!("text of value {number} {at}"))),
            ],
            events: vec![opentelemetry_proto::tonic::trace::v1::span::Event {
                name: format!("text of event {number} {at}"),
                ..Default::default()
            }],
            ..Default::default()
        };
        data.resource_spans.push(ResourceSpans {
            resource: Some(opentelemetry_proto::tonic::resource::v1::Resource {
                attributes: vec![entry("x", text(&format!("text of resource {number}")))],
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(
                    opentelemetry_proto::tonic::common::v1::InstrumentationScope {
                        name: format!("text of scope {number}"),
                        ..Default::default()
                    },
                ),
                spans: vec![span(1), span(2), span(3)],
                schema_url: format!("text of url {number}"),
            }],
            ..Default::default()
        });
    }
    let body = data.encode_to_vec();
    let mut seen = 0;
    for (at, _) in body
        .windows(8)
        .enumerate()
        .filter(|(_, it)| it == b"text of ")
    {
        let mut spoiled = body.clone();
        spoiled[at] = 0xff;
        let found = decoded(Signal::Traces, &spoiled, &RecordLimits::default());
        let of_group = [&b"resource"[..], b"scope", b"url"];
        let shared = of_group.iter().any(|it| body[at + 8..].starts_with(it));
        let refused = if shared { 3 } else { 1 };
        assert_eq!((found.received, found.accepted), (6, 6 - refused));
        assert_eq!(found.rejections.by_reason, [("invalid_utf8", refused)]);
        let first = found.rejections.first.unwrap();
        assert!(
            first.starts_with("resource_spans[") && first.ends_with(": must be UTF-8"),
            "{first}"
        );
        seen += 1;
    }
    assert_eq!(seen, 2 * (3 + 3 * 5));
}

#[test]
fn a_series_whose_identity_would_be_cut_is_refused() {
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
    };
    let point = |keys: &[&str]| NumberDataPoint {
        attributes: keys
            .iter()
            .map(|key| entry(key, AnyValue::default()))
            .collect(),
        time_unix_nano: 1 << 60,
        ..Default::default()
    };
    let metric = Metric {
        data: Some(metric::Data::Gauge(Gauge {
            data_points: vec![point(&["a"]), point(&["a", "b"]), point(&["b"])],
        })),
        ..Default::default()
    };
    let body = MetricsData {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    let limits = RecordLimits {
        attributes: 1,
        ..RecordLimits::default()
    };
    let found = decoded(Signal::Metrics, &body.encode_to_vec(), &limits);
    assert_eq!((found.received, found.accepted), (3, 2));
    assert_eq!(found.rejections.by_reason, [("attribute_limit", 1)]);
    assert!(found.changed.is_empty());
}
