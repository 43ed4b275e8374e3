//! Requests whose records are numbered by their times.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use crate::testing::EPOCH;

/// A request of spans with these numbers.
pub(crate) fn spans(numbers: std::ops::Range<u64>) -> Bytes {
    let span = |number: u64| Span {
        trace_id: u128::from(number + 1).to_be_bytes().to_vec(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: "operation".to_owned(),
        start_time_unix_nano: EPOCH + number,
        end_time_unix_nano: EPOCH + number + 1,
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
    ExportTraceServiceRequest { resource_spans }
        .encode_to_vec()
        .into()
}

/// A request of log records with these numbers.
pub(crate) fn logs(numbers: std::ops::Range<u64>) -> Bytes {
    let record = |number| LogRecord {
        time_unix_nano: EPOCH + number,
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
    ExportLogsServiceRequest { resource_logs }
        .encode_to_vec()
        .into()
}

/// A request of a gauge and a sum, each with points of these numbers.
pub(crate) fn points(numbers: std::ops::Range<u64>) -> Bytes {
    let point = |number: u64| NumberDataPoint {
        time_unix_nano: EPOCH + number,
        value: Some(number_data_point::Value::AsInt(1)),
        ..NumberDataPoint::default()
    };
    let data_points: Vec<NumberDataPoint> = numbers.map(point).collect();
    let gauge = Gauge {
        data_points: data_points.clone(),
    };
    let sum = Sum {
        data_points,
        aggregation_temporality: 2,
        is_monotonic: true,
    };
    let metrics = [
        ("gauge", metric::Data::Gauge(gauge)),
        ("sum", metric::Data::Sum(sum)),
    ]
    .map(|(name, data)| Metric {
        name: name.to_owned(),
        data: Some(data),
        ..Metric::default()
    });
    let scope_metrics = vec![ScopeMetrics {
        metrics: metrics.into(),
        ..ScopeMetrics::default()
    }];
    let resource_metrics = vec![ResourceMetrics {
        scope_metrics,
        ..ResourceMetrics::default()
    }];
    ExportMetricsServiceRequest { resource_metrics }
        .encode_to_vec()
        .into()
}
