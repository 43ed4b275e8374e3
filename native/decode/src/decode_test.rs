use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, MetricsData, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use otlake_base::limits::RecordLimits;
use otlake_base::{Code, Signal, Table};
use proptest::prelude::*;
use prost::Message;

use crate::encode::wire_writer::WireWriter;
use crate::json::random_otlp_test::{logs, metrics, traces};
use crate::{Decoded, decode};

const DAY: u64 = 86_400_000_000_000;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn span(number: u8) -> Span {
    Span {
        trace_id: vec![number; 16],
        span_id: vec![number; 8],
        name: format!("span number {number} of the test"),
        start_time_unix_nano: 3 * DAY + 1999,
        end_time_unix_nano: 3 * DAY + 1000,
        attributes: vec![
            text("http.method", "GET"),
            text("http.route", "/a/long/route/{id}"),
        ],
        ..Default::default()
    }
}

fn request(spans: Vec<Span>) -> Vec<u8> {
    TracesData {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text("service.name", "a service with a long name")],
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
    .encode_to_vec()
}

fn decoded(signal: Signal, body: Vec<u8>) -> Decoded {
    decode(
        signal,
        &Bytes::from(body),
        "a-tenant-with-a-long-name",
        &RecordLimits::default(),
    )
    .unwrap()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a dyn Array {
    batch.column_by_name(name).unwrap()
}

fn only(decoded: &Decoded, table: Table) -> &RecordBatch {
    assert_eq!(decoded.tables.len(), 1);
    assert_eq!(decoded.tables[0].0, table);
    &decoded.tables[0].1
}

#[test]
fn a_span_is_also_read_into_columns_of_its_own() {
    let decoded = decoded(Signal::Traces, request(vec![span(1), span(2)]));
    let batch = only(&decoded, Table::Spans);
    for (name, expected) in [
        ("tenant", "a-tenant-with-a-long-name"),
        ("service_name", "a service with a long name"),
        ("http_request_method", "GET"),
        ("http_route", "/a/long/route/{id}"),
        (
            "attributes",
            r#"{"http.method":"GET","http.route":"/a/long/route/{id}"}"#,
        ),
    ] {
        assert_eq!(
            column(batch, name).as_string_view().value(1),
            expected,
            "{name}"
        );
    }
    assert_eq!(
        column(batch, "day").as_primitive::<Date32Type>().value(0),
        3
    );
    assert_eq!(
        column(batch, "duration_ns")
            .as_primitive::<Int64Type>()
            .value(0),
        -999
    );
    let start = column(batch, "start_time").as_primitive::<TimestampMicrosecondType>();
    assert_eq!(start.value(0), 3 * DAY as i64 / 1000 + 1);
    assert!(column(batch, "db_system_name").is_null(0));
}

#[test]
fn a_text_that_spans_share_stands_in_one_place() {
    let decoded = decoded(
        Signal::Traces,
        request(
            (1..4)
                .map(|number| Span {
                    name: "a name that all have".into(),
                    ..span(number)
                })
                .collect(),
        ),
    );
    let batch = only(&decoded, Table::Spans);
    for name in ["name", "http_route", "service_name"] {
        let views = column(batch, name).as_string_view().views();
        assert!(
            views[0] as u32 > 12 && views.iter().all(|view| *view == views[0]),
            "{name}"
        );
    }
}

#[test]
fn a_refused_span_leaves_no_trace_in_any_column() {
    let link = |bytes: usize| Link {
        trace_id: vec![1; bytes],
        span_id: vec![2; 8],
        ..Default::default()
    };
    let bad: [(&str, &str, Span); 7] = [
        (
            "invalid_trace_id",
            "trace_id",
            Span {
                trace_id: vec![1; 15],
                ..span(9)
            },
        ),
        (
            "invalid_trace_id",
            "trace_id",
            Span {
                trace_id: vec![0; 16],
                ..span(9)
            },
        ),
        (
            "invalid_span_id",
            "span_id",
            Span {
                span_id: vec![],
                ..span(9)
            },
        ),
        (
            "invalid_parent_span_id",
            "parent_span_id",
            Span {
                parent_span_id: vec![1; 7],
                ..span(9)
            },
        ),
        (
            "time_out_of_range",
            "end_time_unix_nano",
            Span {
                end_time_unix_nano: 1 << 63,
                ..span(9)
            },
        ),
        (
            "time_out_of_range",
            "start_time_unix_nano",
            Span {
                start_time_unix_nano: u64::MAX,
                ..span(9)
            },
        ),
        (
            "invalid_link",
            "links[1].trace_id",
            Span {
                links: vec![link(16), link(3)],
                ..span(9)
            },
        ),
    ];
    // A later one has its texts again, after others have taken their place.
    let own = |span: Span| Span {
        name: "a name of its own, and of a later one".into(),
        attributes: vec![text("http.route", "/a/route/of/its/own/{id}")],
        ..span
    };
    let clean = [span(1), span(2), own(span(3))];
    for (reason, field, bad) in bad {
        let mut mixed = clean.to_vec();
        mixed.insert(1, own(bad));
        let clean = decoded(Signal::Traces, request(clean.to_vec()));
        let mixed = decoded(Signal::Traces, request(mixed));
        assert_eq!(mixed.accepted, 3);
        assert_eq!(
            only(&mixed, Table::Spans),
            only(&clean, Table::Spans),
            "{field}"
        );
        assert_eq!(mixed.rejections.count, 1);
        assert_eq!(mixed.rejections.by_reason, [(reason, 1)]);
        let first = mixed.rejections.first.unwrap();
        let place = format!("resource_spans[0].scope_spans[0].spans[1].{field}: ");
        assert!(first.starts_with(&place), "{first}");
    }
}

#[test]
fn a_histogram_with_buckets_that_do_not_fit_is_refused_alone() {
    let point = |buckets: usize| HistogramDataPoint {
        bucket_counts: vec![1; buckets],
        explicit_bounds: vec![1.0, 2.0],
        ..Default::default()
    };
    let body = metric_request(vec![Metric {
        name: "wait".into(),
        data: Some(metric::Data::Histogram(Histogram {
            data_points: vec![point(3), point(2), point(0)],
            aggregation_temporality: 2,
        })),
        ..Default::default()
    }]);
    let decoded = decoded(Signal::Metrics, body);
    assert_eq!(only(&decoded, Table::MetricsHistogram).num_rows(), 2);
    assert_eq!(decoded.rejections.by_reason, [("inconsistent_buckets", 1)]);
    assert_eq!(
        decoded.rejections.first.unwrap(),
        "resource_metrics[0].scope_metrics[0].metrics[0].data_points[1].bucket_counts: \
         must be 3 for 2 bounds, got 2"
    );
}

fn metric_request(metrics: Vec<Metric>) -> Vec<u8> {
    MetricsData {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
    .encode_to_vec()
}

#[test]
fn a_series_is_the_same_whatever_the_order_of_its_attributes() {
    let series = |name: &str, attributes: Vec<KeyValue>| {
        let body = metric_request(vec![Metric {
            name: name.into(),
            data: Some(metric::Data::Gauge(Gauge {
                data_points: vec![NumberDataPoint {
                    attributes,
                    value: Some(number_data_point::Value::AsInt(i64::MAX)),
                    ..Default::default()
                }],
            })),
            ..Default::default()
        }]);
        let decoded = decoded(Signal::Metrics, body);
        let batch = only(&decoded, Table::MetricsGauge);
        assert_eq!(
            column(batch, "value_int")
                .as_primitive::<Int64Type>()
                .value(0),
            i64::MAX
        );
        column(batch, "series_id")
            .as_primitive::<Int64Type>()
            .value(0)
    };
    let (a, b) = (text("a", "1"), text("b", "2"));
    let first = series("load", vec![a.clone(), b.clone()]);
    assert_eq!(first, series("load", vec![b.clone(), a.clone()]));
    assert_ne!(first, series("load", vec![a.clone()]));
    assert_ne!(first, series("other", vec![a, b]));
    // It is stored: this value must not change between versions.
    assert_eq!(series("load", vec![]), SERIES_OF_LOAD);
}

const SERIES_OF_LOAD: i64 = 5_636_908_696_735_535_233;

#[test]
fn a_request_that_is_malformed_at_its_end_is_refused_whole_and_says_where() {
    let mut body = request(vec![span(1)]);
    let length = body.len();
    body.extend_from_slice(&[10, 200, 1]);
    let error = decode(
        Signal::Traces,
        &Bytes::from(body),
        "t",
        &RecordLimits::default(),
    )
    .unwrap_err();
    assert_eq!(error.code, Code::OtlpMalformed);
    assert!(
        error.message.contains(&format!("byte {}", length + 3)),
        "{}",
        error.message
    );
}

#[test]
fn unknown_fields_are_passed_over_and_any_order_of_fields_is_taken() {
    let plain = request(vec![span(1)]);
    // The same request with the resource after the spans, and fields of a later version.
    let data = TracesData::decode(&plain[..]).unwrap();
    let group = &data.resource_spans[0];
    let mut writer = WireWriter::default();
    writer.bytes_field(2, &group.scope_spans[0].encode_to_vec());
    writer.bytes_field(9999, b"later");
    writer.bytes_field(1, &group.resource.clone().unwrap().encode_to_vec());
    let inner = writer.bytes;
    let mut writer = WireWriter::default();
    writer.bytes_field(77, b"later");
    writer.bytes_field(1, &inner);
    let shuffled = decoded(Signal::Traces, writer.bytes);
    assert_eq!(
        only(&shuffled, Table::Spans),
        only(&decoded(Signal::Traces, plain), Table::Spans)
    );
}

#[test]
fn i5_a_small_request_cannot_become_a_large_batch() {
    // Two bytes on the wire become a row of a few hundred in memory.
    let mut group = WireWriter::default();
    for _ in 0..=otlake_base::limits::MAX_REQUEST_RECORDS {
        group.bytes_field(2, &[]);
    }
    let (mut resource, mut body) = (WireWriter::default(), WireWriter::default());
    resource.bytes_field(2, &group.bytes);
    body.bytes_field(1, &resource.bytes);
    let error = decode(
        Signal::Logs,
        &Bytes::from(body.bytes),
        "t",
        &RecordLimits::default(),
    )
    .unwrap_err();
    assert_eq!(error.code, Code::OtlpTooLarge);
}

/// Decodes bytes that may be anything; if they are taken, every column has every row.
fn survives(signal: Signal, body: Vec<u8>) {
    if let Ok(decoded) = decode(signal, &Bytes::from(body), "t", &RecordLimits::default()) {
        let rows: usize = decoded
            .tables
            .iter()
            .map(|(_, batch)| batch.num_rows())
            .sum();
        assert_eq!(rows as u64, decoded.accepted);
        for (_, batch) in &decoded.tables {
            for column in batch.columns() {
                column.to_data().validate_full().unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn cut_off_requests_are_refused_or_whole(traces in traces(), logs in logs(), metrics in metrics()) {
        for (signal, body) in [
            (Signal::Traces, traces.encode_to_vec()),
            (Signal::Logs, logs.encode_to_vec()),
            (Signal::Metrics, metrics.encode_to_vec()),
        ] {
            for end in (0..body.len()).step_by(1 + body.len() / 200) {
                survives(signal, body[..end].to_vec());
            }
        }
    }

    #[test]
    fn mutated_requests_never_put_columns_out_of_step(
        traces in traces(), logs in logs(), metrics in metrics(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (signal, mut body) in [
            (Signal::Traces, traces.encode_to_vec()),
            (Signal::Logs, logs.encode_to_vec()),
            (Signal::Metrics, metrics.encode_to_vec()),
        ] {
            if body.is_empty() { continue }
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            survives(signal, body);
        }
    }
}
