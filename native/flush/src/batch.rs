//! One acknowledged request in memory, and what its memory amounts to.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type};
use otlake_base::{Position, Signal, Table};
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
    /// Whose rows they are.
    pub tenant: Arc<str>,
    /// Rows by table, in the tables' whole schemas; tables without rows are absent. A replayed
    /// batch lacks the tables whose files hold its rows already, and can lack all of them.
    pub tables: Vec<(Table, RecordBatch)>,
    /// Bytes in memory.
    pub bytes: usize,
    /// Rows in all tables.
    pub rows: u64,
}

impl LiveBatch {
    /// A batch, measured.
    pub fn new(
        position: Position,
        signal: Signal,
        tenant: Arc<str>,
        tables: Vec<(Table, RecordBatch)>,
    ) -> LiveBatch {
        let bytes = memory_bytes(&tables);
        LiveBatch::measured(position, signal, tenant, tables, bytes)
    }

    /// A batch whose [`memory_bytes`] the caller has found already.
    pub fn measured(
        position: Position,
        signal: Signal,
        tenant: Arc<str>,
        tables: Vec<(Table, RecordBatch)>,
        bytes: usize,
    ) -> LiveBatch {
        let rows = tables
            .iter()
            .map(|(_, batch)| batch.num_rows() as u64)
            .sum();
        LiveBatch {
            position,
            signal,
            tenant,
            tables,
            bytes,
            rows,
        }
    }

    /// The days of each table's rows: with the tenant, the partitions that they go to. Some can
    /// be told more than once.
    pub fn days(&self) -> impl Iterator<Item = (Table, i32)> + '_ {
        self.tables.iter().flat_map(|(table, batch)| {
            let days = batch.column_by_name("day");
            let days = days.and_then(|days| days.as_primitive_opt::<Date32Type>());
            let days = days.map_or(&[][..], |days| days.values());
            // A request's rows come in runs of one day.
            let runs = days.chunk_by(|a, b| a == b);
            runs.map(|run| (*table, run[0]))
        })
    }

    /// The rows of one table.
    pub fn table(&self, table: Table) -> Option<&RecordBatch> {
        self.tables
            .iter()
            .find(|(of, _)| *of == table)
            .map(|(_, batch)| batch)
    }
}

/// Bytes that a batch of these rows holds. Text columns point into shared buffers, and a buffer
/// counts once, however many columns point to it; Arrow's own sum would count it for each.
pub fn memory_bytes(tables: &[(Table, RecordBatch)]) -> usize {
    let mut shared = Vec::new();
    let own: usize = tables
        .iter()
        .flat_map(|(_, batch)| batch.columns())
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
