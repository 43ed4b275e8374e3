//! Random OTLP messages, with every field of the definitions.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, MetricsData, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    Summary, SummaryDataPoint, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        2 => Just(String::new()),
        3 => "[a-z.$]{1,6}",
        1 => vec(any::<char>(), 0..5).prop_map(|chars| chars.into_iter().collect()),
    ]
}

fn key() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        Just("$double".into()),
        Just("$bytes".into()),
        Just("$$x".into()),
        text()
    ]
}

/// Doubles of every class; one NaN, since text keeps no NaN's payload. No -0.0, which prost
/// leaves out where it is a default.
fn double() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        4 => any::<f64>().prop_map(|x| if x.is_nan() { f64::NAN } else if x == 0.0 { 0.0 } else { x }),
        1 => prop_oneof![
            Just(f64::NAN),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY),
            Just(0.0),
            Just(1.0),
            Just(5e-324),
            Just(f64::MAX),
        ],
    ]
}

/// Times and counts up to `i64::MAX`, beyond which the decoder rejects a record.
fn nanos() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![Just(0), Just(i64::MAX as u64), 0..=i64::MAX as u64]
}

fn id(bytes: usize) -> impl Strategy<Value = Vec<u8>> + Clone {
    vec(1..=255u8, bytes)
}

fn optional_id(bytes: usize) -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![Just(Vec::new()), id(bytes)]
}

pub(crate) fn value() -> impl Strategy<Value = AnyValue> + Clone {
    use any_value::Value;
    let leaf = prop_oneof![
        text().prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        prop_oneof![double(), Just(-0.0)].prop_map(Value::DoubleValue),
        vec(any::<u8>(), 0..6).prop_map(Value::BytesValue),
    ];
    let leaf = option::weighted(0.9, leaf).prop_map(|value| AnyValue { value });
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec((key(), inner), 0..4).prop_map(|entries| Value::KvlistValue(KeyValueList {
                values: entries.into_iter().map(key_value).collect()
            })),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn key_value((key, value): (String, AnyValue)) -> KeyValue {
    KeyValue {
        key,
        value: Some(value),
        ..Default::default()
    }
}

pub(crate) fn attributes() -> impl Strategy<Value = Vec<KeyValue>> + Clone {
    vec((key(), value()).prop_map(key_value), 0..3)
}

fn resource() -> impl Strategy<Value = Option<Resource>> + Clone {
    let entity = (text(), text(), vec(text(), 0..3), vec(text(), 0..2)).prop_map(
        |(schema_url, r#type, id_keys, description_keys)| EntityRef {
            schema_url,
            r#type,
            id_keys,
            description_keys,
        },
    );
    let resource = (attributes(), any::<u32>(), vec(entity, 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    );
    option::of(resource)
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> + Clone {
    let scope = (text(), text(), attributes(), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    );
    option::of(scope)
}

fn event() -> impl Strategy<Value = Event> {
    (nanos(), text(), attributes(), any::<u32>()).prop_map(
        |(time_unix_nano, name, attributes, dropped_attributes_count)| Event {
            time_unix_nano,
            name,
            attributes,
            dropped_attributes_count,
        },
    )
}

fn link() -> impl Strategy<Value = Link> {
    (
        id(16),
        id(8),
        text(),
        attributes(),
        any::<u32>(),
        any::<u32>(),
    )
        .prop_map(
            |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| Link {
                trace_id,
                span_id,
                trace_state,
                attributes,
                dropped_attributes_count,
                flags,
            },
        )
}

fn span() -> impl Strategy<Value = Span> {
    let status = (text(), any::<i32>()).prop_map(|(message, code)| Status { message, code });
    let ids = (id(16), id(8), optional_id(8), text(), any::<u32>());
    let own = (
        text(),
        any::<i32>(),
        nanos(),
        nanos(),
        attributes(),
        option::of(status),
    );
    let parts = (vec(event(), 0..3), vec(link(), 0..3), any::<[u32; 3]>());
    (ids, own, parts).prop_map(|(ids, own, (events, links, dropped))| Span {
        trace_id: ids.0,
        span_id: ids.1,
        parent_span_id: ids.2,
        trace_state: ids.3,
        flags: ids.4,
        name: own.0,
        kind: own.1,
        start_time_unix_nano: own.2,
        end_time_unix_nano: own.3,
        attributes: own.4,
        dropped_attributes_count: dropped[0],
        events,
        dropped_events_count: dropped[1],
        links,
        dropped_links_count: dropped[2],
        status: own.5,
    })
}

pub(crate) fn traces() -> impl Strategy<Value = TracesData> {
    let scopes =
        (scope(), vec(span(), 0..3), text()).prop_map(|(scope, spans, schema_url)| ScopeSpans {
            scope,
            spans,
            schema_url,
        });
    let resources =
        (resource(), vec(scopes, 0..3), text()).prop_map(|(resource, scope_spans, schema_url)| {
            ResourceSpans {
                resource,
                scope_spans,
                schema_url,
            }
        });
    vec(resources, 0..3).prop_map(|resource_spans| TracesData { resource_spans })
}

fn log_record() -> impl Strategy<Value = LogRecord> {
    let numbers = (nanos(), nanos(), any::<i32>(), any::<u32>(), any::<u32>());
    let rest = (
        text(),
        option::of(value()),
        attributes(),
        optional_id(16),
        optional_id(8),
        text(),
    );
    (numbers, rest).prop_map(|(numbers, rest)| LogRecord {
        time_unix_nano: numbers.0,
        observed_time_unix_nano: numbers.1,
        severity_number: numbers.2,
        dropped_attributes_count: numbers.3,
        flags: numbers.4,
        severity_text: rest.0,
        body: rest.1,
        attributes: rest.2,
        trace_id: rest.3,
        span_id: rest.4,
        event_name: rest.5,
    })
}

pub(crate) fn logs() -> impl Strategy<Value = LogsData> {
    let scopes =
        (scope(), vec(log_record(), 0..3), text()).prop_map(|(scope, log_records, schema_url)| {
            ScopeLogs {
                scope,
                log_records,
                schema_url,
            }
        });
    let resources =
        (resource(), vec(scopes, 0..3), text()).prop_map(|(resource, scope_logs, schema_url)| {
            ResourceLogs {
                resource,
                scope_logs,
                schema_url,
            }
        });
    vec(resources, 0..3).prop_map(|resource_logs| LogsData { resource_logs })
}

fn exemplar() -> impl Strategy<Value = Exemplar> {
    let value = option::of(prop_oneof![
        double().prop_map(exemplar::Value::AsDouble),
        any::<i64>().prop_map(exemplar::Value::AsInt),
        Just(exemplar::Value::AsInt(0)),
    ]);
    (
        attributes(),
        nanos(),
        value,
        optional_id(8),
        optional_id(16),
    )
        .prop_map(
            |(filtered_attributes, time_unix_nano, value, span_id, trace_id)| Exemplar {
                filtered_attributes,
                time_unix_nano,
                value,
                span_id,
                trace_id,
            },
        )
}

fn exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    vec(exemplar(), 0..2)
}

fn number_point() -> impl Strategy<Value = NumberDataPoint> {
    let value = option::of(prop_oneof![
        double().prop_map(number_data_point::Value::AsDouble),
        any::<i64>().prop_map(number_data_point::Value::AsInt),
        Just(number_data_point::Value::AsInt(0)),
    ]);
    (
        attributes(),
        nanos(),
        nanos(),
        value,
        exemplars(),
        any::<u32>(),
    )
        .prop_map(
            |(attributes, start_time_unix_nano, time_unix_nano, value, exemplars, flags)| {
                NumberDataPoint {
                    attributes,
                    start_time_unix_nano,
                    time_unix_nano,
                    value,
                    exemplars,
                    flags,
                }
            },
        )
}

fn optional_doubles() -> impl Strategy<Value = [Option<f64>; 3]> {
    let one = || option::of(double());
    (one(), one(), one()).prop_map(|(a, b, c)| [a, b, c])
}

fn histogram_point() -> impl Strategy<Value = HistogramDataPoint> {
    let common = (
        attributes(),
        nanos(),
        nanos(),
        nanos(),
        exemplars(),
        any::<u32>(),
    );
    (
        common,
        optional_doubles(),
        vec(nanos(), 0..4),
        vec(double(), 0..4),
    )
        .prop_map(
            |(common, [sum, min, max], bucket_counts, mut explicit_bounds)| HistogramDataPoint {
                attributes: common.0,
                start_time_unix_nano: common.1,
                time_unix_nano: common.2,
                count: common.3,
                exemplars: common.4,
                flags: common.5,
                sum,
                min,
                max,
                // OTLP: one bucket more than there are bounds, or none at all.
                explicit_bounds: {
                    if !bucket_counts.is_empty() {
                        explicit_bounds.resize(bucket_counts.len() - 1, 0.5);
                    }
                    explicit_bounds
                },
                bucket_counts,
            },
        )
}

fn exponential_point() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    let buckets = || {
        option::of((any::<i32>(), vec(nanos(), 0..4))).prop_map(|buckets| {
            buckets.map(|(offset, bucket_counts)| Buckets {
                offset,
                bucket_counts,
            })
        })
    };
    let common = (
        attributes(),
        nanos(),
        nanos(),
        nanos(),
        exemplars(),
        any::<u32>(),
    );
    (
        common,
        optional_doubles(),
        any::<i32>(),
        nanos(),
        double(),
        buckets(),
        buckets(),
    )
        .prop_map(
            |(common, [sum, min, max], scale, zero_count, zero_threshold, positive, negative)| {
                ExponentialHistogramDataPoint {
                    attributes: common.0,
                    start_time_unix_nano: common.1,
                    time_unix_nano: common.2,
                    count: common.3,
                    exemplars: common.4,
                    flags: common.5,
                    sum,
                    min,
                    max,
                    scale,
                    zero_count,
                    zero_threshold,
                    positive,
                    negative,
                }
            },
        )
}

fn summary_point() -> impl Strategy<Value = SummaryDataPoint> {
    let quantile =
        (double(), double()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value });
    let common = (attributes(), nanos(), nanos(), nanos(), any::<u32>());
    (common, double(), vec(quantile, 0..3)).prop_map(|(common, sum, quantile_values)| {
        SummaryDataPoint {
            attributes: common.0,
            start_time_unix_nano: common.1,
            time_unix_nano: common.2,
            count: common.3,
            flags: common.4,
            sum,
            quantile_values,
        }
    })
}

fn metric() -> impl Strategy<Value = Metric> {
    use metric::Data;
    let data = prop_oneof![
        vec(number_point(), 0..3).prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (vec(number_point(), 0..3), any::<i32>(), any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| Data::Sum(Sum {
                data_points,
                aggregation_temporality,
                is_monotonic
            })
        ),
        (vec(histogram_point(), 0..3), any::<i32>()).prop_map(
            |(data_points, aggregation_temporality)| Data::Histogram(Histogram {
                data_points,
                aggregation_temporality
            })
        ),
        (vec(exponential_point(), 0..3), any::<i32>()).prop_map(
            |(data_points, aggregation_temporality)| Data::ExponentialHistogram(
                ExponentialHistogram {
                    data_points,
                    aggregation_temporality
                }
            )
        ),
        vec(summary_point(), 0..3).prop_map(|data_points| Data::Summary(Summary { data_points })),
    ];
    (
        text(),
        text(),
        text(),
        attributes(),
        option::weighted(0.9, data),
    )
        .prop_map(|(name, description, unit, metadata, data)| Metric {
            name,
            description,
            unit,
            metadata,
            data,
        })
}

pub(crate) fn metrics() -> impl Strategy<Value = MetricsData> {
    let scopes = (scope(), vec(metric(), 0..3), text()).prop_map(|(scope, metrics, schema_url)| {
        ScopeMetrics {
            scope,
            metrics,
            schema_url,
        }
    });
    let resources = (resource(), vec(scopes, 0..3), text()).prop_map(
        |(resource, scope_metrics, schema_url)| ResourceMetrics {
            resource,
            scope_metrics,
            schema_url,
        },
    );
    vec(resources, 0..3).prop_map(|resource_metrics| MetricsData { resource_metrics })
}
