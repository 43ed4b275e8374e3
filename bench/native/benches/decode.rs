//! Decoding on one core: records a second of the decoder, of a prost decode of the same bytes,
//! and of a plain scan that reads every tag and length and nothing else.
//!
//! `cargo bench --profile release --bench decode` in `bench/native`.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, MetricsData, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlake_allocator as _;
use otlake_base::Signal;
use otlake_base::limits::RecordLimits;
use prost::Message;

const RECORDS: usize = 1000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("decode");
    for (signal, body, nested) in [
        (Signal::Traces, traces(), &otlp::TRACES),
        (Signal::Logs, logs(), &otlp::LOGS),
        (Signal::Metrics, metrics(), &otlp::METRICS),
    ] {
        let body = Bytes::from(body);
        group.throughput(Throughput::Elements(RECORDS as u64));
        let name = |what| BenchmarkId::new(what, signal.name());
        group.bench_function(name("otlake"), |bencher| {
            bencher.iter(|| {
                let limits = RecordLimits::default();
                let decoded =
                    otlake_decode::decode(signal, &body, "default", &limits).expect("it is OTLP");
                assert_eq!(decoded.accepted, RECORDS as u64);
                decoded
            });
        });
        group.bench_function(name("prost"), |bencher| match signal {
            Signal::Traces => bencher.iter(|| ExportTraceServiceRequest::decode(&body[..])),
            Signal::Logs => bencher.iter(|| LogsData::decode(&body[..])),
            Signal::Metrics => bencher.iter(|| MetricsData::decode(&body[..])),
        });
        group.bench_function(name("scan"), |bencher| bencher.iter(|| scan(&body, nested)));
    }
    group.finish();
    criterion.final_summary();
}

/// Reads every tag and length of a message and of those in it, and nothing else; the sum of the
/// fields' numbers, so that none of it is in vain. It checks only that it stays within the bytes.
fn scan(bytes: &[u8], message: &Nested) -> u64 {
    let (mut at, mut sum) = (0, 0);
    let varint = |at: &mut usize| {
        let (mut value, mut shift) = (0u64, 0);
        while let Some(byte) = bytes.get(*at) {
            *at += 1;
            value |= u64::from(byte & 0x7f) << (shift & 63);
            if *byte < 0x80 {
                break;
            }
            shift += 7;
        }
        value
    };
    while at < bytes.len() {
        let tag = varint(&mut at);
        let number = tag >> 3;
        sum += number;
        match tag & 7 {
            0 => {
                varint(&mut at);
            }
            1 => at += 8,
            5 => at += 4,
            2 => {
                let length = varint(&mut at) as usize;
                let end = at.saturating_add(length).min(bytes.len());
                if let Some(Some(inner)) = message.0.get(number as usize) {
                    sum += scan(&bytes[at..end], inner);
                }
                at = end;
            }
            _ => return sum,
        }
    }
    sum
}

/// The messages within a message, by the number of their field.
struct Nested([Option<&'static Nested>; 14]);

/// As much of OTLP as the requests below have.
mod otlp {
    use super::Nested;

    const fn message(fields: &[(usize, &'static Nested)]) -> Nested {
        let (mut message, mut at) = (Nested([None; 14]), 0);
        while at < fields.len() {
            message.0[fields[at].0] = Some(fields[at].1);
            at += 1;
        }
        message
    }

    static ANY_VALUE: Nested = message(&[(5, &ARRAY), (6, &KEY_VALUES)]);
    static ARRAY: Nested = message(&[(1, &ANY_VALUE)]);
    static KEY_VALUES: Nested = message(&[(1, &KEY_VALUE)]);
    static KEY_VALUE: Nested = message(&[(2, &ANY_VALUE)]);
    static RESOURCE: Nested = message(&[(1, &KEY_VALUE)]);
    static SCOPE: Nested = message(&[(3, &KEY_VALUE)]);
    static EVENT: Nested = message(&[(3, &KEY_VALUE)]);
    static LINK: Nested = message(&[(4, &KEY_VALUE)]);
    static SPAN: Nested = message(&[(9, &KEY_VALUE), (11, &EVENT), (13, &LINK)]);
    static SCOPE_SPANS: Nested = message(&[(1, &SCOPE), (2, &SPAN)]);
    static RESOURCE_SPANS: Nested = message(&[(1, &RESOURCE), (2, &SCOPE_SPANS)]);
    pub static TRACES: Nested = message(&[(1, &RESOURCE_SPANS)]);
    static LOG_RECORD: Nested = message(&[(5, &ANY_VALUE), (6, &KEY_VALUE)]);
    static SCOPE_LOGS: Nested = message(&[(1, &SCOPE), (2, &LOG_RECORD)]);
    static RESOURCE_LOGS: Nested = message(&[(1, &RESOURCE), (2, &SCOPE_LOGS)]);
    pub static LOGS: Nested = message(&[(1, &RESOURCE_LOGS)]);
    static POINT: Nested = message(&[(7, &KEY_VALUE)]);
    static SUM: Nested = message(&[(1, &POINT)]);
    static METRIC: Nested = message(&[(7, &SUM)]);
    static SCOPE_METRICS: Nested = message(&[(1, &SCOPE), (2, &METRIC)]);
    static RESOURCE_METRICS: Nested = message(&[(1, &RESOURCE), (2, &SCOPE_METRICS)]);
    pub static METRICS: Nested = message(&[(1, &RESOURCE_METRICS)]);
}

fn text(key: &str, value: String) -> KeyValue {
    attribute(key, Value::StringValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

fn resource() -> Option<Resource> {
    Some(Resource {
        attributes: [
            "service.name",
            "service.version",
            "k8s.pod.name",
            "host.name",
        ]
        .map(|key| text(key, format!("value of {key}")))
        .to_vec(),
        ..Default::default()
    })
}

fn traces() -> Vec<u8> {
    let spans = (0..RECORDS as u64)
        .map(|number| {
            let id = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut attributes = vec![
                text("http.request.method", "GET".into()),
                text("http.route", "/api/products/{id}".into()),
                attribute("http.response.status_code", Value::IntValue(200)),
                text("url.path", format!("/api/products/{}", id % 5000)),
                text(
                    "client.address",
                    format!("10.4.{}.{}", id % 256, number % 256),
                ),
                attribute(
                    "http.response.body.size",
                    Value::IntValue((id % 20_000) as i64),
                ),
                text(
                    "user_agent.original",
                    "Mozilla/5.0 (X11; Linux x86_64)".into(),
                ),
                attribute("thread.id", Value::IntValue((id % 64) as i64)),
            ];
            if number % 2 == 0 {
                attributes.push(text("enduser.id", format!("user-{}", id % 100_000)));
                attributes.push(attribute("app.retry", Value::BoolValue(false)));
            }
            Span {
                trace_id: [id.to_be_bytes(), (!id).to_be_bytes()].concat(),
                span_id: (id | 1).to_be_bytes().to_vec(),
                parent_span_id: id.to_be_bytes().to_vec(),
                flags: 1,
                name: "GET /api/products/{id}".into(),
                kind: 2,
                start_time_unix_nano: 1_700_000_000_000_000_000 + number,
                end_time_unix_nano: 1_700_000_000_050_000_000 + number,
                attributes,
                events: (number % 5 == 0)
                    .then(|| Event {
                        time_unix_nano: 1_700_000_000_000_000_000,
                        name: "cache.miss".into(),
                        attributes: vec![text("cache.key", format!("product:{number}"))],
                        dropped_attributes_count: 0,
                    })
                    .into_iter()
                    .collect(),
                links: (number % 20 == 0)
                    .then(|| Link {
                        trace_id: [id.to_be_bytes(), id.to_be_bytes()].concat(),
                        span_id: id.to_be_bytes().to_vec(),
                        ..Default::default()
                    })
                    .into_iter()
                    .collect(),
                ..Default::default()
            }
        })
        .collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource(),
            scope_spans: vec![ScopeSpans {
                spans,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
    .encode_to_vec()
}

fn logs() -> Vec<u8> {
    let log_records = (0..RECORDS as u64)
        .map(|number| LogRecord {
            time_unix_nano: 1_700_000_000_000_000_000 + number,
            observed_time_unix_nano: 1_700_000_000_000_000_000 + number,
            severity_number: 9,
            severity_text: "INFO".into(),
            body: Some(AnyValue {
                value: Some(Value::StringValue(format!(
                    "order {number} placed in 31 ms, 3 items"
                ))),
            }),
            attributes: vec![
                text("code.function.name", "place_order".into()),
                attribute("code.line.number", Value::IntValue(number as i64 % 400)),
                text("thread.name", format!("worker-{}", number % 16)),
                text("order.currency", "EUR".into()),
            ],
            trace_id: vec![number as u8 | 1; 16],
            span_id: vec![number as u8 | 1; 8],
            ..Default::default()
        })
        .collect();
    LogsData {
        resource_logs: vec![ResourceLogs {
            resource: resource(),
            scope_logs: vec![ScopeLogs {
                log_records,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
    .encode_to_vec()
}

fn metrics() -> Vec<u8> {
    let data_points = (0..RECORDS as u64)
        .map(|number| NumberDataPoint {
            attributes: vec![
                text("http.route", "/api/products/{id}".into()),
                text("http.request.method", "GET".into()),
                attribute("http.response.status_code", Value::IntValue(200)),
                attribute("worker", Value::IntValue(number as i64)),
            ],
            start_time_unix_nano: 1_700_000_000_000_000_000,
            time_unix_nano: 1_700_000_000_000_000_000 + number,
            value: Some(number_data_point::Value::AsInt(number as i64)),
            ..Default::default()
        })
        .collect();
    let metric = Metric {
        name: "http.server.requests".into(),
        data: Some(metric::Data::Sum(Sum {
            data_points,
            aggregation_temporality: 2,
            is_monotonic: true,
        })),
        ..Default::default()
    };
    MetricsData {
        resource_metrics: vec![ResourceMetrics {
            resource: resource(),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
    .encode_to_vec()
}
