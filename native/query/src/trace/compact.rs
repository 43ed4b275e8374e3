//! Rows without the pages that they were read from.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, RecordBatch, StringViewArray, StringViewBuilder,
    StructArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// The same rows in buffers of their own, which have room for no more.
pub(super) fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let rows = UInt32Array::from_iter_values(0..batch.num_rows() as u32);
    let columns = batch.columns().iter();
    let columns = columns.map(|column| array(&take(column, &rows, None)?));
    RecordBatch::try_new(batch.schema(), columns.collect::<Result<_, _>>()?)
}

/// Texts without the buffers that they are a part of.
fn array(from: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match from.data_type() {
        DataType::Utf8View => text(from.as_string_view()),
        DataType::List(element) => {
            let list = from.as_list::<i32>();
            Arc::new(ListArray::try_new(
                Arc::clone(element),
                list.offsets().clone(),
                array(list.values())?,
                list.nulls().cloned(),
            )?)
        }
        DataType::Struct(fields) => {
            let parts = from.as_struct();
            let columns = parts
                .columns()
                .iter()
                .map(array)
                .collect::<Result<_, _>>()?;
            Arc::new(StructArray::try_new(
                fields.clone(),
                columns,
                parts.nulls().cloned(),
            )?)
        }
        _ => Arc::clone(from),
    })
}

/// A copy in one buffer; arrow's own `gc` takes 8 KiB for a few bytes.
fn text(from: &StringViewArray) -> ArrayRef {
    let bytes: usize = from.iter().flatten().map(str::len).sum();
    let block = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
    let mut copy = StringViewBuilder::with_capacity(from.len()).with_fixed_block_size(block);
    copy.extend(from.iter());
    Arc::new(copy.finish())
}
