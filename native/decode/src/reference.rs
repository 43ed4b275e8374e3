//! What plain code makes of prost's messages: the rows that the decoder must give.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Metric, NumberDataPoint, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use otlake_base::Table;
use xxhash_rust::xxh3::xxh3_64;

use crate::schema;

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Text(String),
    Int(i64),
    /// By its bits, since a NaN is not equal to itself.
    Double(u64),
    Bool(bool),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
}

pub type Row = Vec<Cell>;
pub type Rows = BTreeMap<&'static str, Vec<Row>>;

pub fn read(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Utf8View => Cell::Text(array.as_string_view().value(row).into()),
        DataType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => Cell::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Date32 => Cell::Int(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(..) => {
            Cell::Int(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Float64 => Cell::Double(array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::FixedSizeBinary(_) => Cell::Bytes(array.as_fixed_size_binary().value(row).into()),
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            Cell::List((0..elements.len()).map(|at| read(&elements, at)).collect())
        }
        DataType::Struct(_) => {
            let columns = array.as_struct().columns();
            Cell::List(columns.iter().map(|column| read(column, row)).collect())
        }
        other => panic!("no column of the schema is {other}"),
    }
}

pub fn rows(batch: &RecordBatch) -> Vec<Row> {
    let row = |row| {
        batch
            .columns()
            .iter()
            .map(|column| read(column, row))
            .collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn text(text: &str) -> Cell {
    Cell::Text(text.into())
}

fn optional(value: &str) -> Cell {
    if value.is_empty() {
        Cell::Null
    } else {
        text(value)
    }
}

fn int(value: impl Into<i64>) -> Cell {
    Cell::Int(value.into())
}

fn nanos(value: u64) -> Cell {
    Cell::Int(value as i64)
}

fn micros(value: u64) -> Cell {
    Cell::Int((value / 1000) as i64)
}

fn double(value: impl Into<Option<f64>>) -> Cell {
    value
        .into()
        .map_or(Cell::Null, |value| Cell::Double(value.to_bits()))
}

fn id(bytes: &[u8]) -> Cell {
    if bytes.is_empty() {
        Cell::Null
    } else {
        Cell::Bytes(bytes.to_vec())
    }
}

fn json(value: &Option<AnyValue>) -> String {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    match value.as_ref().and_then(|value| value.value.as_ref()) {
        None => "null".into(),
        Some(Value::StringValue(text)) => quoted(text),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) if value.is_nan() => r#"{"$double":"NaN"}"#.into(),
        Some(Value::DoubleValue(value)) if value.is_infinite() => {
            let sign = if *value < 0.0 { "-" } else { "" };
            format!(r#"{{"$double":"{sign}Infinity"}}"#)
        }
        // Serde writes a plus sign, which we leave out.
        Some(Value::DoubleValue(value)) => serde_json::to_string(value).unwrap().replace('+', ""),
        Some(Value::BytesValue(bytes)) => format!(r#"{{"$bytes":"{}"}}"#, base64(bytes)),
        Some(Value::ArrayValue(array)) => {
            let values = array.values.iter().map(|value| json(&Some(value.clone())));
            format!("[{}]", values.collect::<Vec<_>>().join(","))
        }
        Some(Value::KvlistValue(list)) => {
            let marker = list.values.len() == 1 && list.values[0].key.starts_with('$');
            let entries = list.values.iter().map(|entry| {
                let dollar = if marker { "$" } else { "" };
                format!(
                    "{}:{}",
                    quoted(&format!("{dollar}{}", entry.key)),
                    json(&entry.value)
                )
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        Some(Value::StringValueStrindex(_)) => unreachable!("none is made"),
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0))
        });
        for letter in 0..4 {
            out.push(if letter <= chunk.len() {
                char::from(LETTERS[(bits >> (18 - 6 * letter)) as usize & 63])
            } else {
                '='
            });
        }
    }
    out
}

fn entries(attributes: &[KeyValue]) -> Vec<String> {
    let entry = |entry: &KeyValue| {
        format!(
            "{}:{}",
            serde_json::to_string(&entry.key).unwrap(),
            json(&entry.value)
        )
    };
    attributes.iter().map(entry).collect()
}

fn object(attributes: &[KeyValue]) -> Cell {
    Cell::Text(format!("{{{}}}", entries(attributes).join(",")))
}

fn unordered(attributes: &[KeyValue]) -> u64 {
    entries(attributes).iter().fold(0, |sum: u64, entry| {
        sum.wrapping_add(xxh3_64(entry.as_bytes()))
    })
}

fn first_text(attributes: &[KeyValue], keys: &[&str]) -> Cell {
    let of = |entry: &KeyValue| match &entry.value.as_ref()?.value {
        Some(Value::StringValue(value)) if keys.contains(&entry.key.as_str()) => Some(text(value)),
        _ => None,
    };
    attributes.iter().find_map(of).unwrap_or(Cell::Null)
}

/// Where rows come from: the columns at their end, and what a series takes from it.
pub struct From {
    columns: Row,
    hashes: [u64; 2],
}

impl From {
    pub fn new(
        resource: &Option<Resource>,
        resource_url: &str,
        scope: &Option<InstrumentationScope>,
        scope_url: &str,
    ) -> Self {
        let resource = resource.clone().unwrap_or_default();
        let scope = scope.clone().unwrap_or_default();
        let refs: Vec<_> = resource
            .entity_refs
            .iter()
            .map(|it| {
                format!(
                    r#"{{"schemaUrl":{},"type":{},"idKeys":{},"descriptionKeys":{}}}"#,
                    serde_json::to_string(&it.schema_url).unwrap(),
                    serde_json::to_string(&it.r#type).unwrap(),
                    serde_json::to_string(&it.id_keys).unwrap(),
                    serde_json::to_string(&it.description_keys).unwrap(),
                )
            })
            .collect();
        let columns = vec![
            first_text(&resource.attributes, &["service.name"]),
            object(&resource.attributes),
            int(resource.dropped_attributes_count),
            if refs.is_empty() {
                Cell::Null
            } else {
                Cell::Text(format!("[{}]", refs.join(",")))
            },
            optional(resource_url),
            optional(&scope.name),
            optional(&scope.version),
            object(&scope.attributes),
            int(scope.dropped_attributes_count),
            optional(scope_url),
        ];
        let version = [&[0], scope.version.as_bytes()].concat();
        let scope = unordered(&scope.attributes)
            .wrapping_add(xxh3_64(scope.name.as_bytes()))
            .wrapping_add(xxh3_64(&version));
        Self {
            columns,
            hashes: [unordered(&resource.attributes), scope],
        }
    }

    fn end(&self, row: &mut Row, time: u64) {
        row.extend(self.columns.clone());
        row.extend([
            text("tenant"),
            Cell::Int((time / 86_400_000_000_000) as i64),
        ]);
    }
}

pub fn span(span: &Span, from: &From) -> Row {
    let status = span.status.clone().unwrap_or_default();
    let mut row = vec![
        id(&span.trace_id),
        id(&span.span_id),
        id(&span.parent_span_id),
        optional(&span.trace_state),
        int(span.flags),
        text(&span.name),
        int(span.kind),
        micros(span.start_time_unix_nano),
        micros(span.end_time_unix_nano),
        nanos(span.start_time_unix_nano),
        Cell::Int(span.end_time_unix_nano as i64 - span.start_time_unix_nano as i64),
        int(status.code),
        optional(&status.message),
    ];
    row.extend(schema::SPAN_TEXT_COLUMNS.map(|(_, keys)| first_text(&span.attributes, keys)));
    row.push(
        span.attributes
            .iter()
            .find_map(|entry| match entry.value.as_ref()?.value {
                Some(Value::IntValue(value))
                    if schema::SPAN_STATUS_COLUMN.1.contains(&entry.key.as_str()) =>
                {
                    Some(Cell::Int(value))
                }
                _ => None,
            })
            .unwrap_or(Cell::Null),
    );
    let events = span.events.iter().map(|event| {
        Cell::List(vec![
            nanos(event.time_unix_nano),
            text(&event.name),
            object(&event.attributes),
            int(event.dropped_attributes_count),
        ])
    });
    let links = span.links.iter().map(|link| {
        Cell::List(vec![
            id(&link.trace_id),
            id(&link.span_id),
            optional(&link.trace_state),
            object(&link.attributes),
            int(link.dropped_attributes_count),
            int(link.flags),
        ])
    });
    row.extend([
        object(&span.attributes),
        int(span.dropped_attributes_count),
        Cell::List(events.collect()),
        int(span.dropped_events_count),
        Cell::List(links.collect()),
        int(span.dropped_links_count),
    ]);
    from.end(&mut row, span.start_time_unix_nano);
    row
}

pub fn log(record: &LogRecord, from: &From) -> Row {
    let (body, body_value) = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        None => (Cell::Null, Cell::Null),
        Some(Value::StringValue(value)) => (text(value), Cell::Null),
        Some(_) => (
            Cell::Text(json(&record.body)),
            Cell::Text(json(&record.body)),
        ),
    };
    let mut row = vec![
        micros(record.time_unix_nano),
        micros(record.observed_time_unix_nano),
        nanos(record.time_unix_nano),
        nanos(record.observed_time_unix_nano),
        id(&record.trace_id),
        id(&record.span_id),
        int(record.flags),
        int(record.severity_number),
        optional(&record.severity_text),
        optional(&record.event_name),
        body,
        body_value,
        object(&record.attributes),
        int(record.dropped_attributes_count),
    ];
    // Without a time, the day is that of its observation.
    let dated = match record.time_unix_nano {
        0 => record.observed_time_unix_nano,
        time => time,
    };
    from.end(&mut row, dated);
    row
}

fn exemplars(exemplars: &[Exemplar]) -> Cell {
    let cell = |it: &Exemplar| {
        let [value, value_int] = match it.value {
            None => [Cell::Null, Cell::Null],
            Some(exemplar::Value::AsDouble(value)) => [double(value), Cell::Null],
            Some(exemplar::Value::AsInt(value)) => [double(value as f64), int(value)],
        };
        Cell::List(vec![
            nanos(it.time_unix_nano),
            value,
            value_int,
            id(&it.span_id),
            id(&it.trace_id),
            object(&it.filtered_attributes),
        ])
    };
    Cell::List(exemplars.iter().map(cell).collect())
}

fn counts(counts: &[u64]) -> Cell {
    Cell::List(counts.iter().map(|count| nanos(*count)).collect())
}

fn doubles(values: &[f64]) -> Cell {
    Cell::List(values.iter().map(|value| double(*value)).collect())
}

/// The row of a point: what every point has, then `specific`.
macro_rules! point {
    ($metric:expr, $point:expr, $from:expr, $specific:expr) => {{
        let (metric, point, from): (&Metric, _, &From) = ($metric, $point, $from);
        let parts = [
            xxh3_64(metric.name.as_bytes()),
            from.hashes[0],
            from.hashes[1],
            unordered(&point.attributes),
        ];
        let series = xxh3_64(&parts.map(u64::to_le_bytes).concat());
        let mut row = vec![
            text(&metric.name),
            optional(&metric.description),
            optional(&metric.unit),
            object(&metric.metadata),
            Cell::Int(series as i64),
            micros(point.start_time_unix_nano),
            micros(point.time_unix_nano),
            nanos(point.start_time_unix_nano),
            nanos(point.time_unix_nano),
            int(point.flags),
            object(&point.attributes),
        ];
        row.extend($specific);
        from.end(&mut row, point.time_unix_nano);
        row
    }};
}

fn number(point: &NumberDataPoint) -> Row {
    let [value, value_int] = match point.value {
        None => [Cell::Null, Cell::Null],
        Some(number_data_point::Value::AsDouble(value)) => [double(value), Cell::Null],
        Some(number_data_point::Value::AsInt(value)) => [double(value as f64), int(value)],
    };
    vec![value, value_int, exemplars(&point.exemplars)]
}

fn buckets(buckets: &Option<Buckets>) -> [Cell; 2] {
    match buckets {
        None => [Cell::Null, Cell::Null],
        Some(buckets) => [int(buckets.offset), counts(&buckets.bucket_counts)],
    }
}

pub fn points(metric: &Metric, from: &From, rows: &mut Rows) {
    use metric::Data;
    let mut add = |table: Table, row| rows.entry(table.name()).or_default().push(row);
    match &metric.data {
        None => {}
        Some(Data::Gauge(data)) => data.data_points.iter().for_each(|it| {
            add(Table::MetricsGauge, point!(metric, it, from, number(it)));
        }),
        Some(Data::Sum(data)) => data.data_points.iter().for_each(|it| {
            let own = [
                int(data.aggregation_temporality),
                Cell::Bool(data.is_monotonic),
            ];
            add(
                Table::MetricsSum,
                point!(metric, it, from, [number(it), own.to_vec()].concat()),
            );
        }),
        Some(Data::Histogram(data)) => data.data_points.iter().for_each(|it| {
            let own = [
                nanos(it.count),
                double(it.sum),
                double(it.min),
                double(it.max),
                counts(&it.bucket_counts),
                doubles(&it.explicit_bounds),
                exemplars(&it.exemplars),
                int(data.aggregation_temporality),
            ];
            add(Table::MetricsHistogram, point!(metric, it, from, own));
        }),
        Some(Data::ExponentialHistogram(data)) => data.data_points.iter().for_each(|it| {
            let ([positive, positive_counts], [negative, negative_counts]) =
                (buckets(&it.positive), buckets(&it.negative));
            let own = [
                nanos(it.count),
                double(it.sum),
                double(it.min),
                double(it.max),
                int(it.scale),
                nanos(it.zero_count),
                double(it.zero_threshold),
                positive,
                positive_counts,
                negative,
                negative_counts,
                exemplars(&it.exemplars),
                int(data.aggregation_temporality),
            ];
            add(
                Table::MetricsExponentialHistogram,
                point!(metric, it, from, own),
            );
        }),
        Some(Data::Summary(data)) => data.data_points.iter().for_each(|it| {
            let quantiles = it
                .quantile_values
                .iter()
                .map(|at| doubles(&[at.quantile, at.value]));
            let own = [
                nanos(it.count),
                double(it.sum),
                Cell::List(quantiles.collect()),
            ];
            add(Table::MetricsSummary, point!(metric, it, from, own));
        }),
    }
}
