//! Both directions together.

use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, TracesData};
use otlake_base::{Code, Signal};
use proptest::prelude::*;
use prost::Message;

use super::random_otlp_test::{logs, metrics, traces};
use super::{base64, from_protobuf, to_protobuf};

/// The bytes are compared, since a NaN is not equal to itself.
fn round_trips<M: Message + Default>(signal: Signal, original: &M) {
    let protobuf = original.encode_to_vec();
    let json = from_protobuf(signal, &protobuf).unwrap();
    let tree: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert!(tree.is_object());
    let again = M::decode(to_protobuf(signal, &json).unwrap().as_slice()).unwrap();
    assert_eq!(
        again.encode_to_vec(),
        protobuf,
        "{}",
        String::from_utf8_lossy(&json)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn traces_survive_json(original in traces()) {
        round_trips(Signal::Traces, &original);
    }

    #[test]
    fn metrics_survive_json(original in metrics()) {
        round_trips(Signal::Metrics, &original);
    }

    #[test]
    fn logs_survive_json(original in logs()) {
        round_trips(Signal::Logs, &original);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for signal in Signal::ALL {
            let _ = from_protobuf(signal, &bytes);
            let _ = to_protobuf(signal, &bytes);
        }
    }

    #[test]
    fn no_damaged_message_makes_it_panic(original in traces(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut protobuf = original.encode_to_vec();
        prop_assume!(!protobuf.is_empty());
        let mut json = from_protobuf(Signal::Traces, &protobuf).unwrap();
        let position = at.index(protobuf.len());
        protobuf[position] = byte;
        let _ = from_protobuf(Signal::Traces, &protobuf);
        let position = at.index(json.len());
        json[position] = byte;
        let _ = to_protobuf(Signal::Traces, &json);
    }

    #[test]
    fn base64_is_read_as_it_was_written(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut text = Vec::new();
        base64::encode(&bytes, &mut text);
        prop_assert!(text.len().is_multiple_of(4));
        let bare: Vec<u8> = text.iter().filter(|b| **b != b'=').copied().collect();
        for form in [text, bare] {
            let mut again = Vec::new();
            prop_assert!(base64::decode(&form, &mut again));
            prop_assert_eq!(&again, &bytes);
        }
    }
}

#[test]
fn a_field_in_several_parts_becomes_one_key() {
    // resource_spans[0]: resource, schema_url, resource again (merges), scope_spans, unknown 99.
    let protobuf = [
        10, 24, // resource_spans
        10, 2, 16, 1, // resource.dropped = 1
        26, 1, b'a', // schema_url
        10, 2, 16, 2, // resource.dropped = 2: the last counts
        18, 0, // scope_spans
        26, 1, b'b', // schema_url again
        0x9a, 0x06, 1, 7, // unknown field 99
        18, 2, 26, 0, // scope_spans with an empty schema_url
    ];
    let json = from_protobuf(Signal::Traces, &protobuf).unwrap();
    assert_eq!(
        std::str::from_utf8(&json).unwrap(),
        r#"{"resourceSpans":[{"resource":{"droppedAttributesCount":2},"scopeSpans":[{},{}],"schemaUrl":"b"}]}"#
    );
}

#[test]
fn the_last_member_of_a_oneof_counts() {
    // scope attribute value: string "a", then int 5, then string "b", then nothing.
    let value = [10, 1, b'a', 24, 5, 10, 1, b'b'];
    let mut key_value = vec![18, value.len() as u8];
    key_value.extend(value);
    let nest = |number: u8, content: Vec<u8>| {
        let mut field = vec![number << 3 | 2, content.len() as u8];
        field.extend(content);
        field
    };
    let protobuf = nest(1, nest(1, nest(1, key_value)));
    let json = from_protobuf(Signal::Logs, &protobuf).unwrap();
    assert_eq!(
        std::str::from_utf8(&json).unwrap(),
        r#"{"resourceLogs":[{"resource":{"attributes":[{"value":{"stringValue":"b"}}]}}]}"#
    );
}

#[test]
fn packed_numbers_are_read_unpacked_too() {
    // gauge metric's histogram point with bucket_counts as two separate fixed64 fields.
    let mut point = vec![6 << 3 | 1];
    point.extend(3u64.to_le_bytes());
    point.push(6 << 3 | 1);
    point.extend(4u64.to_le_bytes());
    let nest = |number: u8, content: Vec<u8>| {
        let mut field = vec![number << 3 | 2, content.len() as u8];
        field.extend(content);
        field
    };
    let protobuf = nest(1, nest(2, nest(2, nest(9, nest(1, point)))));
    let json = String::from_utf8(from_protobuf(Signal::Metrics, &protobuf).unwrap()).unwrap();
    assert!(json.contains(r#""bucketCounts":["3","4"]"#), "{json}");
}

#[test]
fn malformed_protobuf_is_an_error() {
    for bytes in [
        &[10][..],                   // a tag without its length
        &[10, 5, 1],                 // longer than what follows
        &[8, 1],                     // a varint where a message is due
        &[0, 1],                     // field number 0
        &[11],                       // a group
        &[0xff; 11],                 // an endless varint
        &[10, 4, 26, 2, 0xff, 0xfe], // text that is not UTF-8
    ] {
        let error = from_protobuf(Signal::Traces, bytes).unwrap_err();
        assert_eq!(error.code, Code::OtlpMalformed, "{bytes:?}");
    }
}

#[test]
fn the_empty_message_is_an_empty_object_and_back() {
    assert_eq!(from_protobuf(Signal::Traces, b"").unwrap(), b"{}");
    assert!(to_protobuf(Signal::Traces, b" {} ").unwrap().is_empty());
    let one = TracesData {
        resource_spans: vec![ResourceSpans::default()],
    };
    round_trips(Signal::Traces, &one);
}
