//! Rows without the pages that they were read from.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StructArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// The same rows, of which no text holds on to a buffer with more than these rows' text.
pub(super) fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .map(array)
        .collect::<Result<_, _>>()?;
    RecordBatch::try_new(batch.schema(), columns)
}

fn array(from: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match from.data_type() {
        DataType::Utf8View => Arc::new(from.as_string_view().gc()),
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
