//! One acknowledged request in memory, and what its memory amounts to.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type};
use otlake_base::{Position, Signal, Table, TableRows};
use otlake_decode::own_bytes as buffer_bytes;

/// What a batch costs beside its columns: its entry, its lists, its position. Batches without
/// rows count as this much, so that nothing in the live set is free.
const OVERHEAD_BYTES: usize = 512;

/// The rows of one log record, until files hold them.
#[derive(Clone, Debug)]
pub struct LiveBatch {
    /// Its name: stream and sequence.
    pub position: Position,
    /// The signal of the record.
    pub signal: Signal,
    /// Rows by table and by whose they are, each once: rules can route rows of a record to other
    /// tenants than the one that sent it. What has no rows is absent. A replayed batch lacks the
    /// tables whose files hold its rows already, and can lack all of them.
    pub parts: Vec<TableRows>,
    /// Bytes in memory.
    pub bytes: usize,
    /// Rows in all tables.
    pub rows: u64,
}

impl LiveBatch {
    /// A batch, measured.
    pub fn new(position: Position, signal: Signal, parts: Vec<TableRows>) -> LiveBatch {
        let bytes = memory_bytes(&parts);
        LiveBatch::measured(position, signal, parts, bytes)
    }

    /// A batch whose [`memory_bytes`] the caller has found already.
    pub fn measured(
        position: Position,
        signal: Signal,
        parts: Vec<TableRows>,
        bytes: usize,
    ) -> LiveBatch {
        let rows = parts.iter().map(|part| part.rows.num_rows() as u64).sum();
        LiveBatch {
            position,
            signal,
            parts,
            bytes,
            rows,
        }
    }

    /// The partitions that its rows go to: table, day and tenant. Some can be told more than once.
    pub fn partitions(&self) -> impl Iterator<Item = (Table, i32, &Arc<str>)> {
        self.parts.iter().flat_map(|part| {
            let days = part.rows.column_by_name("day");
            let days = days.and_then(|days| days.as_primitive_opt::<Date32Type>());
            let days = days.map_or(&[][..], |days| days.values());
            // A request's rows come in runs of one day.
            let runs = days.chunk_by(|a, b| a == b);
            runs.map(|run| (part.table, run[0], &part.tenant))
        })
    }

    /// The rows of one table: as many parts as there are tenants that have some.
    pub fn of(&self, table: Table) -> impl Iterator<Item = &TableRows> {
        self.parts.iter().filter(move |part| part.table == table)
    }
}

/// Bytes that a batch of these rows holds. Text columns point into shared buffers, and a buffer
/// counts once, however many columns and parts point to it; Arrow's own sum would count it for each.
pub fn memory_bytes(parts: &[TableRows]) -> usize {
    let mut shared = Vec::new();
    let own: usize = parts
        .iter()
        .flat_map(|part| part.rows.columns())
        .map(|column| own_bytes(column, &mut shared))
        .sum();
    shared.sort_unstable();
    shared.dedup();
    own + shared.iter().map(|(_, bytes)| bytes).sum::<usize>() + OVERHEAD_BYTES
}

/// Bytes of a column that no other can share; the text buffers, by address, go to `shared`.
fn own_bytes(column: &ArrayRef, shared: &mut Vec<(usize, usize)>) -> usize {
    let nulls = column
        .nulls()
        .map_or(0, |nulls| buffer_bytes(nulls.buffer()));
    match column.data_type() {
        DataType::Utf8View => {
            let text = column.as_string_view();
            for buffer in text.data_buffers() {
                shared.push((buffer.data_ptr().as_ptr() as usize, buffer.capacity()));
            }
            nulls + buffer_bytes(text.views().inner())
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            nulls + buffer_bytes(list.offsets().inner().inner()) + own_bytes(list.values(), shared)
        }
        DataType::Struct(_) => {
            let children = column.as_struct().columns();
            nulls
                + children
                    .iter()
                    .map(|child| own_bytes(child, shared))
                    .sum::<usize>()
        }
        _ => {
            nulls
                + column
                    .to_data()
                    .buffers()
                    .iter()
                    .map(buffer_bytes)
                    .sum::<usize>()
        }
    }
}
