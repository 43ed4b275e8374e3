//! Rows for tests and benchmarks: the same for the same numbers, and for spans as like real
//! ones as a generator gets: traces of eight spans, a resource for each batch, attributes of
//! some two hundred bytes.
#![allow(dead_code, reason = "each user needs a part of it")]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, FixedSizeBinaryBuilder, Float64Array, Int32Array,
    Int64Array, ListArray, RecordBatch, StringViewBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use otlake_base::Table;
use otlake_decode::schema::schema;

/// 2026-11-23T00:00:00Z.
pub const DAY_NANOS: i64 = 1_795_392_000_000_000_000;
/// The same, in days since 1970.
pub const DAY: i32 = 20_780;
const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// A small generator of numbers that look random (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

struct Row {
    time: i64,
    duration: i64,
    trace: [u64; 2],
    span: u64,
    parent: Option<u64>,
    number: u64,
}

/// `count` rows of one resource, the first at `start`, of one tenant.
pub fn batch(table: Table, seed: u64, count: usize, start: i64, tenant: &str) -> RecordBatch {
    let mut random = Random(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let mut trace = [0, 0];
    let mut parent = None;
    let rows: Vec<Row> = (0..count)
        .map(|index| {
            if index % 8 == 0 {
                trace = [random.next(), random.next()];
                parent = None;
            }
            let span = random.next();
            let row = Row {
                time: start + index as i64 * 1_000_003 + random.below(900_000) as i64,
                duration: 100_000 + random.below(80_000_000) as i64,
                trace,
                span,
                parent,
                number: random.next(),
            };
            parent = Some(span);
            row
        })
        .collect();
    let schema = schema(table);
    let columns = schema
        .fields()
        .iter()
        .map(|field| column(field, &rows, seed, tenant))
        .collect();
    RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns of the schema")
}

fn text(name: &str, row: &Row, seed: u64, tenant: &str) -> Option<String> {
    let service = seed % 20;
    let n = row.number;
    Some(match name {
        "tenant" => tenant.to_owned(),
        "service_name" => format!("service-{service:02}"),
        "name" => format!("GET /api/v1/resource/{}", n % 13),
        "resource_attributes" => format!(
            r#"{{"service.name":"service-{service:02}","host.name":"host-{}","telemetry.sdk.language":"java","k8s.pod.name":"pod-{seed}"}}"#,
            seed % 50
        ),
        "scope_name" => "io.opentelemetry.http".to_owned(),
        "scope_version" => "2.10.0".to_owned(),
        "http_request_method" => "GET".to_owned(),
        "http_route" => format!("/api/v1/resource/{}", n % 13),
        "severity_text" => "INFO".to_owned(),
        "body" => format!(
            "request {} took {} ms for user {}",
            n % 100_000,
            n % 250,
            n % 9_999
        ),
        "attributes" if tenant.is_empty() => "{}".to_owned(),
        "attributes" => format!(
            r#"{{"http.request.method":"GET","http.route":"/api/v1/resource/{}","http.response.status_code":200,"user.id":"{}","thread.id":{},"net.peer.ip":"10.{}.{}.{}"}}"#,
            n % 13,
            n % 9_999,
            n % 64,
            n >> 8 & 255,
            n >> 16 & 255,
            n >> 24 & 255
        ),
        "scope_attributes" | "metadata" | "filtered_attributes" => "{}".to_owned(),
        _ => return None,
    })
}

fn column(field: &Field, rows: &[Row], seed: u64, tenant: &str) -> ArrayRef {
    let name = field.name().as_str();
    match field.data_type() {
        DataType::Utf8View => {
            let mut builder = StringViewBuilder::new().with_deduplicate_strings();
            for row in rows {
                match text(name, row, seed, tenant) {
                    Some(text) => builder.append_value(text),
                    None if field.is_nullable() => builder.append_null(),
                    None => builder.append_value(""),
                }
            }
            Arc::new(builder.finish())
        }
        DataType::FixedSizeBinary(width) => {
            let mut builder = FixedSizeBinaryBuilder::new(*width);
            for row in rows {
                let trace = [row.trace[0].to_be_bytes(), row.trace[1].to_be_bytes()].concat();
                let appended = match name {
                    "trace_id" => builder.append_value(trace),
                    "parent_span_id" => match row.parent {
                        Some(parent) => builder.append_value(parent.to_be_bytes()),
                        None => {
                            builder.append_null();
                            Ok(())
                        }
                    },
                    _ => builder.append_value(row.span.to_be_bytes()),
                };
                appended.expect("the width of the column");
            }
            Arc::new(builder.finish())
        }
        DataType::Timestamp(..) => {
            let end = |row: &Row| if name == "end_time" { row.duration } else { 0 };
            let values = rows.iter().map(|row| (row.time + end(row)) / 1000);
            Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
        }
        DataType::Date32 => Arc::new(Date32Array::from_iter_values(
            rows.iter()
                .map(|row| row.time.div_euclid(NANOS_PER_DAY) as i32),
        )),
        DataType::Int64 => {
            let value = |row: &Row| match name {
                name if name.ends_with("_unix_nano") => row.time,
                "duration_ns" => row.duration,
                "series_id" => (row.number % 7) as i64 - 3,
                "http_response_status_code" => 200,
                "value_int" => (row.number % 1_000) as i64,
                _ => 0,
            };
            Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
        }
        DataType::Int32 => Arc::new(Int32Array::from_iter_values(rows.iter().map(
            |row| match name {
                "kind" => 2,
                "severity_number" => 9,
                "status_code" => i32::from(row.number % 50 == 0) * 2,
                _ => 0,
            },
        ))),
        DataType::Float64 => Arc::new(Float64Array::from_iter_values(
            rows.iter().map(|row| (row.number % 10_000) as f64 / 8.0),
        )),
        DataType::Boolean => Arc::new(BooleanArray::from(vec![true; rows.len()])),
        DataType::List(item) => {
            // Each fifth row has an element.
            let with: Vec<bool> = (0..rows.len()).map(|index| index % 5 == 0).collect();
            let kept: Vec<Row> = rows
                .iter()
                .zip(&with)
                .filter(|(_, with)| **with)
                .map(|(row, _)| Row {
                    parent: Some(row.span),
                    ..*row
                })
                .collect();
            let values = match item.data_type() {
                DataType::Struct(fields) => structs(fields, &kept, seed, tenant),
                _ => column(item, &kept, seed, tenant),
            };
            let lengths = with.iter().map(|with| usize::from(*with));
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::new(
                Arc::clone(item),
                offsets,
                values,
                None::<NullBuffer>,
            ))
        }
        other => panic!("no rows of {other}"),
    }
}

fn structs(fields: &Fields, rows: &[Row], seed: u64, tenant: &str) -> ArrayRef {
    let columns = fields
        .iter()
        .map(|field| column(field, rows, seed, tenant))
        .collect();
    Arc::new(StructArray::new(fields.clone(), columns, None))
}
