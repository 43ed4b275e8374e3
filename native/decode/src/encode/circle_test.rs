//! Requests decoded to rows and written back: every record returns as it came.
//!
//! Grouping may change and empty containers vanish, so both sides are taken apart and compared as
//! multisets of records.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogsData;
use opentelemetry_proto::tonic::metrics::v1::MetricsData;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use otlake_base::Signal;
use otlake_base::limits::RecordLimits;
use proptest::prelude::*;
use prost::Message;

use super::encode;
use super::whole_records_test::{data_points, log_records, spans};
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
