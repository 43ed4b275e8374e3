//! OTLP/JSON as exporters send it: the specification's examples, each lenient form, and each
//! malformed one.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogsData;
use opentelemetry_proto::tonic::metrics::v1::{MetricsData, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use otlake_base::{Code, Signal, limits};
use prost::Message;

use super::to_protobuf;

fn traces(json: &str) -> TracesData {
    TracesData::decode(
        to_protobuf(Signal::Traces, json.as_bytes())
            .unwrap()
            .as_slice(),
    )
    .unwrap()
}

fn span(fields: &str) -> Span {
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#);
    traces(&json).resource_spans[0].scope_spans[0].spans[0].clone()
}

fn attribute(value: &str) -> Option<Value> {
    let span = span(&format!(r#""attributes":[{{"key":"k","value":{value}}}]"#));
    span.attributes[0]
        .value
        .clone()
        .and_then(|value| value.value)
}

fn fault(signal: Signal, json: &str) -> String {
    let error = to_protobuf(signal, json.as_bytes()).unwrap_err();
    assert_eq!(error.code, Code::OtlpMalformed);
    error.message
}

fn span_fault(fields: &str) -> String {
    let json =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{}},{{{fields}}}]}}]}}]}}"#);
    let message = fault(Signal::Traces, &json);
    let path = "resourceSpans[0].scopeSpans[0].spans[1]";
    message
        .strip_prefix(path)
        .unwrap_or_else(|| panic!("{message}"))
        .to_owned()
}

#[test]
fn a_trace_as_the_specification_shows_it() {
    let data = traces(
        r#"{
  "resourceSpans": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]},
    "scopeSpans": [{
      "scope": {"name": "my.library", "version": "1.0.0",
        "attributes": [{"key": "my.scope.attribute", "value": {"stringValue": "some scope attribute"}}]},
      "spans": [{
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "parentSpanId": "EEE19B7EC3C1B173",
        "name": "I'm a server span",
        "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": "1544712661000000000",
        "kind": 2,
        "status": {"code": 2, "message": "no"},
        "attributes": [{"key": "my.span.attr", "value": {"stringValue": "some value"}}]
      }]
    }]
  }]
}"#,
    );
    let resource = &data.resource_spans[0];
    let attribute = &resource.resource.as_ref().unwrap().attributes[0];
    assert_eq!(attribute.key, "service.name");
    let scope = resource.scope_spans[0].scope.as_ref().unwrap();
    assert_eq!(
        (scope.name.as_str(), scope.version.as_str()),
        ("my.library", "1.0.0")
    );
    let span = &resource.scope_spans[0].spans[0];
    assert_eq!(span.trace_id[..4], [0x5b, 0x8e, 0xff, 0xf7]);
    assert_eq!(
        span.span_id,
        [0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74]
    );
    assert_eq!(span.parent_span_id[7], 0x73);
    assert_eq!(span.start_time_unix_nano, 1_544_712_660_000_000_000);
    assert_eq!(span.kind, 2);
    assert_eq!(span.status.as_ref().unwrap().message, "no");
}

#[test]
fn metrics_keep_the_presence_of_zeros() {
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
      {"name":"my.counter","unit":"1","sum":{"aggregationTemporality":1,"isMonotonic":true,
        "dataPoints":[{"asDouble":0,"startTimeUnixNano":"1544712660300000000"}]}},
      {"name":"my.gauge","gauge":{"dataPoints":[{"asInt":"0"},{"asDouble":"NaN"},{}]}},
      {"name":"my.histogram","histogram":{"aggregationTemporality":1,"dataPoints":[
        {"count":2,"sum":0,"bucketCounts":["1",1],"explicitBounds":[1],"min":0,"max":2.5}]}},
      {"name":"my.exponential","exponentialHistogram":{"dataPoints":[
        {"count":"3","scale":-1,"zeroCount":1,"positive":{"offset":-1,"bucketCounts":[0,2]},"negative":{}}]}},
      {"name":"my.summary","summary":{"dataPoints":[
        {"count":"1","sum":1e2,"quantileValues":[{"quantile":0.5,"value":"Infinity"}]}]}}
    ]}]}]}"#;
    let protobuf = to_protobuf(Signal::Metrics, json.as_bytes()).unwrap();
    let data = MetricsData::decode(protobuf.as_slice()).unwrap();
    let metrics = &data.resource_metrics[0].scope_metrics[0].metrics;
    let Some(metric::Data::Sum(sum)) = &metrics[0].data else {
        panic!()
    };
    assert!(sum.is_monotonic);
    assert_eq!(
        sum.data_points[0].value,
        Some(number_data_point::Value::AsDouble(0.0))
    );
    let Some(metric::Data::Gauge(gauge)) = &metrics[1].data else {
        panic!()
    };
    assert_eq!(
        gauge.data_points[0].value,
        Some(number_data_point::Value::AsInt(0))
    );
    let Some(number_data_point::Value::AsDouble(nan)) = gauge.data_points[1].value else {
        panic!()
    };
    assert!(nan.is_nan());
    assert_eq!(gauge.data_points[2].value, None);
    let Some(metric::Data::Histogram(histogram)) = &metrics[2].data else {
        panic!()
    };
    let point = &histogram.data_points[0];
    assert_eq!(
        (point.sum, point.min, point.max),
        (Some(0.0), Some(0.0), Some(2.5))
    );
    assert_eq!(
        (&point.bucket_counts[..], &point.explicit_bounds[..]),
        (&[1, 1][..], &[1.0][..])
    );
    let Some(metric::Data::ExponentialHistogram(histogram)) = &metrics[3].data else {
        panic!()
    };
    let point = &histogram.data_points[0];
    assert_eq!((point.scale, point.sum), (-1, None));
    assert_eq!(point.positive.as_ref().unwrap().bucket_counts, [0, 2]);
    assert_eq!(point.negative, Some(Default::default()));
    let Some(metric::Data::Summary(summary)) = &metrics[4].data else {
        panic!()
    };
    assert_eq!(
        summary.data_points[0].quantile_values[0].value,
        f64::INFINITY
    );
}

#[test]
fn logs_with_a_body_of_any_type() {
    let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
      {"timeUnixNano":"1544712660300000000","observedTimeUnixNano":1544712660300000000,
       "severityNumber":10,"severityText":"Information","eventName":"e","flags":1,
       "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
       "body":{"kvlistValue":{"values":[{"key":"a","value":{"bytesValue":"AQI="}}]}}},
      {"body":{"stringValue":""}}, {"body":null}, {"body":{}}
    ]}]}]}"#;
    let protobuf = to_protobuf(Signal::Logs, json.as_bytes()).unwrap();
    let data = LogsData::decode(protobuf.as_slice()).unwrap();
    let records = &data.resource_logs[0].scope_logs[0].log_records;
    assert_eq!(
        records[0].time_unix_nano,
        records[0].observed_time_unix_nano
    );
    let Some(Value::KvlistValue(list)) = &records[0].body.as_ref().unwrap().value else {
        panic!()
    };
    let bytes = AnyValue {
        value: Some(Value::BytesValue(vec![1, 2])),
    };
    assert_eq!(
        list.values[0],
        KeyValue {
            key: "a".into(),
            value: Some(bytes),
            ..Default::default()
        }
    );
    assert_eq!(
        records[1].body.as_ref().unwrap().value,
        Some(Value::StringValue(String::new()))
    );
    assert_eq!(records[2].body, None);
    assert_eq!(records[3].body, Some(AnyValue::default()));
}

#[test]
fn every_lenient_form_is_read() {
    assert_eq!(
        span(r#""start_time_unix_nano":"1","trace_state":"a=b""#).trace_state,
        "a=b"
    );
    assert_eq!(
        span(r#""startTimeUnixNano":1.5e3"#).start_time_unix_nano,
        1500
    );
    assert_eq!(
        span(r#""startTimeUnixNano":"18446744073709551615""#).start_time_unix_nano,
        u64::MAX
    );
    assert_eq!(span(r#""kind":3.0,"flags":"257""#).kind, 3);
    assert_eq!(span(r#""kind":-1"#).kind, -1);
    assert_eq!(span(r#""kind":99"#).kind, 99);
    assert_eq!(
        span(r#""unknown":{"a":[1,{}]},"name":"n","x":null,"y":"\u0041""#).name,
        "n"
    );
    assert_eq!(span(r#""n\u0061me":"escaped key""#).name, "escaped key");
    assert_eq!(span(r#""traceId":"Ab01""#).trace_id, [0xab, 0x01]);
    assert!(
        span(r#""traceId":"","spanId":null,"name":null,"events":null,"status":null"#)
            .trace_id
            .is_empty()
    );
    for bytes in [r#""-_8=""#, r#""+/8=""#, r#""-_8""#, r#""+/8""#] {
        let value = attribute(&format!(r#"{{"bytesValue":{bytes}}}"#));
        assert_eq!(value, Some(Value::BytesValue(vec![0xfb, 0xff])), "{bytes}");
    }
    for double in ["1.5", "\"1.5\"", "15e-1"] {
        let value = attribute(&format!(r#"{{"doubleValue":{double}}}"#));
        assert_eq!(value, Some(Value::DoubleValue(1.5)), "{double}");
    }
    assert_eq!(
        attribute(r#"{"doubleValue":3}"#),
        Some(Value::DoubleValue(3.0))
    );
    for (int, value) in [
        ("7", 7),
        ("\"7\"", 7),
        ("\"-9223372036854775808\"", i64::MIN),
        ("0", 0),
    ] {
        let read = attribute(&format!(r#"{{"intValue":{int}}}"#));
        assert_eq!(read, Some(Value::IntValue(value)), "{int}");
    }
    assert_eq!(
        attribute(r#"{"boolValue":false}"#),
        Some(Value::BoolValue(false))
    );
    assert_eq!(attribute("null"), None);
    assert_eq!(attribute("{}"), None);
    assert_eq!(attribute(r#"{"stringValue":null}"#), None);
}

#[test]
fn of_repeated_keys_the_last_counts() {
    let span = span(
        r#""name":"a","kind":1,"status":{"code":1,"message":"gone"},"name":"bb","status":{"code":2},
           "attributes":[{"key":"x"}],"kind":null,"attributes":[{"key":"y"}],"traceState":"t","name":"c""#,
    );
    assert_eq!(
        (span.name.as_str(), span.kind, span.trace_state.as_str()),
        ("c", 0, "t")
    );
    let status = span.status.unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, ""));
    assert_eq!(span.attributes.len(), 2);
    let value =
        attribute(r#"{"arrayValue":{"values":[{"intValue":1}]},"arrayValue":{"values":[]}}"#);
    assert_eq!(value, Some(Value::ArrayValue(Default::default())));
    assert_eq!(
        attribute(r#"{"stringValue":"a","intValue":1}"#),
        Some(Value::IntValue(1))
    );
    assert_eq!(
        attribute(r#"{"stringValue":"a","intValue":null}"#),
        Some(Value::StringValue("a".into()))
    );
}

#[test]
fn a_malformed_field_is_named() {
    for (fields, expected) in [
        (r#""traceId":5"#, ".traceId: must be a string, got a number"),
        (
            r#""kind":"SPAN_KIND_SERVER""#,
            ".kind: must be the enum's integer: OTLP/JSON has no enum names",
        ),
        (
            r#""kind":2147483648"#,
            ".kind: must be an integer from -2147483648 to 2147483647",
        ),
        (
            r#""flags":-1"#,
            ".flags: must be an integer from 0 to 4294967295",
        ),
        (
            r#""droppedEventsCount":1.5"#,
            ".droppedEventsCount: must be an integer from 0 to 4294967295",
        ),
        (
            r#""startTimeUnixNano":"18446744073709551616""#,
            ".startTimeUnixNano: must be an integer from 0 to 18446744073709551615",
        ),
        (
            r#""startTimeUnixNano":true"#,
            ".startTimeUnixNano: must be an integer, got a boolean",
        ),
        (r#""name":{}"#, ".name: must be a string, got an object"),
        (r#""status":[]"#, ".status: must be an object, got an array"),
        (r#""events":{}"#, ".events: must be an array, got an object"),
        (
            r#""events":[{},null]"#,
            ".events[1]: must be an object, got null",
        ),
        (
            r#""attributes":[{"key":"a","value":{"boolValue":"true"}}]"#,
            ".attributes[0].value.boolValue: must be a boolean, got a string",
        ),
        (
            r#""attributes":[{"key":"a","value":{"bytesValue":"a"}}]"#,
            ".attributes[0].value.bytesValue: must be base64",
        ),
        (
            r#""attributes":[{"key":"a","value":{"bytesValue":"a*=="}}]"#,
            ".attributes[0].value.bytesValue: must be base64",
        ),
        (
            r#""attributes":[{"key":"a","value":{"doubleValue":"nan"}}]"#,
            ".attributes[0].value.doubleValue: must be a double, or \"NaN\", \"Infinity\" or \"-Infinity\"",
        ),
        (
            r#""attributes":[{"key":"a","value":{"doubleValue":1e400}}]"#,
            ".attributes[0].value.doubleValue: must be a double, or \"NaN\", \"Infinity\" or \"-Infinity\"",
        ),
        (
            r#""attributes":[{"key":"a","value":"plain"}]"#,
            ".attributes[0].value: must be an object, got a string",
        ),
    ] {
        assert_eq!(span_fault(fields), expected);
    }
}

#[test]
fn text_that_is_no_json_object_is_refused() {
    for json in [
        "",
        " ",
        "[]",
        "null",
        "\"\"",
        "1",
        "{",
        "{}{}",
        "{} x",
        "{\"resourceSpans\"}",
        "{\"a\":01}",
        "{\"resourceSpans\":[}",
        "{\"resourceSpans\":[{},]}",
        "{'a':1}",
        "{\"a\":1,}",
        "\u{feff}{}",
    ] {
        fault(Signal::Traces, json);
    }
    let error = to_protobuf(Signal::Logs, b"{\"a\":\"\xff\"}").unwrap_err();
    assert_eq!(error.code, Code::OtlpMalformed);
}

fn nested(depth: usize) -> String {
    let mut value = String::from(r#"{"intValue":1}"#);
    for _ in 0..depth {
        value = format!(r#"{{"kvlistValue":{{"values":[{{"key":"k","value":{value}}}]}}}}"#);
    }
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}"#)
}

#[test]
fn values_at_and_somewhat_beyond_the_limit_are_left_to_the_decoder() {
    for depth in [limits::MAX_VALUE_DEPTH, limits::MAX_VALUE_DEPTH + 3] {
        to_protobuf(Signal::Logs, nested(depth).as_bytes()).unwrap();
    }
}

#[test]
fn bottomless_nesting_is_refused_without_overflowing_the_stack() {
    assert!(fault(Signal::Logs, &nested(1000)).ends_with("is nested too deeply"));
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        let json = format!("{{\"unknown\":{}", open.repeat(1_000_000));
        assert!(fault(Signal::Logs, &json).ends_with("is nested too deeply"));
    }
}

#[test]
fn long_messages_have_long_lengths() {
    for length in [127, 128, 16_383, 16_384, 3_000_000] {
        let name = "x".repeat(length);
        assert_eq!(span(&format!(r#""name":"{name}""#)).name.len(), length);
    }
}
