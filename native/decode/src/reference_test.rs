//! Every column of random requests against `reference.rs`, with records refused among them.

use arrow::array::Array;
use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, SummaryDataPoint,
    metric,
};
use otlake_base::Signal;
use otlake_base::limits::RecordLimits;
use proptest::prelude::*;
use prost::Message;

use crate::json::random_otlp_test::{logs, metrics, traces, value};
use crate::reference::{From, Rows, log, points, rows, span};
use crate::{decode, schema};

/// Decodes, checks the whole of every batch, and gives its rows; how many were refused, and how
/// many changed.
fn decoded(signal: Signal, body: Vec<u8>) -> (Rows, u64, u64) {
    let decoded = decode(
        signal,
        &Bytes::from(body),
        "tenant",
        &RecordLimits::default(),
    )
    .unwrap();
    let mut found = Rows::new();
    for (table, batch) in &decoded.tables {
        assert_eq!(batch.schema(), schema::schema(*table));
        for column in batch.columns() {
            column.to_data().validate_full().unwrap();
        }
        found.insert(table.name(), rows(batch));
    }
    assert_eq!(
        decoded.accepted,
        found.values().map(|rows| rows.len() as u64).sum::<u64>()
    );
    let changed = decoded.changed.iter().map(|(_, count)| count).sum();
    (found, decoded.rejections.count, changed)
}

/// Attributes that are columns of their own, and text long enough for every path that copies it.
fn notable() -> impl Strategy<Value = Vec<KeyValue>> {
    let keys = schema::SPAN_TEXT_COLUMNS
        .iter()
        .chain([&schema::SPAN_STATUS_COLUMN]);
    let keys: Vec<&str> = keys.flat_map(|(_, keys)| keys.iter().copied()).collect();
    let long = prop_oneof![
        "[ -~]{0,40}",
        "[a-z/]{100,300}",
        "[a-z]{0,20}[\u{0}-\u{ff}]{0,2}[a-z]{0,20}",
    ];
    let entry = prop_oneof![
        (
            proptest::sample::select(keys.clone()).prop_map(String::from),
            value()
        ),
        (
            proptest::sample::select(keys).prop_map(String::from),
            any::<i64>().prop_map(|it| {
                AnyValue {
                    value: Some(Value::IntValue(it)),
                }
            })
        ),
        (
            long.clone(),
            long.prop_map(|it| AnyValue {
                value: Some(Value::StringValue(it))
            })
        ),
    ];
    let entry = entry.prop_map(|(key, value)| KeyValue {
        key,
        value: Some(value),
        ..Default::default()
    });
    proptest::collection::vec(entry, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn spans_are_what_prost_reads(
        mut data in traces(),
        more in proptest::collection::vec((notable(), 0..8u8), 1..6),
        service in notable(),
    ) {
        let (mut expected, mut refused, mut changed) = (Vec::new(), 0, 0);
        let mut next = more.iter().cycle();
        for group in &mut data.resource_spans {
            if let Some(resource) = &mut group.resource {
                resource.attributes.extend(service.iter().cloned().map(|it| {
                    KeyValue { key: "service.name".into(), ..it }
                }));
            }
            for scope_spans in &mut group.scope_spans {
                let from = From::new(&group.resource, &group.schema_url, &scope_spans.scope, &scope_spans.schema_url);
                for it in &mut scope_spans.spans {
                    let (attributes, fault) = next.next().unwrap();
                    it.attributes.extend(attributes.iter().cloned());
                    match fault {
                        0 => it.trace_id.push(1),
                        1 => it.span_id = vec![0; 8],
                        2 => it.end_time_unix_nano = 1 << 63,
                        3 if !it.links.is_empty() => it.links[0].span_id.clear(),
                        4 if !it.events.is_empty() => it.events[0].time_unix_nano = u64::MAX,
                        other => {
                            if other == &5 {
                                // A parent of zeros is none.
                                it.parent_span_id.clear();
                                expected.push(span(it, &from));
                                it.parent_span_id = vec![0; 8];
                                changed += 1;
                            } else {
                                expected.push(span(it, &from));
                            }
                            continue;
                        }
                    }
                    refused += 1;
                }
            }
        }
        let (found, rejections, changes) = decoded(Signal::Traces, data.encode_to_vec());
        prop_assert_eq!((rejections, changes), (refused, changed));
        prop_assert_eq!(found.get("spans").cloned().unwrap_or_default(), expected);
    }

    #[test]
    fn log_records_are_what_prost_reads(
        mut data in logs(),
        more in proptest::collection::vec((notable(), 0..8u8), 1..6),
    ) {
        let (mut expected, mut refused, mut changed) = (Vec::new(), 0, 0);
        let mut next = more.iter().cycle();
        for group in &mut data.resource_logs {
            for scope_logs in &mut group.scope_logs {
                let from = From::new(&group.resource, &group.schema_url, &scope_logs.scope, &scope_logs.schema_url);
                for it in &mut scope_logs.log_records {
                    let (attributes, fault) = next.next().unwrap();
                    it.attributes.extend(attributes.iter().cloned());
                    let (trace_id, span_id) = match fault {
                        0 => (vec![1], vec![1; 8]),
                        1 => (vec![1; 16], vec![1; 9]),
                        2 => {
                            it.observed_time_unix_nano = u64::MAX;
                            refused += 1;
                            continue;
                        }
                        3 => (vec![0; 16], vec![0; 8]),
                        _ => {
                            expected.push(log(it, &from));
                            continue;
                        }
                    };
                    // An id that is none is as if there were none.
                    for (found, id) in [(trace_id, &mut it.trace_id), (span_id, &mut it.span_id)] {
                        let whole = matches!(found.len(), 8 | 16) && found[0] != 0;
                        *id = if whole { found.clone() } else { Vec::new() };
                        changed += u64::from(!whole);
                    }
                    expected.push(log(it, &from));
                    match fault {
                        0 => it.trace_id = vec![1],
                        1 => it.span_id = vec![1; 9],
                        _ => (it.trace_id, it.span_id) = (vec![0; 16], vec![0; 8]),
                    }
                }
            }
        }
        let (found, rejections, changes) = decoded(Signal::Logs, data.encode_to_vec());
        prop_assert_eq!((rejections, changes), (refused, changed));
        prop_assert_eq!(found.get("logs").cloned().unwrap_or_default(), expected);
    }

    #[test]
    fn data_points_are_what_prost_reads(
        mut data in metrics(),
        more in proptest::collection::vec((notable(), 0..8u8), 1..6),
    ) {
        let (mut expected, mut refused, mut next) = (Rows::new(), 0, more.iter().cycle());
        for group in &mut data.resource_metrics {
            for scope_metrics in &mut group.scope_metrics {
                let from = From::new(&group.resource, &group.schema_url, &scope_metrics.scope, &scope_metrics.schema_url);
                for it in &mut scope_metrics.metrics {
                    let (attributes, fault) = next.next().unwrap();
                    // The first point is refused: what is left must be as if it had not been.
                    let mut kept = it.clone();
                    macro_rules! spoil {
                        ($data:expr, $kept:expr, $fault:expr) => {
                            for points in [&mut $data.data_points, &mut $kept.data_points] {
                                points.iter_mut().for_each(|it| it.attributes.extend(attributes.iter().cloned()));
                            }
                            if *fault < 4 && !$data.data_points.is_empty() {
                                $fault(&mut $data.data_points[0]);
                                $kept.data_points.remove(0);
                                refused += 1;
                            }
                        };
                    }
                    use metric::Data::*;
                    match (&mut it.data, &mut kept.data) {
                        (Some(Gauge(data)), Some(Gauge(kept))) => {
                            spoil!(data, kept, |it: &mut NumberDataPoint| it.time_unix_nano = u64::MAX);
                        },
                        (Some(Sum(data)), Some(Sum(kept))) => {
                            spoil!(data, kept, |it: &mut NumberDataPoint| {
                                it.exemplars.push(Exemplar { time_unix_nano: u64::MAX, ..Default::default() });
                            });
                        },
                        (Some(Histogram(data)), Some(Histogram(kept))) => {
                            spoil!(data, kept, |it: &mut HistogramDataPoint| {
                                it.bucket_counts = vec![1; it.explicit_bounds.len() + 2];
                            });
                        },
                        (Some(ExponentialHistogram(data)), Some(ExponentialHistogram(kept))) => {
                            spoil!(data, kept, |it: &mut ExponentialHistogramDataPoint| {
                                it.negative.get_or_insert_default().bucket_counts.push(u64::MAX);
                            });
                        },
                        (Some(Summary(data)), Some(Summary(kept))) => {
                            spoil!(data, kept, |it: &mut SummaryDataPoint| it.count = u64::MAX);
                        },
                        _ => {}
                    }
                    points(&kept, &from, &mut expected);
                }
            }
        }
        let (found, rejections, changes) = decoded(Signal::Metrics, data.encode_to_vec());
        prop_assert_eq!((rejections, changes), (refused, 0));
        prop_assert_eq!(found, expected);
    }
}
