use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use prost::Message;

use super::attributes::{write_attributes, write_value};
use super::wire_writer::WireWriter;

fn list(text: &str) -> Option<Vec<KeyValue>> {
    let mut wire = WireWriter::default();
    write_attributes(text, 1, &mut wire).ok()?;
    Some(KeyValueList::decode(wire.bytes.as_slice()).unwrap().values)
}

fn value(text: &str) -> Option<AnyValue> {
    let mut wire = WireWriter::default();
    write_value(text, 1, &mut wire).ok()?;
    ArrayValue::decode(wire.bytes.as_slice())
        .unwrap()
        .values
        .pop()
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn entry(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(any(value)),
        ..Default::default()
    }
}

#[test]
fn each_type_is_told_by_its_spelling() {
    for (text, expected) in [
        ("\"\"", Value::StringValue(String::new())),
        ("\"a\\n\\u00e9\"", Value::StringValue("a\né".into())),
        ("true", Value::BoolValue(true)),
        ("false", Value::BoolValue(false)),
        ("0", Value::IntValue(0)),
        ("-9223372036854775808", Value::IntValue(i64::MIN)),
        ("9223372036854775807", Value::IntValue(i64::MAX)),
        ("1.0", Value::DoubleValue(1.0)),
        ("0.1", Value::DoubleValue(0.1)),
        ("1e300", Value::DoubleValue(1e300)),
        ("5e-324", Value::DoubleValue(5e-324)),
        (
            r#"{"$double":"Infinity"}"#,
            Value::DoubleValue(f64::INFINITY),
        ),
        (
            r#"{"$double":"-Infinity"}"#,
            Value::DoubleValue(f64::NEG_INFINITY),
        ),
        (r#"{"$bytes":""}"#, Value::BytesValue(vec![])),
        (r#"{"$bytes":"AQID"}"#, Value::BytesValue(vec![1, 2, 3])),
        ("[]", Value::ArrayValue(Default::default())),
        ("{}", Value::KvlistValue(Default::default())),
    ] {
        assert_eq!(value(text), Some(any(expected)), "{text}");
    }
    assert_eq!(value("null"), Some(AnyValue::default()));
    let Some(AnyValue {
        value: Some(Value::DoubleValue(zero)),
    }) = value("-0.0")
    else {
        panic!()
    };
    assert!(zero.is_sign_negative());
    let Some(AnyValue {
        value: Some(Value::DoubleValue(nan)),
    }) = value(r#"{"$double":"NaN"}"#)
    else {
        panic!()
    };
    assert!(nan.is_nan());
}

#[test]
fn order_and_repeated_keys_are_kept() {
    let expected = vec![
        entry("b", Value::IntValue(1)),
        entry("a", Value::IntValue(2)),
        entry("b", Value::DoubleValue(3.0)),
        entry("", Value::BoolValue(true)),
    ];
    assert_eq!(list(r#"{"b":1,"a":2,"b":3.0,"":true}"#), Some(expected));
    assert_eq!(list("{}"), Some(vec![]));
}

#[test]
fn a_nested_list_that_looks_special_is_told_apart_by_one_dollar_more() {
    let kvlist = |entries: Vec<KeyValue>| any(Value::KvlistValue(KeyValueList { values: entries }));
    let text = |text: &str| Value::StringValue(text.into());
    assert_eq!(
        value(r#"{"$$bytes":"AQ=="}"#),
        Some(kvlist(vec![entry("$bytes", text("AQ=="))]))
    );
    assert_eq!(
        value(r#"{"$$$x":1}"#),
        Some(kvlist(vec![entry("$$x", Value::IntValue(1))]))
    );
    // Only a list of one entry is escaped.
    let two = vec![
        entry("$bytes", text("AQ==")),
        entry("$$x", Value::IntValue(1)),
    ];
    assert_eq!(value(r#"{"$bytes":"AQ==","$$x":1}"#), Some(kvlist(two)));
    // Nor is the attribute list itself.
    assert_eq!(
        list(r#"{"$bytes":"AQ=="}"#),
        Some(vec![entry("$bytes", text("AQ=="))])
    );
}

#[test]
fn text_that_was_not_written_here_is_an_error() {
    for text in [
        "",
        "{",
        "[1,]",
        "9223372036854775808",
        "{\"$bytes\":1}",
        "{\"$bytes\":\"*\"}",
        "{\"$double\":\"nan\"}",
        "1 2",
        "nope",
    ] {
        assert_eq!(value(text), None, "{text}");
    }
    for text in ["[]", "null", "{\"a\"}", "{\"a\":1}x"] {
        assert_eq!(list(text), None, "{text}");
    }
    assert_eq!(value(&"[".repeat(1_000_000)), None);
}
