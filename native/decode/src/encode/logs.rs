//! A log record's row back to its `LogRecord` message.

use arrow::array::RecordBatch;
use otlake_base::Result;

use super::attributes::{write_attributes, write_text_value, write_value};
use super::columns::Columns;
use super::corrupt;
use super::groups::{Groups, Origin, ScopeCursor};

/// `ScopeLogs.log_records`.
const LOG_RECORDS: u32 = 2;
/// `LogRecord.body`.
const BODY: u32 = 5;

/// Writes each row of a batch of `logs` into its group.
pub(super) fn encode(batch: &RecordBatch, groups: &mut Groups) -> Result<()> {
    let columns = Columns::of(batch);
    let time = columns.longs("time_unix_nano")?;
    let observed_time = columns.longs("observed_time_unix_nano")?;
    let trace_id = columns.ids("trace_id")?;
    let span_id = columns.ids("span_id")?;
    let flags = columns.longs("flags")?;
    let severity_number = columns.ints("severity_number")?;
    let severity_text = columns.texts("severity_text")?;
    let event_name = columns.texts("event_name")?;
    let body = columns.texts("body")?;
    let body_value = columns.texts("body_value")?;
    let attributes = columns.texts("attributes")?;
    let dropped_attributes = columns.longs("dropped_attributes_count")?;
    let origin = Origin::of(batch)?;

    let mut cursor = ScopeCursor::new(&origin);
    for row in 0..batch.num_rows() {
        let scope = cursor.scope(row, groups)?;
        let wire = groups.records(scope);
        let mark = wire.begin(LOG_RECORDS);
        wire.fixed64_unless_zero(1, time.value(row) as u64);
        wire.varint_unless_zero(2, severity_number.value(row) as u64);
        wire.bytes_unless_empty(3, severity_text.value(row).as_bytes());
        match (body_value.get(row), body.get(row)) {
            (Some(value), _) => {
                write_value(value, BODY, wire).map_err(|fault| corrupt("body_value", fault))?;
            }
            (None, Some(text)) => write_text_value(text, BODY, wire),
            (None, None) => {}
        }
        write_attributes(attributes.value(row), 6, wire)
            .map_err(|fault| corrupt("attributes", fault))?;
        wire.varint_unless_zero(7, dropped_attributes.value(row) as u64);
        wire.fixed32_unless_zero(8, flags.value(row) as u32);
        wire.bytes_unless_empty(9, trace_id.value(row));
        wire.bytes_unless_empty(10, span_id.value(row));
        wire.fixed64_unless_zero(11, observed_time.value(row) as u64);
        wire.bytes_unless_empty(12, event_name.value(row).as_bytes());
        wire.end(mark);
    }
    Ok(())
}
