//! Rows back to the OTLP message that they came in.
//!
//! Rows are grouped by their resource and, within it, by their scope (metrics by their metric as
//! well), in the order in which each group first appears. A record is written once, into its
//! group's bytes; the groups are put together at the end.
//!
//! ```text
//! rows ─▶ groups: resource ─▶ scope ─▶ [metric ─▶] record bytes ─▶ TracesData | MetricsData | LogsData
//! ```
//!
//! - `wire_writer`: protobuf fields, nested in place.
//! - `columns`: a batch's columns by name.
//! - `groups`: resource, scope and metric, and their assembly.
//! - `attributes`: attribute text to `KeyValue` messages.
//! - `spans`, `logs`, `metrics`: one record of each signal.

mod attributes;
mod columns;
mod groups;
mod logs;
mod metrics;
mod spans;
pub(crate) mod wire_writer;

#[cfg(test)]
mod attributes_test;
#[cfg(test)]
mod circle_test;
#[cfg(test)]
mod encode_test;
#[cfg(test)]
mod whole_records_test;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use otlake_base::{Code, Error, Result, Table};

use crate::json::lexer::Fault;
use crate::schema::{self, SPAN_STATUS_COLUMN, SPAN_TEXT_COLUMNS};

/// The rows as one OTLP message of their signal (`TracesData`, `MetricsData` or `LogsData`, which
/// have the wire form of the export requests). No rows give the empty message.
///
/// Columns are found by name; those of `schema` that only repeat others (`start_time`,
/// `service_name`, `http_route`, `series_id`, the partition columns) need not be there, and
/// further ones do not matter. Text and ids may have any Arrow layout.
///
/// # Errors
/// `INTERNAL` where the tables are of several signals, or a column is missing or of another
/// type; `TABLE_CORRUPT` where a column's JSON text is not what `decode` writes.
pub fn encode(table_batches: &[(Table, RecordBatch)]) -> Result<Vec<u8>> {
    let mut groups = groups::Groups::default();
    for (table, batch) in table_batches {
        if table.signal() != table_batches[0].0.signal() {
            return Err(Error::new(
                Code::Internal,
                "rows of several signals make no OTLP message",
            ));
        }
        match table {
            Table::Spans => spans::encode(batch, &mut groups)?,
            Table::Logs => logs::encode(batch, &mut groups)?,
            metrics_table => metrics::encode(*metrics_table, batch, &mut groups)?,
        }
    }
    Ok(groups.finish())
}

/// The table whose rows have these columns, be it among others: all that `encode` needs. Where
/// the columns of one are among another's, it is the one with more.
pub fn table_of(columns: &Schema) -> Option<Table> {
    let whole = |table: &Table| {
        let schema = schema::schema(*table);
        let mut needed = schema.fields().iter().map(|field| field.name());
        needed.all(|name| is_repetition(name) || columns.fields().find(name).is_some())
    };
    let tables = Table::ALL.into_iter().filter(whole);
    tables.max_by_key(|table| schema::schema(*table).fields().len())
}

/// Whether the column only repeats others.
fn is_repetition(column: &str) -> bool {
    let spans = SPAN_TEXT_COLUMNS.iter().chain([&SPAN_STATUS_COLUMN]);
    REPETITIONS.contains(&column) || spans.map(|(name, _)| *name).any(|name| name == column)
}

/// Of every table, beside a span's attributes that are columns of their own.
const REPETITIONS: [&str; 8] = [
    "start_time",
    "end_time",
    "time",
    "observed_time",
    "series_id",
    "service_name",
    "tenant",
    "day",
];

/// The error of a text column that does not hold what `decode` writes there.
fn corrupt(column: &str, fault: Box<Fault>) -> Error {
    Error::new(Code::TableCorrupt, format!("column {column}: {fault}"))
}
