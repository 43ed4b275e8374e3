//! The fast way to write an attribute gives what the other gives, whatever stands in it.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use otlake_base::Signal;
use otlake_base::limits::RecordLimits;
use prost::Message;

use crate::json_text::{SHORT, short_digits};
use crate::{Tables, decode};

/// The rows of a span with these attributes, and of one behind it: the fast way is not taken at
/// the very end of a request. It is never taken where a limit is below 127 bytes.
fn rows(attributes: &[KeyValue], limit: usize) -> Tables {
    let span = |attributes: &[KeyValue]| Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        attributes: attributes.to_vec(),
        ..Default::default()
    };
    let last = [attribute("k".repeat(500), Value::BoolValue(true))];
    let body = TracesData {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: vec![span(attributes), span(&last)],
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
    .encode_to_vec();
    let limits = RecordLimits {
        attribute_key_bytes: limit,
        ..RecordLimits::NONE
    };
    let decoded = decode(Signal::Traces, &Bytes::from(body), "default", &limits);
    let decoded = decoded.expect("it is OTLP");
    assert_eq!(decoded.accepted, 2);
    decoded.tables
}

fn attribute(key: impl Into<String>, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

#[test]
fn keys_and_text_of_any_length_are_written_the_same_way() {
    let of_length = |length: usize, first: u8| -> String {
        let letters = (0..length).map(|at| char::from(first + (at % 26) as u8));
        letters.collect()
    };
    for length in 0..126 {
        let attributes = [
            attribute(of_length(length, b'a'), Value::IntValue(length as i64)),
            attribute(
                of_length(length, b'A'),
                Value::StringValue(of_length(125 - length, b'a')),
            ),
            attribute("key", Value::StringValue(of_length(length, b'A'))),
        ];
        // Neither limit cuts off anything of the first span.
        let (fast, slow) = (rows(&attributes, 127), rows(&attributes, 126));
        let first = |tables: &Tables| tables[0].1.slice(0, 1);
        assert_eq!(first(&fast), first(&slow), "{length}");
    }
}

#[test]
fn what_json_escapes_is_escaped_wherever_it_stands() {
    for odd in [
        "\"", "\\", "\u{0}", "\u{1f}", "\u{80}", "\u{20ac}", "\u{7f}",
    ] {
        for at in 0..100 {
            let text = format!("{}{odd}{}", "x".repeat(at), "y".repeat(99 - at));
            let attributes = [
                attribute(text.clone(), Value::DoubleValue(1.5)),
                attribute("http.route", Value::StringValue(text.clone())),
            ];
            let (fast, slow) = (rows(&attributes, 127), rows(&attributes, 126));
            let first = |tables: &Tables| tables[0].1.slice(0, 1);
            assert_eq!(first(&fast), first(&slow), "{odd:?} at {at}");
        }
    }
}

#[test]
fn every_kind_of_value_is_written_the_same_way() {
    let values = [
        Value::BoolValue(false),
        Value::BoolValue(true),
        Value::IntValue(0),
        Value::IntValue(i64::MIN),
        Value::IntValue(i64::MAX),
        Value::DoubleValue(-0.0),
        Value::DoubleValue(1e300),
        Value::DoubleValue(f64::NAN),
        Value::BytesValue(vec![0, 255]),
        Value::StringValue(String::new()),
    ];
    for value in values {
        let attributes = [attribute("http.response.status_code", value.clone())];
        let (fast, slow) = (rows(&attributes, 127), rows(&attributes, 126));
        let first = |tables: &Tables| tables[0].1.slice(0, 1);
        assert_eq!(first(&fast), first(&slow), "{value:?}");
    }
}

#[test]
fn short_digits_are_the_digits() {
    let below = |limit: u64| (0..2000).map(move |step| limit - limit / 2000 * step);
    for number in (0..20_000)
        .chain(below(10_000_000))
        .chain(below(SHORT as u64 - 1))
    {
        let (digits, count) = short_digits(number);
        assert_eq!(&digits[..count], number.to_string().as_bytes());
    }
}

#[test]
fn the_first_attribute_of_a_column_that_has_its_type_is_in_the_column() {
    use arrow::array::AsArray;

    let text = |text: &str| Value::StringValue(text.into());
    let attributes = [
        attribute("http.route", Value::IntValue(1)),
        attribute("http.route", text("/\"first\"/and/longer/than/a/view")),
        attribute("http.route", text("/second/and/longer/than/a/view")),
        attribute("http.method", text("GET")),
        attribute("http.request.method", text("PUT")),
        attribute("http.status_code", text("200")),
        attribute("http.response.status_code", Value::IntValue(404)),
        attribute("http.status_code", Value::IntValue(200)),
    ];
    let tables = rows(&attributes, 127);
    let batch = &tables[0].1;
    let column = |name: &str| batch.column_by_name(name).expect("it has the column");
    let route = column("http_route").as_string_view();
    assert_eq!(route.value(0), "/\"first\"/and/longer/than/a/view");
    assert_eq!(
        column("http_request_method").as_string_view().value(0),
        "GET"
    );
    let status = column("http_response_status_code");
    let status = status.as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(status.value(0), 404);
    for name in [
        "http_route",
        "http_request_method",
        "http_response_status_code",
    ] {
        assert!(column(name).is_null(1), "{name}");
    }
}
