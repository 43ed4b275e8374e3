//! The rows and columns of a batch that are wanted, with no more memory than they need.
//!
//! The text columns of a live batch point into one buffer, the request that it came as. Written as
//! it is, each column would take that whole buffer with it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, StringViewArray,
    StringViewBuilder, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use otlake_base::{Code, Error, Result, Table, Wanted};

const TRACE_ID: &str = "trace_id";

fn failed(error: ArrowError) -> Error {
    Error::new(Code::Internal, format!("selecting rows: {error}"))
}

/// The rows and columns that are wanted; none where no row is. Text is where it was.
pub(crate) fn select(
    table: Table,
    batch: &RecordBatch,
    wanted: &Wanted,
) -> Result<Option<RecordBatch>> {
    let mut selected = batch.clone();
    if let Some((least, most)) = wanted.times {
        let times = selected.column_by_name(table.time_column());
        if let Some(times) = times.and_then(|times| times.as_primitive_opt::<Int64Type>()) {
            let is_within = |time: i64| least <= time && time <= most;
            if !times.values().iter().all(|time| is_within(*time)) {
                // What has no time is not told by it.
                let kept = times.iter().map(|time| Some(time.is_none_or(is_within)));
                let kept: BooleanArray = kept.collect();
                selected = filter_record_batch(&selected, &kept).map_err(failed)?;
            }
        }
    }
    if let Some(trace_id) = &wanted.trace_id {
        let ids = selected.column_by_name(TRACE_ID);
        if let Some(ids) = ids.and_then(|ids| ids.as_fixed_size_binary_opt()) {
            let kept = ids.iter().map(|id| Some(id == Some(&trace_id[..])));
            let kept: BooleanArray = kept.collect();
            selected = filter_record_batch(&selected, &kept).map_err(failed)?;
        }
    }
    if selected.num_rows() == 0 {
        return Ok(None);
    }
    if let Some(names) = &wanted.columns {
        let fields = selected.schema();
        let fields = fields.fields().iter().enumerate();
        let mut indices: Vec<usize> = fields
            .filter(|(_, field)| names.contains(field.name()))
            .map(|(index, _)| index)
            .collect();
        if indices.is_empty() {
            // Rows are counted by a column that is there; IPC has none without any.
            indices.push(0);
        }
        selected = selected.project(&indices).map_err(failed)?;
    }
    Ok(Some(selected))
}

/// The rows in pieces of at most so many bytes, unless a single row has more; each without the
/// memory that others need.
pub(crate) fn pieces(batch: &RecordBatch, bytes: usize) -> Result<Vec<RecordBatch>> {
    let whole = compact(batch)?;
    let size = whole.get_array_memory_size();
    let rows = whole.num_rows();
    if size <= bytes || rows <= 1 {
        return Ok(vec![whole]);
    }
    let per_piece = (rows * bytes / size).max(1);
    let starts = (0..rows).step_by(per_piece);
    let piece = |start: usize| compact(&batch.slice(start, per_piece.min(rows - start)));
    starts.map(piece).collect()
}

fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(compact_array);
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if columns.is_empty() {
        return Ok(batch.clone());
    }
    RecordBatch::try_new(batch.schema(), columns).map_err(failed)
}

fn compact_array(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::Utf8View => Arc::new(text(array.as_string_view())),
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let offsets = list.offsets();
            let (start, end) = (
                offsets.first().copied().unwrap_or(0),
                offsets.last().copied().unwrap_or(0),
            );
            let values = list.values().slice(start as usize, (end - start) as usize);
            let lengths = offsets.lengths();
            Arc::new(ListArray::try_new(
                Arc::clone(field),
                OffsetBuffer::from_lengths(lengths),
                compact_array(&values)?,
                list.nulls().cloned(),
            )?)
        }
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let columns = parts.columns().iter().map(compact_array);
            Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                columns.collect::<Result<_, _>>()?,
                parts.nulls().cloned(),
                parts.len(),
            )?)
        }
        _ => Arc::clone(array),
    })
}

/// A copy in one buffer of its own.
fn text(from: &StringViewArray) -> StringViewArray {
    let bytes: usize = from.iter().flatten().map(str::len).sum();
    let block = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
    let mut copy = StringViewBuilder::with_capacity(from.len()).with_fixed_block_size(block);
    copy.extend(from.iter());
    copy.finish()
}
