//! Requests to decode, and what rules make of them.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otlake_base::limits::RecordLimits;
use otlake_base::{Metrics, RowRules, Signal, Table, TableRows};
use otlake_decode::Tables;
use prost::Message;

use crate::config::{Action, Redaction, RuleConfig};
use crate::rule_set::RuleSet;

pub use any_value::Value;

/// A span, log record or data point with all that is around it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub resource: Vec<KeyValue>,
    pub scope: InstrumentationScope,
    pub attributes: Vec<KeyValue>,
    /// Of the events or exemplars, each.
    pub nested: Vec<Vec<KeyValue>>,
    /// Of the links.
    pub links: Vec<Vec<KeyValue>>,
    pub name: String,
    pub message: String,
    pub number: i32,
    pub body: Option<Value>,
    pub metadata: Vec<KeyValue>,
    pub at: u64,
    /// Whose it has become; a request does not tell.
    pub tenant: String,
}

/// Who sends.
pub const SENDER: &str = "a";

pub fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

pub fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

pub fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

pub fn int(key: &str, value: i64) -> KeyValue {
    pair(key, Value::IntValue(value))
}

fn id(number: u64, width: usize) -> Vec<u8> {
    u128::from(number + 1).to_be_bytes()[16 - width..].to_vec()
}

fn span(record: &Record) -> Span {
    let event = |attributes: &Vec<KeyValue>| Event {
        name: "event".into(),
        attributes: attributes.clone(),
        ..Event::default()
    };
    let link = |attributes: &Vec<KeyValue>| Link {
        trace_id: id(7, 16),
        span_id: id(7, 8),
        attributes: attributes.clone(),
        ..Link::default()
    };
    Span {
        trace_id: id(record.at, 16),
        span_id: id(record.at, 8),
        name: record.name.clone(),
        kind: record.number,
        start_time_unix_nano: record.at,
        end_time_unix_nano: record.at + 1_000_000,
        attributes: record.attributes.clone(),
        events: record.nested.iter().map(event).collect(),
        links: record.links.iter().map(link).collect(),
        status: Some(Status {
            message: record.message.clone(),
            code: record.number % 3,
        }),
        ..Span::default()
    }
}

fn log(record: &Record) -> LogRecord {
    LogRecord {
        time_unix_nano: record.at,
        severity_number: record.number,
        severity_text: record.message.clone(),
        event_name: record.name.clone(),
        body: record.body.clone().map(any),
        attributes: record.attributes.clone(),
        ..LogRecord::default()
    }
}

fn gauge(record: &Record) -> Metric {
    let exemplar = |attributes: &Vec<KeyValue>| Exemplar {
        filtered_attributes: attributes.clone(),
        ..Exemplar::default()
    };
    let point = NumberDataPoint {
        time_unix_nano: record.at,
        attributes: record.attributes.clone(),
        exemplars: record.nested.iter().map(exemplar).collect(),
        value: Some(number_data_point::Value::AsInt(i64::from(record.number))),
        ..NumberDataPoint::default()
    };
    Metric {
        name: record.name.clone(),
        unit: record.message.clone(),
        metadata: record.metadata.clone(),
        data: Some(metric::Data::Gauge(Gauge {
            data_points: vec![point],
        })),
        ..Metric::default()
    }
}

/// Records that stand behind each other in one resource and scope are in one group, or each in its own.
pub fn request(signal: Signal, records: &[Record], each_alone: bool) -> Bytes {
    let groups: Vec<&[Record]> = match each_alone {
        true => records.chunks(1).collect(),
        false => records
            .chunk_by(|a, b| a.resource == b.resource && a.scope == b.scope)
            .collect(),
    };
    let resource = |group: &[Record]| {
        Some(Resource {
            attributes: group[0].resource.clone(),
            ..Resource::default()
        })
    };
    let scope = |group: &[Record]| Some(group[0].scope.clone());
    Bytes::from(match signal {
        Signal::Traces => {
            let of = |group: &&[Record]| ResourceSpans {
                resource: resource(group),
                scope_spans: vec![ScopeSpans {
                    scope: scope(group),
                    spans: group.iter().map(span).collect(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            };
            let resource_spans = groups.iter().map(of).collect();
            ExportTraceServiceRequest { resource_spans }.encode_to_vec()
        }
        Signal::Logs => {
            let of = |group: &&[Record]| ResourceLogs {
                resource: resource(group),
                scope_logs: vec![ScopeLogs {
                    scope: scope(group),
                    log_records: group.iter().map(log).collect(),
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            };
            let resource_logs = groups.iter().map(of).collect();
            ExportLogsServiceRequest { resource_logs }.encode_to_vec()
        }
        Signal::Metrics => {
            let of = |group: &&[Record]| ResourceMetrics {
                resource: resource(group),
                scope_metrics: vec![ScopeMetrics {
                    scope: scope(group),
                    metrics: group.iter().map(gauge).collect(),
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            };
            let resource_metrics = groups.iter().map(of).collect();
            ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
        }
    })
}

/// The table of the records.
pub fn table(signal: Signal) -> Table {
    signal.tables()[0]
}

pub fn decode(signal: Signal, body: &Bytes) -> Tables {
    decode_of(signal, body, SENDER)
}

/// As the tenant would have sent it.
pub fn decode_of(signal: Signal, body: &Bytes, tenant: &str) -> Tables {
    let limits = RecordLimits::NONE;
    let decoded = otlake_decode::decode(signal, body, tenant, &limits).expect("a request");
    assert_eq!(decoded.rejections.count, 0);
    decoded.tables
}

pub fn rule(signal: Signal, when: Option<&str>, action: Action) -> RuleConfig {
    RuleConfig {
        name: "a rule".into(),
        tables: vec![table(signal)],
        when: when.map(str::to_owned),
        action,
    }
}

pub fn redact(targets: &[&str], by: Redaction) -> Action {
    Action::Redact {
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        by,
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(target, to)| ((*target).to_owned(), (*to).to_owned()))
        .collect()
}

pub fn rename(changes: &[(&str, &str)]) -> Action {
    Action::Rename(pairs(changes))
}

pub fn route(tenant: &str) -> Action {
    Action::Route(tenant.to_owned())
}

pub fn set(changes: &[(&str, &str)]) -> Action {
    Action::Set(pairs(changes))
}

pub fn plan(rules: &[RuleConfig], metrics: &Metrics) -> Arc<dyn RowRules> {
    let planned = RuleSet::plan(rules, metrics);
    planned.expect("rules").expect("some")
}

/// What rules make of the sender's rows.
pub fn apply(rules: &dyn RowRules, rows: Tables) -> Vec<TableRows> {
    rules.apply(&SENDER.into(), rows)
}

/// What rules make of records, all of it the sender's; none where they leave none.
pub fn ruled(signal: Signal, records: &[Record], rules: &[RuleConfig]) -> Option<RecordBatch> {
    let rules = plan(rules, &Metrics::new());
    let rows = apply(&*rules, decode(signal, &request(signal, records, false)));
    assert!(rows.len() < 2 && rows.iter().all(|of| &*of.tenant == SENDER));
    rows.into_iter().next().map(|of| of.rows)
}

/// A column's values; nulls are empty.
pub fn column(batch: &RecordBatch, name: &str) -> Vec<String> {
    let column = batch.column_by_name(name).expect("a column");
    (0..column.len())
        .map(|row| array_value_to_string(column, row).expect("a value"))
        .collect()
}
