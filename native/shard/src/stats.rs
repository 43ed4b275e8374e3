//! The figures of a file that let a reader pass it by, as the JSON of Delta's add action:
//! `numRecords`, `minValues`, `maxValues`, `nullCount`, for the columns that queries filter by
//! and whose range in one file is narrower than the table's.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{max, max_string_view, min, min_string_view};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::temporal_conversions::timestamp_us_to_datetime;
use otlake_base::Table;
use otlake_decode::schema::file_schema;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::schema::types::SchemaDescriptor;
use serde_json::{Map, Value, json};

/// Delta's length of text in statistics, in characters.
const TEXT_CHARS: usize = 32;

/// The columns whose least and greatest value the Delta log carries.
pub fn stats_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Spans => &[
            "start_time",
            "end_time",
            "start_time_unix_nano",
            "duration_ns",
            "status_code",
            "service_name",
            "name",
        ],
        Table::Logs => &["time", "time_unix_nano", "severity_number", "service_name"],
        _ => &[
            "name",
            "series_id",
            "time",
            "time_unix_nano",
            "service_name",
        ],
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Bound {
    Number(i64),
    Time(i64),
    Text(String),
}

impl Bound {
    fn order(&self, other: &Bound) -> std::cmp::Ordering {
        match (self, other) {
            (Bound::Number(a) | Bound::Time(a), Bound::Number(b) | Bound::Time(b)) => a.cmp(b),
            (Bound::Text(a), Bound::Text(b)) => a.cmp(b),
            // One column has one type.
            _ => std::cmp::Ordering::Equal,
        }
    }
}

#[derive(Default)]
struct Range {
    nulls: u64,
    bounds: Option<(Bound, Bound)>,
}

/// Gathers the figures of one file, part by part.
#[derive(Default)]
pub(crate) struct Stats {
    columns: BTreeMap<String, Range>,
}

impl Stats {
    /// Takes in row groups by what their footers say of the columns.
    ///
    /// # Errors
    /// Where a footer lacks a column of the table or has another type in its place.
    pub(crate) fn add(
        &mut self,
        table: Table,
        leaves: &SchemaDescriptor,
        groups: &[RowGroupMetaData],
    ) -> Result<(), ParquetError> {
        let schema = file_schema(table);
        for name in stats_columns(table) {
            let column = StatisticsConverter::try_new(name, &schema, leaves)?;
            self.include(name, &column.row_group_mins(groups)?);
            self.include(name, &column.row_group_maxes(groups)?);
            let nulls = column.row_group_null_counts(groups)?;
            let range = self.columns.entry((*name).to_owned()).or_default();
            range.nulls += nulls.iter().flatten().sum::<u64>();
        }
        Ok(())
    }

    /// Widens a column's range by some values.
    fn include(&mut self, name: &str, array: &ArrayRef) {
        let range = self.columns.entry(name.to_owned()).or_default();
        let bounds = match array.data_type() {
            DataType::Int32 => {
                let array = array.as_primitive::<Int32Type>();
                min(array).zip(max(array)).map(|(low, high)| {
                    (
                        Bound::Number(i64::from(low)),
                        Bound::Number(i64::from(high)),
                    )
                })
            }
            DataType::Int64 => {
                let array = array.as_primitive::<Int64Type>();
                min(array)
                    .zip(max(array))
                    .map(|(low, high)| (Bound::Number(low), Bound::Number(high)))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let array = array.as_primitive::<TimestampMicrosecondType>();
                min(array)
                    .zip(max(array))
                    .map(|(low, high)| (Bound::Time(low), Bound::Time(high)))
            }
            DataType::Utf8View => {
                let array = array.as_string_view();
                min_string_view(array)
                    .zip(max_string_view(array))
                    .map(|(low, high)| (Bound::Text(low.to_owned()), Bound::Text(high.to_owned())))
            }
            _ => None,
        };
        let Some((low, high)) = bounds else { return };
        range.bounds = Some(match range.bounds.take() {
            None => (low, high),
            Some((least, greatest)) => (
                if low.order(&least).is_lt() {
                    low
                } else {
                    least
                },
                if high.order(&greatest).is_gt() {
                    high
                } else {
                    greatest
                },
            ),
        });
    }

    /// Least and greatest of an integer column.
    pub(crate) fn numbers(&self, name: &str) -> Option<(i64, i64)> {
        match &self.columns.get(name)?.bounds {
            Some((Bound::Number(low), Bound::Number(high))) => Some((*low, *high)),
            _ => None,
        }
    }

    /// The JSON of the add action.
    pub(crate) fn to_json(&self, rows: usize) -> String {
        let mut least = Map::new();
        let mut greatest = Map::new();
        let mut nulls = Map::new();
        for (name, range) in &self.columns {
            nulls.insert(name.clone(), json!(range.nulls));
            let Some((low, high)) = &range.bounds else {
                continue;
            };
            if let Some(value) = value(low, text_below) {
                least.insert(name.clone(), value);
            }
            if let Some(value) = value(high, text_above) {
                greatest.insert(name.clone(), value);
            }
        }
        json!({ "numRecords": rows, "minValues": least, "maxValues": greatest, "nullCount": nulls })
            .to_string()
    }
}

fn value(bound: &Bound, cut: fn(&str) -> Option<String>) -> Option<Value> {
    match bound {
        Bound::Number(number) => Some(json!(number)),
        Bound::Time(micros) => {
            let time = timestamp_us_to_datetime(*micros)?;
            Some(json!(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()))
        }
        Bound::Text(text) => cut(text).map(Value::from),
    }
}

/// A text of bounded length that is not above `text`: a prefix.
fn text_below(text: &str) -> Option<String> {
    Some(text.chars().take(TEXT_CHARS).collect())
}

/// A text of bounded length that is not below `text`: a prefix, and the greatest character
/// after it. None where the character after the prefix is the greatest itself.
fn text_above(text: &str) -> Option<String> {
    let mut chars = text.chars();
    let mut prefix: String = chars.by_ref().take(TEXT_CHARS).collect();
    match chars.next() {
        None => Some(prefix),
        Some(char::MAX) => None,
        Some(_) => {
            prefix.push(char::MAX);
            Some(prefix)
        }
    }
}
