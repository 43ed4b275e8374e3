//! Requests decoded to rows and written back: every record returns as it came.
//!
//! Grouping may change and empty containers vanish, so both sides are taken apart into
//! (resource, scope, record) and compared as multisets.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogsData;
use opentelemetry_proto::tonic::metrics::v1::{Metric, MetricsData, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Status, TracesData};
use otlake_base::Signal;
use otlake_base::limits::RecordLimits;
use proptest::prelude::*;
use prost::Message;

use super::encode;
use crate::decode;
use crate::json::random_otlp_test::{logs, metrics, traces};

fn again(signal: Signal, protobuf: Vec<u8>) -> Vec<u8> {
    let decoded = decode(
        signal,
        &Bytes::from(protobuf),
        "default",
        &RecordLimits::default(),
    )
    .unwrap();
    assert_eq!(
        decoded.rejections.count, 0,
        "{:?}",
        decoded.rejections.first
    );
    encode(&decoded.tables).unwrap()
}

/// A record with all it stands in, as bytes, since a NaN is not equal to itself.
type Whole = Vec<Vec<u8>>;

fn sorted(mut records: Vec<Whole>) -> Vec<Whole> {
    records.sort();
    records
}

fn origin(
    resource: &Option<Resource>,
    resource_url: &str,
    scope: &Option<InstrumentationScope>,
    scope_url: &str,
) -> Whole {
    let (resource, scope) = (
        resource.clone().unwrap_or_default(),
        scope.clone().unwrap_or_default(),
    );
    let urls = [resource_url, scope_url].map(|url| url.as_bytes().to_vec());
    let mut whole = vec![resource.encode_to_vec(), scope.encode_to_vec()];
    whole.extend(urls);
    whole
}

fn spans(data: &TracesData) -> Vec<Whole> {
    let mut records = Vec::new();
    for resource in &data.resource_spans {
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                let mut span = span.clone();
                span.status = span.status.filter(|status| *status != Status::default());
                let mut whole = origin(
                    &resource.resource,
                    &resource.schema_url,
                    &scope.scope,
                    &scope.schema_url,
                );
                whole.push(span.encode_to_vec());
                records.push(whole);
            }
        }
    }
    sorted(records)
}

fn log_records(data: &LogsData) -> Vec<Whole> {
    let mut records = Vec::new();
    for resource in &data.resource_logs {
        for scope in &resource.scope_logs {
            for record in &scope.log_records {
                let mut record = record.clone();
                record.body = record.body.filter(|body| body.value.is_some());
                let mut whole = origin(
                    &resource.resource,
                    &resource.schema_url,
                    &scope.scope,
                    &scope.schema_url,
                );
                whole.push(record.encode_to_vec());
                records.push(whole);
            }
        }
    }
    sorted(records)
}

/// Each point as a metric of its own.
fn points(metric: &Metric) -> Vec<Metric> {
    macro_rules! each {
        ($variant:ident, $data:expr) => {
            $data
                .data_points
                .iter()
                .map(|point| {
                    let mut data = $data.clone();
                    data.data_points = vec![point.clone()];
                    Metric {
                        data: Some(metric::Data::$variant(data)),
                        ..metric.clone()
                    }
                })
                .collect()
        };
    }
    match &metric.data {
        None => Vec::new(),
        Some(metric::Data::Gauge(data)) => each!(Gauge, data),
        Some(metric::Data::Sum(data)) => each!(Sum, data),
        Some(metric::Data::Histogram(data)) => each!(Histogram, data),
        Some(metric::Data::ExponentialHistogram(data)) => each!(ExponentialHistogram, data),
        Some(metric::Data::Summary(data)) => each!(Summary, data),
    }
}

fn data_points(data: &MetricsData) -> Vec<Whole> {
    let mut records = Vec::new();
    for resource in &data.resource_metrics {
        for scope in &resource.scope_metrics {
            for point in scope.metrics.iter().flat_map(points) {
                let mut whole = origin(
                    &resource.resource,
                    &resource.schema_url,
                    &scope.scope,
                    &scope.schema_url,
                );
                whole.push(point.encode_to_vec());
                records.push(whole);
            }
        }
    }
    sorted(records)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn spans_return_as_they_came(original in traces()) {
        let bytes = again(Signal::Traces, original.encode_to_vec());
        prop_assert_eq!(spans(&TracesData::decode(bytes.as_slice()).unwrap()), spans(&original));
    }

    #[test]
    fn log_records_return_as_they_came(original in logs()) {
        let bytes = again(Signal::Logs, original.encode_to_vec());
        prop_assert_eq!(log_records(&LogsData::decode(bytes.as_slice()).unwrap()), log_records(&original));
    }

    #[test]
    fn data_points_return_as_they_came(original in metrics()) {
        let bytes = again(Signal::Metrics, original.encode_to_vec());
        prop_assert_eq!(data_points(&MetricsData::decode(bytes.as_slice()).unwrap()), data_points(&original));
    }
}

#[test]
fn a_value_of_no_type_returns_as_one() {
    let attributes = vec![
        KeyValue {
            key: "none".into(),
            value: Some(AnyValue { value: None }),
            ..Default::default()
        },
        KeyValue {
            key: "text".into(),
            value: Some(AnyValue {
                value: Some(Value::StringValue(String::new())),
            }),
            ..Default::default()
        },
    ];
    let resource = Resource {
        attributes,
        ..Default::default()
    };
    let mut original = TracesData::default();
    original.resource_spans.push(Default::default());
    original.resource_spans[0].resource = Some(resource);
    original.resource_spans[0]
        .scope_spans
        .push(Default::default());
    let mut span = opentelemetry_proto::tonic::trace::v1::Span::default();
    (span.trace_id, span.span_id) = (vec![1; 16], vec![2; 8]);
    original.resource_spans[0].scope_spans[0].spans.push(span);
    let bytes = again(Signal::Traces, original.encode_to_vec());
    assert_eq!(
        spans(&TracesData::decode(bytes.as_slice()).unwrap()),
        spans(&original)
    );
}
