//! OTLP requests whose records carry their number as their time.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlake_base::{Signal, Table};
use prost::Message;

use crate::clock::EPOCH;

/// The time of record 0, in ns since 1970 UTC.
pub const FIRST: u64 = EPOCH;
/// Days that rows are kept.
pub const DAYS_KEPT: u32 = 365;
/// The first number of records that are past their time when they come: a number is added to the
/// first one's time and wraps around, so these are 400 days older.
pub const EXPIRED: u64 = 0u64.wrapping_sub(400 * 86_400_000_000_000);

/// The tables that hold a signal's numbers, each number in each of them.
pub fn tables(signal: Signal) -> &'static [Table] {
    match signal {
        Signal::Traces => &[Table::Spans],
        Signal::Logs => &[Table::Logs],
        Signal::Metrics => &[Table::MetricsGauge, Table::MetricsSum],
    }
}

/// The time of the record of a number.
fn time(number: u64) -> u64 {
    FIRST.wrapping_add(number)
}

/// A request of `count` records from number `first` on.
pub fn request(signal: Signal, first: u64, count: u64) -> Bytes {
    let numbers = first..first + count;
    let bytes = match signal {
        Signal::Traces => spans(numbers),
        Signal::Logs => logs(numbers),
        Signal::Metrics => points(numbers),
    };
    Bytes::from(bytes)
}

fn spans(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let span = |number: u64| Span {
        trace_id: u128::from(number + 1).to_be_bytes().to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: format!("operation {}", number % 7),
        kind: 2,
        start_time_unix_nano: time(number),
        end_time_unix_nano: time(number) + 1_000,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans: numbers.map(span).collect(),
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        scope_spans,
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn logs(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let record = |number: u64| LogRecord {
        time_unix_nano: time(number),
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs {
        log_records: numbers.map(record).collect(),
        ..ScopeLogs::default()
    }];
    let resource_logs = vec![ResourceLogs {
        scope_logs,
        ..ResourceLogs::default()
    }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn points(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let points = || {
        let point = |number: u64| NumberDataPoint {
            time_unix_nano: time(number),
            value: Some(number_data_point::Value::AsInt(1)),
            ..NumberDataPoint::default()
        };
        numbers.clone().map(point).collect()
    };
    let gauge = Gauge {
        data_points: points(),
    };
    let sum = Sum {
        data_points: points(),
        aggregation_temporality: 2,
        is_monotonic: true,
    };
    let of = |name: &str, data| Metric {
        name: name.into(),
        data: Some(data),
        ..Metric::default()
    };
    let metrics = vec![
        of("gauge", metric::Data::Gauge(gauge)),
        of("sum", metric::Data::Sum(sum)),
    ];
    let scope_metrics = vec![ScopeMetrics {
        metrics,
        ..ScopeMetrics::default()
    }];
    let resource_metrics = vec![ResourceMetrics {
        scope_metrics,
        ..ResourceMetrics::default()
    }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}
