//! What the tests share: requests with few trace ids, resources and names, and owners of shards.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::owners::{Owners, PlacementRule};
use crate::shard::SHARDS;

/// The time of every record: 2026-01-01.
pub const TIME: u64 = 1_767_225_600_000_000_000;

/// Owners whose shards go around: `n0`, which is the local node, `n1`, and so on.
pub fn owners(nodes: usize, rules: &[PlacementRule]) -> Owners {
    owners_of("n0", nodes, rules)
}

pub fn owners_of(local: &str, nodes: usize, rules: &[PlacementRule]) -> Owners {
    let names: Vec<Arc<str>> = (0..nodes).map(|node| format!("n{node}").into()).collect();
    let shards = SHARDS.map(|shards| names.iter().cycle().take(shards).cloned().collect());
    Owners::new(local.into(), shards, rules, &names).unwrap()
}

pub fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.into())),
        }),
        ..KeyValue::default()
    }
}

pub fn resource(service: &str) -> Resource {
    Resource {
        attributes: vec![text("host.name", "h"), text("service.name", service)],
        ..Resource::default()
    }
}

fn scope(number: u8) -> InstrumentationScope {
    InstrumentationScope {
        name: format!("scope-{number}"),
        ..InstrumentationScope::default()
    }
}

pub fn trace_id(number: u64) -> Vec<u8> {
    u128::from(number + 1).to_le_bytes().to_vec()
}

pub fn span(trace: u64, number: u64) -> Span {
    Span {
        trace_id: trace_id(trace),
        span_id: (number + 1).to_le_bytes().to_vec(),
        name: format!("operation {number}"),
        start_time_unix_nano: TIME,
        end_time_unix_nano: TIME + number,
        ..Span::default()
    }
}

/// `count` spans in traces of `per_trace`, from trace `first`, in one scope.
pub fn spans(first: u64, count: u64, per_trace: u64) -> Bytes {
    let spans = (0..count).map(|number| span(first + number / per_trace, number));
    request(spans.collect())
}

pub fn request(spans: Vec<Span>) -> Bytes {
    let resource_spans = vec![ResourceSpans {
        resource: Some(resource("checkout")),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope(1)),
            spans,
            schema_url: "scope".into(),
        }],
        schema_url: "resource".into(),
    }];
    ExportTraceServiceRequest { resource_spans }
        .encode_to_vec()
        .into()
}

fn maybe_id() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u64..12).prop_map(trace_id),
        1 => Just(vec![0; 16]),
        1 => vec(any::<u8>(), 0..20),
    ]
}

/// Records by scope, by resource.
type Grouped<T> = Vec<(String, Vec<(u8, Vec<T>)>)>;

fn groups<T: std::fmt::Debug>(
    record: impl Strategy<Value = T>,
) -> impl Strategy<Value = Grouped<T>> {
    let scope = (0u8..3, vec(record, 0..12));
    vec(("s[0-3]", vec(scope, 0..4)), 0..4)
}

prop_compose! {
    fn any_span()(id in maybe_id(), number in any::<u64>(), name in ".{0,20}") -> Span {
        Span { trace_id: id, name, ..span(0, number) }
    }
}

prop_compose! {
    fn any_log()(id in maybe_id(), time in any::<u64>(), body in ".{0,20}") -> LogRecord {
        LogRecord {
            trace_id: id,
            time_unix_nano: time,
            body: text("", &body).value,
            ..LogRecord::default()
        }
    }
}

prop_compose! {
    fn any_metric()(name in "m[0-9]{0,1}", values in vec(any::<i64>(), 0..3)) -> Metric {
        let data_points = values
            .into_iter()
            .map(|value| NumberDataPoint {
                time_unix_nano: TIME,
                value: Some(number_data_point::Value::AsInt(value)),
                ..NumberDataPoint::default()
            })
            .collect();
        Metric {
            name,
            data: Some(metric::Data::Gauge(Gauge { data_points })),
            ..Metric::default()
        }
    }
}

prop_compose! {
    pub fn traces()(groups in groups(any_span())) -> ExportTraceServiceRequest {
        let resource_spans = groups.into_iter().map(|(service, scopes)| ResourceSpans {
            resource: Some(resource(&service)),
            scope_spans: scopes
                .into_iter()
                .map(|(number, spans)| ScopeSpans {
                    scope: Some(scope(number)),
                    spans,
                    schema_url: format!("url-{number}"),
                })
                .collect(),
            schema_url: service,
        });
        ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
    }
}

prop_compose! {
    pub fn logs()(groups in groups(any_log())) -> ExportLogsServiceRequest {
        let resource_logs = groups.into_iter().map(|(service, scopes)| ResourceLogs {
            resource: Some(resource(&service)),
            scope_logs: scopes
                .into_iter()
                .map(|(number, log_records)| ScopeLogs {
                    scope: Some(scope(number)),
                    log_records,
                    schema_url: format!("url-{number}"),
                })
                .collect(),
            schema_url: service,
        });
        ExportLogsServiceRequest { resource_logs: resource_logs.collect() }
    }
}

prop_compose! {
    pub fn metrics()(groups in groups(any_metric())) -> ExportMetricsServiceRequest {
        let resource_metrics = groups.into_iter().map(|(service, scopes)| ResourceMetrics {
            resource: Some(resource(&service)),
            scope_metrics: scopes
                .into_iter()
                .map(|(number, metrics)| ScopeMetrics {
                    scope: Some(scope(number)),
                    metrics,
                    schema_url: format!("url-{number}"),
                })
                .collect(),
            schema_url: service,
        });
        ExportMetricsServiceRequest { resource_metrics: resource_metrics.collect() }
    }
}
