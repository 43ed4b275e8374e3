//! The memory of text that dropped rows had: what is left of a batch would hold on to all of it.

use std::ptr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, ListArray, RecordBatch, StringViewArray,
    StringViewBuilder, StructArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// The batch with only the text that its rows have.
///
/// # Errors
/// Arrow's.
pub fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(compacted);
    RecordBatch::try_new(batch.schema(), columns.collect::<Result<_, _>>()?)
}

fn compacted(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Utf8View => texts(column.as_string_view()),
        DataType::List(_) => {
            let (element, offsets, values, nulls) = column.as_list::<i32>().clone().into_parts();
            let values = compacted(&values)?;
            Ok(Arc::new(ListArray::try_new(
                element, offsets, values, nulls,
            )?))
        }
        DataType::Struct(fields) => {
            let of = column.as_struct();
            let columns = of.columns().iter().map(compacted);
            let columns = columns.collect::<Result<_, _>>()?;
            let nulls = of.nulls().cloned();
            Ok(Arc::new(StructArray::try_new(
                fields.clone(),
                columns,
                nulls,
            )?))
        }
        _ => Ok(Arc::clone(column)),
    }
}

/// Rows that stand behind each other with one text go on sharing it.
fn texts(column: &StringViewArray) -> Result<ArrayRef, ArrowError> {
    let mut kept = StringViewBuilder::new();
    let mut places = Vec::with_capacity(column.len());
    let mut last: Option<&str> = None;
    for row in 0..column.len() {
        if column.is_null(row) {
            places.push(None);
            continue;
        }
        let text = column.value(row);
        if !last.is_some_and(|seen| ptr::eq(seen, text)) {
            kept.append_value(text);
            last = Some(text);
        }
        places.push(Some(kept.len() as u32 - 1));
    }
    take(&kept.finish(), &UInt32Array::from(places), None)
}
