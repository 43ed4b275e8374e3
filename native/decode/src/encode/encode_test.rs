//! Rows written by hand as JSON, and what they become.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::ReaderBuilder;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogsData;
use opentelemetry_proto::tonic::metrics::v1::{MetricsData, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use otlake_base::{Code, Table};
use prost::Message;
use serde_json::{Value as Json, json};
use std::sync::Arc;

use super::{encode, table_of};
use crate::schema::{file_schema, schema};

fn default(data_type: &DataType) -> Json {
    match data_type {
        DataType::Utf8View => json!(""),
        DataType::Boolean => json!(false),
        DataType::List(_) => json!([]),
        DataType::FixedSizeBinary(bytes) => json!("01".repeat(*bytes as usize)),
        DataType::Timestamp(..) => json!("1970-01-01T00:00:00Z"),
        DataType::Date32 => json!("1970-01-01"),
        _ => json!(0),
    }
}

/// A batch of the table; columns that a row does not name are null, or their type's default.
fn batch(table: Table, rows: &[Json]) -> RecordBatch {
    let schema = schema(table);
    let mut decoder = ReaderBuilder::new(schema.clone()).build_decoder().unwrap();
    for row in rows {
        let mut row = row.as_object().unwrap().clone();
        for key in row.keys() {
            assert!(schema.field_with_name(key).is_ok(), "no column {key}");
        }
        for field in schema.fields().iter().filter(|field| !field.is_nullable()) {
            row.entry(field.name())
                .or_insert_with(|| match field.name().as_str() {
                    name if name.ends_with("attributes") || name == "metadata" => json!("{}"),
                    _ => default(field.data_type()),
                });
        }
        decoder
            .decode(Json::Object(row).to_string().as_bytes())
            .unwrap();
    }
    decoder.flush().unwrap().unwrap()
}

/// The batch as it may come back from a query: other layouts, no partition columns.
fn as_queried(table: Table, batch: &RecordBatch) -> RecordBatch {
    let schema = file_schema(table);
    let columns = schema.fields().iter().map(|field| {
        let column = batch.column_by_name(field.name()).unwrap();
        let column: ArrayRef = match field.data_type() {
            DataType::Utf8View => cast(column, &DataType::Utf8).unwrap(),
            DataType::FixedSizeBinary(_) => {
                let plain = cast(column, &DataType::Binary).unwrap();
                cast(&plain, &DataType::BinaryView).unwrap()
            }
            _ => column.clone(),
        };
        (
            Field::new(field.name(), column.data_type().clone(), true),
            column,
        )
    });
    let (fields, columns): (Vec<_>, Vec<_>) = columns.unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn any(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

#[test]
fn no_rows_are_the_empty_message() {
    assert!(encode(&[]).unwrap().is_empty());
    let empty = RecordBatch::new_empty(schema(Table::Spans));
    assert!(encode(&[(Table::Spans, empty)]).unwrap().is_empty());
}

#[test]
fn spans_come_back_whole_and_grouped_in_order_of_first_appearance() {
    let rows = [
        json!({"trace_id": "0102030405060708090a0b0c0d0e0f10", "span_id": "0102030405060708",
            "parent_span_id": "1112131415161718", "trace_state": "a=b", "flags": 257, "name": "one", "kind": 2,
            "start_time_unix_nano": 1000, "duration_ns": -400, "status_code": 2, "status_message": "no",
            "attributes": r#"{"k":1,"k":2.0}"#, "dropped_attributes_count": 4294967295u32,
            "events": [{"time_unix_nano": 5, "name": "e", "attributes": "{\"a\":true}", "dropped_attributes_count": 1}],
            "dropped_events_count": 2,
            "links": [{"trace_id": "ff02030405060708090a0b0c0d0e0f10", "span_id": "ff02030405060708",
                "trace_state": "l", "attributes": "{}", "dropped_attributes_count": 3, "flags": 1}],
            "dropped_links_count": 4, "resource_attributes": r#"{"service.name":"s"}"#,
            "resource_dropped_attributes_count": 7, "resource_schema_url": "r",
            "resource_entity_refs": r#"[{"type":"service","idKeys":["service.name"]}]"#,
            "scope_name": "lib", "scope_version": "1", "scope_attributes": r#"{"x":null}"#,
            "scope_dropped_attributes_count": 6, "scope_schema_url": "u"}),
        json!({"name": "two", "scope_name": "other"}),
        json!({"name": "three", "resource_attributes": r#"{"service.name":"s"}"#,
            "resource_dropped_attributes_count": 7, "resource_schema_url": "r",
            "resource_entity_refs": r#"[{"type":"service","idKeys":["service.name"]}]"#,
            "scope_name": "third"}),
        json!({"name": "four", "scope_name": "other"}),
    ];
    let batch = batch(Table::Spans, &rows);
    let bytes = encode(&[(Table::Spans, batch.clone())]).unwrap();
    let data = TracesData::decode(bytes.as_slice()).unwrap();
    assert_eq!(data.resource_spans.len(), 2);
    let first = &data.resource_spans[0];
    assert_eq!(first.schema_url, "r");
    let resource = first.resource.as_ref().unwrap();
    assert_eq!(resource.dropped_attributes_count, 7);
    assert_eq!(
        resource.attributes[0].value,
        any(Value::StringValue("s".into()))
    );
    assert_eq!(resource.entity_refs[0].id_keys, ["service.name"]);
    let names: Vec<Vec<Vec<&str>>> = data
        .resource_spans
        .iter()
        .map(|resource| {
            let scopes = resource.scope_spans.iter();
            scopes
                .map(|scope| scope.spans.iter().map(|span| span.name.as_str()).collect())
                .collect()
        })
        .collect();
    assert_eq!(
        names,
        vec![vec![vec!["one"], vec!["three"]], vec![vec!["two", "four"]]]
    );
    let scope_spans = &first.scope_spans[0];
    assert_eq!(scope_spans.schema_url, "u");
    let scope = scope_spans.scope.as_ref().unwrap();
    assert_eq!(
        (
            scope.name.as_str(),
            scope.version.as_str(),
            scope.dropped_attributes_count
        ),
        ("lib", "1", 6)
    );
    assert_eq!(scope.attributes[0].value, Some(AnyValue::default()));
    let span = &scope_spans.spans[0];
    assert_eq!(span.trace_id, (1..=16).collect::<Vec<u8>>());
    assert_eq!(span.parent_span_id, (0x11..=0x18).collect::<Vec<u8>>());
    assert_eq!(
        (span.start_time_unix_nano, span.end_time_unix_nano),
        (1000, 600)
    );
    assert_eq!(
        (span.flags, span.kind, span.trace_state.as_str()),
        (257, 2, "a=b")
    );
    assert_eq!(span.attributes[1].value, any(Value::DoubleValue(2.0)));
    assert_eq!(span.dropped_attributes_count, u32::MAX);
    assert_eq!(
        (
            span.events[0].name.as_str(),
            span.events[0].dropped_attributes_count
        ),
        ("e", 1)
    );
    assert_eq!((span.links[0].trace_id[0], span.links[0].flags), (0xff, 1));
    assert_eq!(
        (span.dropped_events_count, span.dropped_links_count),
        (2, 4)
    );
    assert_eq!(span.status.as_ref().unwrap().message, "no");
    assert_eq!(data.resource_spans[1].scope_spans[0].spans[0].status, None);

    let queried = as_queried(Table::Spans, &batch);
    assert_eq!(encode(&[(Table::Spans, queried)]).unwrap(), bytes);
}

#[test]
fn log_bodies_come_back_with_their_type() {
    let rows = [
        json!({"time_unix_nano": 1, "observed_time_unix_nano": 2, "severity_number": 9, "severity_text": "INFO",
            "event_name": "e", "flags": 1, "body": "5", "trace_id": "0102030405060708090a0b0c0d0e0f10"}),
        json!({"body": "5", "body_value": "5"}),
        json!({"body": ""}),
        json!({}),
    ];
    let batch = batch(Table::Logs, &rows);
    let bytes = encode(&[
        (Table::Logs, batch.slice(0, 1)),
        (Table::Logs, batch.slice(1, 3)),
    ])
    .unwrap();
    let data = LogsData::decode(bytes.as_slice()).unwrap();
    let records = &data.resource_logs[0].scope_logs[0].log_records;
    let bodies: Vec<_> = records.iter().map(|record| record.body.clone()).collect();
    let text = |text: &str| any(Value::StringValue(text.into()));
    assert_eq!(bodies, [text("5"), any(Value::IntValue(5)), text(""), None]);
    assert_eq!(
        (
            records[0].severity_number,
            records[0].flags,
            records[0].event_name.as_str()
        ),
        (9, 1, "e")
    );
    assert_eq!(
        (records[0].trace_id.len(), records[0].span_id.len()),
        (16, 0)
    );
    assert_eq!(
        encode(&[(Table::Logs, as_queried(Table::Logs, &batch))]).unwrap(),
        bytes
    );
}

#[test]
fn points_of_a_metric_come_back_under_it() {
    let sum = |name: &str, monotonic: bool| {
        json!({"name": name, "description": "d", "unit": "1", "metadata": r#"{"m":1}"#, "value": 0.0,
            "value_int": 0, "aggregation_temporality": 2, "is_monotonic": monotonic, "time_unix_nano": 3,
            "start_time_unix_nano": 2, "flags": 1, "attributes": r#"{"k":"v"}"#,
            "exemplars": [{"time_unix_nano": 4, "value": 1.5, "span_id": "0102030405060708",
                "filtered_attributes": "{\"f\":1}"}]})
    };
    let sums = batch(
        Table::MetricsSum,
        &[
            sum("a", true),
            sum("b", true),
            sum("a", false),
            sum("a", true),
        ],
    );
    let gauges = batch(
        Table::MetricsGauge,
        &[
            json!({"name": "a", "value": 2.5}),
            json!({"name": "a"}),
            json!({"name": "a", "value": -0.0}),
        ],
    );
    let bytes = encode(&[(Table::MetricsSum, sums), (Table::MetricsGauge, gauges)]).unwrap();
    let data = MetricsData::decode(bytes.as_slice()).unwrap();
    let metrics = &data.resource_metrics[0].scope_metrics[0].metrics;
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "a", "a"]);
    assert_eq!(metrics[0].metadata.len(), 1);
    let Some(metric::Data::Sum(sum)) = &metrics[0].data else {
        panic!()
    };
    assert_eq!(
        (
            sum.aggregation_temporality,
            sum.is_monotonic,
            sum.data_points.len()
        ),
        (2, true, 2)
    );
    let point = &sum.data_points[0];
    assert_eq!(point.value, Some(number_data_point::Value::AsInt(0)));
    assert_eq!(
        (
            point.start_time_unix_nano,
            point.time_unix_nano,
            point.flags
        ),
        (2, 3, 1)
    );
    assert_eq!(
        (
            point.exemplars[0].span_id.len(),
            point.exemplars[0].trace_id.len()
        ),
        (8, 0)
    );
    assert_eq!(
        point.attributes[0].value,
        any(Value::StringValue("v".into()))
    );
    let Some(metric::Data::Gauge(gauge)) = &metrics[3].data else {
        panic!()
    };
    assert_eq!(
        gauge.data_points[0].value,
        Some(number_data_point::Value::AsDouble(2.5))
    );
    assert_eq!(gauge.data_points[1].value, None);
    assert_eq!(
        gauge.data_points[2].value,
        Some(number_data_point::Value::AsDouble(-0.0))
    );
}

#[test]
fn histograms_and_summaries_come_back_whole() {
    let histogram = batch(
        Table::MetricsHistogram,
        &[
            json!({"name": "h", "count": 3, "sum": 0.0, "max": 2.0, "bucket_counts": [1, 2], "explicit_bounds": [1.5],
                "aggregation_temporality": 1}),
            json!({"name": "h", "count": i64::MAX, "bucket_counts": [4], "aggregation_temporality": 1}),
        ],
    );
    let exponential = batch(
        Table::MetricsExponentialHistogram,
        &[
            json!({"name": "x", "count": 1, "scale": -3, "zero_count": 2, "zero_threshold": 0.5,
            "positive_offset": -7, "positive_bucket_counts": [0, 300]}),
        ],
    );
    let summary = batch(
        Table::MetricsSummary,
        &[
            json!({"name": "s", "count": 1, "sum": 4.0, "quantile_values": [{"quantile": 0.9, "value": 1.0}]}),
        ],
    );
    let bytes = encode(&[
        (Table::MetricsHistogram, histogram),
        (Table::MetricsExponentialHistogram, exponential),
        (Table::MetricsSummary, summary),
    ])
    .unwrap();
    let data = MetricsData::decode(bytes.as_slice()).unwrap();
    let metrics = &data.resource_metrics[0].scope_metrics[0].metrics;
    let Some(metric::Data::Histogram(histogram)) = &metrics[0].data else {
        panic!()
    };
    let point = &histogram.data_points[0];
    assert_eq!(
        (point.sum, point.min, point.max),
        (Some(0.0), None, Some(2.0))
    );
    assert_eq!(
        (&point.bucket_counts[..], &point.explicit_bounds[..]),
        (&[1, 2][..], &[1.5][..])
    );
    assert_eq!(histogram.data_points[1].bucket_counts, [4]);
    assert_eq!(histogram.data_points[1].count, i64::MAX as u64);
    let Some(metric::Data::ExponentialHistogram(histogram)) = &metrics[1].data else {
        panic!()
    };
    let point = &histogram.data_points[0];
    assert_eq!(
        (point.scale, point.zero_count, point.zero_threshold),
        (-3, 2, 0.5)
    );
    let positive = point.positive.as_ref().unwrap();
    assert_eq!(
        (positive.offset, &positive.bucket_counts[..]),
        (-7, &[0, 300][..])
    );
    assert_eq!(point.negative, None);
    let Some(metric::Data::Summary(summary)) = &metrics[2].data else {
        panic!()
    };
    assert_eq!(summary.data_points[0].quantile_values[0].quantile, 0.9);
}

#[test]
fn rows_are_of_the_table_whose_columns_they_have() {
    for table in Table::ALL {
        assert_eq!(table_of(&schema(table)), Some(table));
        let queried = as_queried(table, &RecordBatch::new_empty(schema(table)));
        assert_eq!(table_of(&queried.schema()), Some(table));
        for (index, field) in schema(table).fields().iter().enumerate() {
            let mut fields = schema(table).fields().to_vec();
            fields.remove(index);
            let without = table_of(&Schema::new(fields));
            // A gauge has all that a sum has, but for what makes it one.
            assert!(
                without == Some(table)
                    || without.is_none()
                    || (table, without) == (Table::MetricsSum, Some(Table::MetricsGauge)),
                "{} without {}",
                table.name(),
                field.name()
            );
            if without == Some(table) {
                let batch = RecordBatch::new_empty(schema(table));
                let kept = (0..batch.num_columns()).filter(|kept| *kept != index);
                let batch = batch.project(&kept.collect::<Vec<_>>()).unwrap();
                assert!(encode(&[(table, batch)]).is_ok(), "{}", field.name());
            }
        }
    }
    assert_eq!(table_of(&Schema::empty()), None);
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let spans = batch(Table::Spans, &[json!({})]);
    let logs = batch(Table::Logs, &[json!({})]);
    let error = encode(&[(Table::Spans, spans.clone()), (Table::Logs, logs)]).unwrap_err();
    assert_eq!(error.code, Code::Internal);
    let error = encode(&[(Table::Spans, spans.project(&[0, 1]).unwrap())]).unwrap_err();
    assert_eq!(error.code, Code::Internal);
    let broken = batch(Table::Spans, &[json!({"attributes": "{\"a\":}"})]);
    assert_eq!(
        encode(&[(Table::Spans, broken)]).unwrap_err().code,
        Code::TableCorrupt
    );
}
