//! A trace as Jaeger's clients read it.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use otlake_base::Code;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value as Json, json};

use super::Jaeger;
use super::random_otlp_test::traces;

const TRACE: [u8; 16] = [0xab; 16];

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn of(
    resource: Vec<KeyValue>,
    scope: Option<InstrumentationScope>,
    spans: Vec<Span>,
) -> TracesData {
    let resource = Resource {
        attributes: resource,
        ..Resource::default()
    };
    let scope_spans = ScopeSpans {
        scope,
        spans,
        ..ScopeSpans::default()
    };
    TracesData {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        }],
    }
}

/// The JSON of a trace that comes in these parts.
fn written(id: &[u8; 16], parts: &[TracesData]) -> Json {
    let mut jaeger = Jaeger::default();
    let mut out = Jaeger::head(id);
    for part in parts {
        out.extend(jaeger.spans(&part.encode_to_vec()).unwrap());
    }
    out.extend(jaeger.tail());
    serde_json::from_slice(&out).expect("JSON")
}

#[test]
fn a_span_has_all_that_otlp_says_of_it() {
    let span = Span {
        trace_id: TRACE.to_vec(),
        span_id: vec![1; 8],
        parent_span_id: vec![2; 8],
        trace_state: "a=b".to_owned(),
        flags: 0x101,
        name: "GET \"/\"".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_001_999,
        end_time_unix_nano: 1_700_000_000_002_003_000,
        attributes: vec![
            text("text", "a\nb"),
            attribute("yes", Value::BoolValue(true)),
            attribute("int", Value::IntValue(-7)),
            attribute("big", Value::IntValue(i64::MIN)),
            attribute("half", Value::DoubleValue(0.5)),
            attribute("nan", Value::DoubleValue(f64::NAN)),
            attribute("bytes", Value::BytesValue(vec![0, 255])),
            attribute(
                "list",
                Value::ArrayValue(ArrayValue {
                    values: vec![
                        AnyValue {
                            value: Some(Value::StringValue("x\"".to_owned())),
                        },
                        AnyValue {
                            value: Some(Value::KvlistValue(KeyValueList {
                                values: vec![attribute("k", Value::IntValue(1))],
                            })),
                        },
                        AnyValue { value: None },
                    ],
                }),
            ),
        ],
        events: vec![Event {
            time_unix_nano: 1_700_000_000_000_005_000,
            name: "exception".to_owned(),
            attributes: vec![text("exception.type", "E")],
            ..Event::default()
        }],
        links: vec![Link {
            trace_id: [[0; 8], [3; 8]].concat(),
            span_id: vec![4; 8],
            ..Link::default()
        }],
        status: Some(Status {
            code: 2,
            message: "no".to_owned(),
        }),
        ..Span::default()
    };
    let scope = InstrumentationScope {
        name: "lib".to_owned(),
        version: "1".to_owned(),
        ..InstrumentationScope::default()
    };
    let resource = vec![text("service.name", "shop"), text("host.name", "h")];
    let trace = written(&TRACE, &[of(resource, Some(scope), vec![span])]);
    let id = "ab".repeat(16);
    let tag =
        |key: &str, kind: &str, value: Json| json!({"key": key, "type": kind, "value": value});
    assert_eq!(
        trace,
        json!({
            "traceID": id,
            "spans": [{
                "traceID": id,
                "spanID": "01".repeat(8),
                "flags": 1,
                "operationName": "GET \"/\"",
                "references": [
                    {"refType": "CHILD_OF", "traceID": id, "spanID": "02".repeat(8)},
                    {"refType": "FOLLOWS_FROM", "traceID": "03".repeat(8), "spanID": "04".repeat(8)},
                ],
                "startTime": 1_700_000_000_000_001u64,
                "duration": 2001,
                "tags": [
                    tag("text", "string", json!("a\nb")),
                    tag("yes", "bool", json!(true)),
                    tag("int", "int64", json!(-7)),
                    tag("big", "int64", json!("-9223372036854775808")),
                    tag("half", "float64", json!(0.5)),
                    tag("nan", "float64", json!("NaN")),
                    tag("bytes", "binary", json!("AP8=")),
                    tag("list", "string", json!("[\"x\\\"\",{\"k\":1},null]")),
                    tag("span.kind", "string", json!("server")),
                    tag("otel.status_code", "string", json!("ERROR")),
                    tag("error", "bool", json!(true)),
                    tag("otel.status_description", "string", json!("no")),
                    tag("otel.scope.name", "string", json!("lib")),
                    tag("otel.scope.version", "string", json!("1")),
                    tag("w3c.tracestate", "string", json!("a=b")),
                ],
                "logs": [{
                    "timestamp": 1_700_000_000_000_005u64,
                    "fields": [
                        tag("event", "string", json!("exception")),
                        tag("exception.type", "string", json!("E")),
                    ],
                }],
                "processID": "p1",
                "warnings": null,
            }],
            "processes": {"p1": {
                "serviceName": "shop",
                "tags": [tag("host.name", "string", json!("h"))],
            }},
            "warnings": null,
        })
    );
}

#[test]
fn a_process_is_met_once_whatever_parts_a_trace_comes_in() {
    let span = |id: u8| Span {
        trace_id: TRACE.to_vec(),
        span_id: vec![id; 8],
        ..Span::default()
    };
    let shop = || vec![text("service.name", "shop")];
    let parts = [
        of(shop(), None, vec![span(1), span(2)]),
        of(vec![], None, vec![span(3)]),
        TracesData::default(),
        of(shop(), None, vec![span(4)]),
    ];
    let trace = written(&TRACE, &parts);
    let spans = trace["spans"].as_array().unwrap();
    let processes: Vec<_> = spans.iter().map(|span| &span["processID"]).collect();
    assert_eq!(processes, ["p1", "p1", "p2", "p1"]);
    assert_eq!(trace["processes"].as_object().unwrap().len(), 2);
    let nameless = &trace["processes"]["p2"]["serviceName"];
    assert_eq!(nameless, "OTLPResourceNoServiceName");
    assert_eq!(spans[0]["references"], json!([]));
    assert_eq!(spans[0]["tags"], json!([]));
    assert_eq!(spans[0]["logs"], json!([]));
}

#[test]
fn what_a_sender_called_so_himself_stands_alone() {
    let span = Span {
        trace_id: TRACE.to_vec(),
        kind: 3,
        // A clock that went back is no time below zero.
        start_time_unix_nano: 2000,
        end_time_unix_nano: 1000,
        attributes: vec![text("error", "timeout"), text("span.kind", "consumer")],
        status: Some(Status {
            code: 2,
            message: String::new(),
        }),
        ..Span::default()
    };
    let trace = written(&TRACE, &[of(vec![], None, vec![span])]);
    let span = &trace["spans"][0];
    assert_eq!(span["duration"], 0);
    let tags = span["tags"].as_array().unwrap().iter();
    let keys: Vec<_> = tags.map(|tag| tag["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["error", "span.kind", "otel.status_code"]);
}

#[test]
fn an_id_of_64_bits_has_16_digits() {
    let id = (7u128).to_be_bytes();
    assert_eq!(written(&id, &[])["traceID"], "0000000000000007");
}

#[test]
fn bytes_that_are_no_spans_are_an_error() {
    let error = Jaeger::default().spans(&[0x0a, 0x05, 0x01]).unwrap_err();
    assert_eq!(error.code, Code::Internal);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_trace_becomes_json_with_each_of_its_spans(original in traces()) {
        let spans = original.resource_spans.iter().flat_map(|of| &of.scope_spans);
        let count = spans.map(|of| of.spans.len()).sum::<usize>();
        let trace = written(&TRACE, &[original]);
        prop_assert_eq!(trace["spans"].as_array().unwrap().len(), count);
    }
}
