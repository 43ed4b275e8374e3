//! Limits as plain code applies them to prost's messages, which knows nothing of the decoder.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, MetricsData};
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use otlake_base::limits::RecordLimits;
use prost::Message;

/// Applies limits to messages.
pub struct Cut(pub RecordLimits);

impl Cut {
    fn text(text: &mut String, limit: usize) {
        let mut end = text.len().min(limit);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }

    fn value(&self, value: &mut AnyValue, depth: usize, in_attribute: bool) {
        let longest = match in_attribute {
            true => self.0.attribute_value_bytes,
            false => usize::MAX,
        };
        match &mut value.value {
            Some(Value::StringValue(text)) => Self::text(text, longest),
            Some(Value::BytesValue(bytes)) => bytes.truncate(longest),
            Some(Value::ArrayValue(_) | Value::KvlistValue(_)) if depth == 0 => value.value = None,
            Some(Value::ArrayValue(array)) => {
                for value in &mut array.values {
                    self.value(value, depth - 1, in_attribute);
                }
            }
            Some(Value::KvlistValue(list)) => {
                for entry in &mut list.values {
                    self.entry(entry, depth - 1, in_attribute);
                }
            }
            _ => {}
        }
    }

    fn entry(&self, entry: &mut KeyValue, depth: usize, in_attribute: bool) {
        if in_attribute {
            Self::text(&mut entry.key, self.0.attribute_key_bytes);
        }
        if let Some(value) = &mut entry.value {
            self.value(value, depth, in_attribute);
        }
    }

    fn attributes(&self, entries: &mut Vec<KeyValue>, dropped: &mut u32) {
        Self::list(entries, self.0.attributes, dropped);
        for entry in entries {
            self.entry(entry, self.0.value_depth, true);
        }
    }

    fn list<T>(list: &mut Vec<T>, limit: usize, dropped: &mut u32) {
        let cut = list.len().saturating_sub(limit);
        list.truncate(limit);
        *dropped = dropped.saturating_add(cut as u32);
    }

    fn span(&self, span: &mut Span) {
        self.attributes(&mut span.attributes, &mut span.dropped_attributes_count);
        Self::list(
            &mut span.events,
            self.0.events,
            &mut span.dropped_events_count,
        );
        Self::list(&mut span.links, self.0.links, &mut span.dropped_links_count);
        for event in &mut span.events {
            self.attributes(&mut event.attributes, &mut event.dropped_attributes_count);
        }
        for link in &mut span.links {
            self.attributes(&mut link.attributes, &mut link.dropped_attributes_count);
        }
    }

    fn log(&self, log: &mut LogRecord) {
        self.attributes(&mut log.attributes, &mut log.dropped_attributes_count);
        if let Some(body) = &mut log.body {
            self.value(body, self.0.value_depth, false);
        }
    }

    pub fn traces(&self, mut data: TracesData) -> TracesData {
        for group in &mut data.resource_spans {
            if let Some(resource) = &mut group.resource {
                self.attributes(
                    &mut resource.attributes,
                    &mut resource.dropped_attributes_count,
                );
            }
            for group in &mut group.scope_spans {
                if let Some(scope) = &mut group.scope {
                    self.attributes(&mut scope.attributes, &mut scope.dropped_attributes_count);
                }
                group.spans.iter_mut().for_each(|span| self.span(span));
            }
        }
        data
    }

    pub fn logs(&self, mut data: LogsData) -> LogsData {
        for group in &mut data.resource_logs {
            if let Some(resource) = &mut group.resource {
                self.attributes(
                    &mut resource.attributes,
                    &mut resource.dropped_attributes_count,
                );
            }
            for group in &mut group.scope_logs {
                if let Some(scope) = &mut group.scope {
                    self.attributes(&mut scope.attributes, &mut scope.dropped_attributes_count);
                }
                group.log_records.iter_mut().for_each(|log| self.log(log));
            }
        }
        data
    }

    /// Whether it holds no more than the limits allow.
    fn takes(&self, entries: &[KeyValue]) -> bool {
        let (mut cut, mut dropped) = (entries.to_vec(), 0);
        self.attributes(&mut cut, &mut dropped);
        // By their bytes, since a NaN is not equal to itself.
        let bytes = |entries: &[KeyValue]| entries.iter().map(KeyValue::encode_to_vec).collect();
        let [cut, whole]: [Vec<Vec<u8>>; 2] = [bytes(&cut), bytes(entries)];
        cut == whole
    }

    /// A data point whose identity goes beyond a limit is gone; of others, what is not their
    /// identity is cut.
    pub fn metrics(&self, mut data: MetricsData) -> MetricsData {
        for group in &mut data.resource_metrics {
            let resource = group.resource.clone().unwrap_or_default();
            for group in &mut group.scope_metrics {
                let scope = group.scope.clone().unwrap_or_default();
                if !self.takes(&resource.attributes) || !self.takes(&scope.attributes) {
                    group.metrics.clear();
                }
                group
                    .metrics
                    .iter_mut()
                    .for_each(|metric| self.metric(metric));
            }
        }
        data
    }

    fn metric(&self, metric: &mut Metric) {
        self.attributes(&mut metric.metadata, &mut 0);
        macro_rules! points {
            ($data:expr) => {
                $data
                    .data_points
                    .retain(|point| self.takes(&point.attributes))
            };
        }
        macro_rules! exemplars {
            ($data:expr) => {{
                points!($data);
                let points = $data.data_points.iter_mut();
                for exemplar in points.flat_map(|point| &mut point.exemplars) {
                    self.attributes(&mut exemplar.filtered_attributes, &mut 0);
                }
            }};
        }
        match &mut metric.data {
            None => {}
            Some(Data::Gauge(data)) => exemplars!(data),
            Some(Data::Sum(data)) => exemplars!(data),
            Some(Data::Histogram(data)) => exemplars!(data),
            Some(Data::ExponentialHistogram(data)) => exemplars!(data),
            Some(Data::Summary(data)) => points!(data),
        }
    }
}
