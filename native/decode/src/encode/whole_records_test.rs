//! OTLP messages taken apart into records that can be compared.
//!
//! What is stored is grouped anew and its empty containers are gone, so each record stands here
//! with its resource and scope, in an order of their own. What says the same is the same: a
//! status or body that is set to its default, and one that is not set.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogsData;
use opentelemetry_proto::tonic::metrics::v1::{Metric, MetricsData, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Status, TracesData};
use prost::Message;

/// A record with all it stands in, as bytes, since a NaN is not equal to itself.
pub type Whole = Vec<Vec<u8>>;

fn sorted(mut records: Vec<Whole>) -> Vec<Whole> {
    records.sort();
    records
}

fn origin(
    resource: &Option<Resource>,
    resource_url: &str,
    scope: &Option<InstrumentationScope>,
    scope_url: &str,
) -> Whole {
    let (resource, scope) = (
        resource.clone().unwrap_or_default(),
        scope.clone().unwrap_or_default(),
    );
    let urls = [resource_url, scope_url].map(|url| url.as_bytes().to_vec());
    let mut whole = vec![resource.encode_to_vec(), scope.encode_to_vec()];
    whole.extend(urls);
    whole
}

/// Every span.
pub fn spans(data: &TracesData) -> Vec<Whole> {
    let mut records = Vec::new();
    for resource in &data.resource_spans {
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                let mut span = span.clone();
                span.status = span.status.filter(|status| *status != Status::default());
                let mut whole = origin(
                    &resource.resource,
                    &resource.schema_url,
                    &scope.scope,
                    &scope.schema_url,
                );
                whole.push(span.encode_to_vec());
                records.push(whole);
            }
        }
    }
    sorted(records)
}

/// Every log record.
pub fn log_records(data: &LogsData) -> Vec<Whole> {
    let mut records = Vec::new();
    for resource in &data.resource_logs {
        for scope in &resource.scope_logs {
            for record in &scope.log_records {
                let mut record = record.clone();
                record.body = record.body.filter(|body| body.value.is_some());
                let mut whole = origin(
                    &resource.resource,
                    &resource.schema_url,
                    &scope.scope,
                    &scope.schema_url,
                );
                whole.push(record.encode_to_vec());
                records.push(whole);
            }
        }
    }
    sorted(records)
}

/// Each point as a metric of its own.
fn points(metric: &Metric) -> Vec<Metric> {
    macro_rules! each {
        ($variant:ident, $data:expr) => {
            $data
                .data_points
                .iter()
                .map(|point| {
                    let mut data = $data.clone();
                    data.data_points = vec![point.clone()];
                    Metric {
                        data: Some(metric::Data::$variant(data)),
                        ..metric.clone()
                    }
                })
                .collect()
        };
    }
    match &metric.data {
        None => Vec::new(),
        Some(metric::Data::Gauge(data)) => each!(Gauge, data),
        Some(metric::Data::Sum(data)) => each!(Sum, data),
        Some(metric::Data::Histogram(data)) => each!(Histogram, data),
        Some(metric::Data::ExponentialHistogram(data)) => each!(ExponentialHistogram, data),
        Some(metric::Data::Summary(data)) => each!(Summary, data),
    }
}

/// Every data point.
pub fn data_points(data: &MetricsData) -> Vec<Whole> {
    let mut records = Vec::new();
    for resource in &data.resource_metrics {
        for scope in &resource.scope_metrics {
            for point in scope.metrics.iter().flat_map(points) {
                let mut whole = origin(
                    &resource.resource,
                    &resource.schema_url,
                    &scope.scope,
                    &scope.schema_url,
                );
                whole.push(point.encode_to_vec());
                records.push(whole);
            }
        }
    }
    sorted(records)
}
