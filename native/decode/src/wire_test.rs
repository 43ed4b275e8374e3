//! What protobuf lets a sender do, and what a small request may cost: messages written by hand,
//! since no encoder of ours writes them.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use bytes::Bytes;
use otlake_base::limits::RecordLimits;
use otlake_base::{Code, Signal, Table};

use crate::encode::wire_writer::WireWriter;
use crate::plain::{odd, odd_anywhere, plain_text};
use crate::request::Request;
use crate::wire::{Reader, whole_varint};
use crate::{Decoded, decode};

/// A message whose fields `write` writes.
fn message(write: impl FnOnce(&mut WireWriter)) -> Vec<u8> {
    let mut writer = WireWriter::default();
    write(&mut writer);
    writer.bytes
}

/// `number` holds one message after another.
fn nested(path: &[u32], innermost: Vec<u8>) -> Vec<u8> {
    path.iter().rev().fold(innermost, |inner, number| {
        message(|writer| writer.bytes_field(*number, &inner))
    })
}

fn raw(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A `KeyValue` whose value is text.
fn key_text(key: &str, text: &str) -> Vec<u8> {
    message(|entry| {
        entry.bytes_field(1, key.as_bytes());
        entry.bytes_field(2, &message(|value| value.bytes_field(1, text.as_bytes())));
    })
}

fn decoded(signal: Signal, body: Vec<u8>) -> Decoded {
    let decoded = decode(signal, &Bytes::from(body), "t", &RecordLimits::default()).unwrap();
    assert_eq!(decoded.rejections.first, None);
    decoded
}

fn code(signal: Signal, body: Vec<u8>) -> Code {
    decode(signal, &Bytes::from(body), "t", &RecordLimits::default())
        .unwrap_err()
        .code
}

fn only(decoded: &Decoded, table: Table) -> &RecordBatch {
    assert_eq!(decoded.tables.len(), 1);
    assert_eq!(decoded.tables[0].0, table);
    &decoded.tables[0].1
}

fn text<'a>(batch: &'a RecordBatch, column: &str) -> Option<&'a str> {
    let column = batch.column_by_name(column).unwrap().as_string_view();
    column.is_valid(0).then(|| column.value(0))
}

/// The attributes of a log record that has these `KeyValue` bytes.
fn log_attributes(entry: &[u8]) -> Vec<u8> {
    nested(&[1, 2, 2, 6], entry.to_vec())
}

/// A request with one metric that holds these bytes besides its name.
fn metric(fields: &[u8]) -> Vec<u8> {
    nested(
        &[1, 2, 2],
        raw(&[&message(|it| it.bytes_field(1, b"m")), fields]),
    )
}

#[test]
fn a_message_that_comes_twice_is_merged() {
    let int = |number: u8| vec![0x18, number];
    let array = |number: u8| nested(&[5, 1], int(number));
    let entry = |values: &[Vec<u8>]| {
        message(|entry| {
            entry.bytes_field(1, b"k");
            for value in values {
                entry.bytes_field(2, value);
            }
        })
    };
    for (values, expected) in [
        // An empty message says nothing.
        (vec![int(7), vec![]], r#"{"k":7}"#),
        // The same member of a oneof is merged, another takes its place.
        (vec![array(1), array(2)], r#"{"k":[1,2]}"#),
        (vec![raw(&[&array(1), &array(2)])], r#"{"k":[1,2]}"#),
        (vec![array(1), int(7)], r#"{"k":7}"#),
        (vec![array(1), int(7), array(2)], r#"{"k":[2]}"#),
        (vec![raw(&[&int(7), &int(8)])], r#"{"k":8}"#),
        (vec![], r#"{"k":null}"#),
    ] {
        let request = log_attributes(&entry(&values));
        let batch = decoded(Signal::Logs, request);
        assert_eq!(
            text(only(&batch, Table::Logs), "attributes"),
            Some(expected)
        );
        let list = nested(&[1, 2, 2, 5, 6, 1], entry(&values));
        let batch = decoded(Signal::Logs, list);
        assert_eq!(
            text(only(&batch, Table::Logs), "body_value"),
            Some(expected)
        );
    }
    let body = message(|record| {
        record.bytes_field(5, &array(1));
        record.bytes_field(5, &array(2));
    });
    let batch = decoded(Signal::Logs, nested(&[1, 2, 2], body));
    assert_eq!(text(only(&batch, Table::Logs), "body_value"), Some("[1,2]"));
}

#[test]
fn a_metrics_data_that_comes_twice_is_merged_or_replaced() {
    let point = |value: u64| message(|it| it.fixed64_field(6, value));
    let gauge = |value: u64| nested(&[5, 1], point(value));
    let sum = |value: u64| nested(&[7, 1], point(value));
    let batch = decoded(Signal::Metrics, metric(&raw(&[&gauge(1), &gauge(2)])));
    assert_eq!(only(&batch, Table::MetricsGauge).num_rows(), 2);
    let batch = decoded(
        Signal::Metrics,
        metric(&raw(&[&gauge(1), &sum(2), &gauge(3)])),
    );
    let batch = only(&batch, Table::MetricsGauge);
    assert_eq!(batch.num_rows(), 1);
    let value = batch.column_by_name("value_int").unwrap();
    assert_eq!(value.as_primitive::<Int64Type>().value(0), 3);
}

#[test]
fn what_is_replaced_or_makes_no_row_must_be_well_formed_too() {
    let torn: &[u8] = &[10, 99];
    let int = [0x18, 1];
    // A value's array that an integer replaces.
    let entry = message(|entry| {
        entry.bytes_field(2, &raw(&[&message(|it| it.bytes_field(5, torn)), &int]));
    });
    assert_eq!(
        code(Signal::Logs, log_attributes(&entry)),
        Code::OtlpMalformed
    );
    // A value that a later one replaces.
    let entry = message(|entry| {
        entry.bytes_field(2, &message(|it| it.bytes_field(5, torn)));
        entry.bytes_field(2, &int);
    });
    assert_eq!(
        code(Signal::Logs, log_attributes(&entry)),
        Code::OtlpMalformed
    );
    // A gauge that a sum replaces; metadata of a metric without data.
    let gauge = nested(&[5, 1], torn.to_vec());
    let sum = nested(&[7, 1], message(|it| it.fixed64_field(6, 1)));
    assert_eq!(
        code(Signal::Metrics, metric(&raw(&[&gauge, &sum]))),
        Code::OtlpMalformed
    );
    let metadata = nested(&[12], torn.to_vec());
    assert_eq!(
        code(Signal::Metrics, metric(&metadata)),
        Code::OtlpMalformed
    );
}

#[test]
fn a_field_that_another_metric_type_knows_is_unknown_to_this_one() {
    // `aggregation_temporality` and `is_monotonic` are numbers in a sum; a gauge and a summary
    // have neither, a histogram has only the first.
    let point = message(|it| it.fixed64_field(3, 1));
    for (kind, table, foreign) in [
        (5, Table::MetricsGauge, &[2, 3][..]),
        (9, Table::MetricsHistogram, &[3]),
        (10, Table::MetricsExponentialHistogram, &[3]),
        (11, Table::MetricsSummary, &[2, 3]),
    ] {
        let data = message(|data| {
            data.bytes_field(1, &point);
            for number in foreign {
                data.bytes_field(*number, b"later");
            }
        });
        let batch = decoded(Signal::Metrics, metric(&nested(&[kind], data)));
        assert_eq!(only(&batch, table).num_rows(), 1);
    }
}

#[test]
fn repeated_numbers_are_read_packed_and_one_by_one() {
    let fixed = |number: u32, values: &[u64], packed: bool| {
        message(|it| {
            if packed {
                let values: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                it.bytes_field(number, &values);
            } else {
                values
                    .iter()
                    .for_each(|value| it.fixed64_field(number, *value));
            }
        })
    };
    let bounds = [1.5f64.to_bits(), 2.5f64.to_bits()];
    let histogram = |packed| {
        let point = raw(&[&fixed(6, &[1, 2, 3], packed), &fixed(7, &bounds, packed)]);
        metric(&nested(&[9, 1], point))
    };
    let one_by_one = decoded(Signal::Metrics, histogram(false));
    assert_eq!(
        one_by_one.tables,
        decoded(Signal::Metrics, histogram(true)).tables
    );
    let batch = only(&one_by_one, Table::MetricsHistogram);
    let counts = batch
        .column_by_name("bucket_counts")
        .unwrap()
        .as_list::<i32>()
        .value(0);
    assert_eq!(counts.as_primitive::<Int64Type>().values(), &[1, 2, 3]);
    let read = batch
        .column_by_name("explicit_bounds")
        .unwrap()
        .as_list::<i32>()
        .value(0);
    assert_eq!(read.as_primitive::<Float64Type>().values(), &[1.5, 2.5]);

    // Offset -2, counts 1 and 300: packed, one by one, and in two messages that merge.
    for buckets in [
        nested(&[8], vec![0x08, 0x03, 0x12, 0x03, 0x01, 0xac, 0x02]),
        nested(&[8], vec![0x10, 0x01, 0x08, 0x03, 0x10, 0xac, 0x02]),
        raw(&[
            &nested(&[8], vec![0x10, 0x01, 0x08, 0x03]),
            &nested(&[8], vec![0x10, 0xac, 0x02]),
        ]),
    ] {
        let batch = decoded(Signal::Metrics, metric(&nested(&[10, 1], buckets)));
        let batch = only(&batch, Table::MetricsExponentialHistogram);
        let offset = batch.column_by_name("positive_offset").unwrap();
        assert_eq!(offset.as_primitive::<Int32Type>().value(0), -2);
        let counts = batch
            .column_by_name("positive_bucket_counts")
            .unwrap()
            .as_list::<i32>()
            .value(0);
        assert_eq!(counts.as_primitive::<Int64Type>().values(), &[1, 300]);
        assert!(batch.column_by_name("negative_offset").unwrap().is_null(0));
    }
}

#[test]
fn groups_and_foreign_wire_types_are_malformed() {
    for record in [
        vec![0x0b, 0x0c],
        vec![0x08, 0x01],
        vec![0x12, 0x01, b'x'],
        vec![0x00],
    ] {
        assert_eq!(
            code(Signal::Logs, nested(&[1, 2, 2], record)),
            Code::OtlpMalformed
        );
    }
}

#[test]
fn i5_a_resource_stands_once_however_many_scopes_repeat_it() {
    let resource = nested(&[1], key_text("k", &"x".repeat(64 * 1024)));
    for (signal, record) in [
        (
            Signal::Traces,
            nested(
                &[2],
                raw(&[
                    &message(|span| span.bytes_field(1, &[1; 16])),
                    &message(|span| span.bytes_field(2, &[1; 8])),
                ]),
            ),
        ),
        (Signal::Logs, nested(&[2], Vec::new())),
        // A metric of two types in turn, so that both tables need the resource.
        (
            Signal::Metrics,
            raw(&[
                &nested(&[2, 5, 1], Vec::new()),
                &nested(&[2, 7, 1], Vec::new()),
            ]),
        ),
    ] {
        let body = nested(
            &[1],
            message(|group| {
                group.bytes_field(1, &resource);
                (0..1000).for_each(|_| group.bytes_field(2, &record));
            }),
        );
        let decoded = decoded(signal, body);
        let mut buffers: Vec<_> = decoded
            .tables
            .iter()
            .flat_map(|(_, batch)| {
                let column = batch
                    .column_by_name("resource_attributes")
                    .unwrap()
                    .as_string_view();
                column
                    .data_buffers()
                    .iter()
                    .map(|buffer| (buffer.as_ptr(), buffer.len()))
            })
            .collect();
        buffers.sort_unstable();
        buffers.dedup();
        let text: usize = buffers.iter().map(|(_, length)| length).sum();
        assert!(text < 256 * 1024, "{}: {text} bytes of text", signal.name());
    }
}

#[test]
fn i5_parts_of_a_record_are_counted_before_they_are_kept() {
    let many = |number: u32| {
        message(|it| {
            (0..=otlake_base::limits::MAX_REQUEST_RECORDS).for_each(|_| it.bytes_field(number, &[]))
        })
    };
    for (signal, body) in [
        (Signal::Traces, nested(&[1, 2, 2], many(11))),
        (Signal::Traces, nested(&[1, 2, 2], many(13))),
        (Signal::Traces, nested(&[1, 2, 2], many(9))),
        (Signal::Traces, nested(&[1], many(2))),
        (Signal::Traces, nested(&[1], many(1))),
        (Signal::Logs, nested(&[1, 2], many(2))),
        (Signal::Metrics, nested(&[1, 2, 2, 5], many(1))),
        (Signal::Metrics, nested(&[1, 2, 2, 5, 1], many(5))),
        (Signal::Metrics, nested(&[1, 2], many(2))),
    ] {
        assert_eq!(code(signal, body), Code::OtlpTooLarge);
    }
}

#[test]
fn every_processor_finds_the_same_bytes_odd() {
    for byte in 0..=u8::MAX {
        for at in 0..16 {
            let mut block = [b'x'; 16];
            block[at] = byte;
            let plain = (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\';
            let expected = if plain { 0 } else { 1 << at };
            assert_eq!(
                (odd(block), odd_anywhere(block)),
                (expected, expected),
                "{byte}"
            );
        }
    }
}

#[test]
fn plain_text_is_found_whatever_its_length_and_wherever_it_is_not_plain() {
    for length in 0..40 {
        for base in [b' ', b'a', b'~', 0x7f, b'!', b'#'] {
            let mut bytes = vec![base; length];
            assert_eq!(plain_text(&bytes).map(str::len), Some(length));
            for at in 0..length {
                for byte in 0..=255 {
                    bytes[at] = byte;
                    let plain = (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\';
                    assert_eq!(
                        plain_text(&bytes).is_some(),
                        plain,
                        "{byte} at {at} of {length}"
                    );
                }
                bytes[at] = base;
            }
        }
    }
}

#[test]
fn a_varint_read_whole_is_what_the_reader_reads() {
    let mut numbers = vec![0, 1, 127, 128, 300, u64::from(u32::MAX), i64::MAX as u64];
    numbers.extend((0..63).map(|shift| 1 << shift));
    for number in numbers {
        let bytes = message(|it| it.varint(number));
        assert_eq!(whole_varint(&bytes), Some(number));
        assert_eq!(
            Reader::new(&bytes, &Request::new(&bytes, RecordLimits::NONE, u64::MAX))
                .varint()
                .unwrap(),
            number
        );
        assert_eq!(whole_varint(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(whole_varint(&[&[0x80], &bytes[..0]].concat()), None);
    }
    // A longer form than needed is the same number; ten bytes are left to the reader.
    assert_eq!(whole_varint(&[0x81, 0x80, 0x00]), Some(1));
    assert_eq!(whole_varint(&message(|it| it.varint(u64::MAX))), None);
    assert_eq!(whole_varint(&[]), None);
}
