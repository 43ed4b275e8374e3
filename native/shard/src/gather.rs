//! One column's rows in a given order.
//!
//! A column at a time, so that a row group never stands in memory as a whole beside the
//! batches it comes from. Text moves as 16-byte views; the buffers behind them are shared.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// The values of column `index` at `rows`, as (batch, row).
pub(crate) fn gather(
    batches: &[RecordBatch],
    index: usize,
    rows: &[(usize, usize)],
) -> Result<ArrayRef, ArrowError> {
    let arrays: Vec<&dyn Array> = batches
        .iter()
        .map(|batch| batch.column(index).as_ref())
        .collect();
    match arrays.first().map(|array| array.data_type()) {
        Some(DataType::FixedSizeBinary(width)) => fixed(&arrays, *width, rows),
        _ => interleave(&arrays, rows),
    }
}

/// `interleave` has no path of its own for fixed binary, and its general one costs a call
/// through a pointer for every row.
fn fixed(
    arrays: &[&dyn Array],
    width: i32,
    rows: &[(usize, usize)],
) -> Result<ArrayRef, ArrowError> {
    let arrays: Vec<&FixedSizeBinaryArray> = arrays
        .iter()
        .map(|array| array.as_fixed_size_binary())
        .collect();
    let mut bytes = Vec::with_capacity(rows.len() * width as usize);
    for (batch, row) in rows {
        bytes.extend_from_slice(arrays[*batch].value(*row));
    }
    let nulls = arrays.iter().any(|array| array.null_count() > 0).then(|| {
        rows.iter()
            .map(|(batch, row)| arrays[*batch].is_valid(*row))
            .collect()
    });
    let nulls: Option<NullBuffer> = nulls;
    Ok(Arc::new(FixedSizeBinaryArray::try_new(
        width,
        Buffer::from_vec(bytes),
        nulls,
    )?))
}
