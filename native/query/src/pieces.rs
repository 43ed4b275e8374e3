//! Batches in pieces of a bounded size: however wide its rows are, what an answer's reader waits
//! for takes little memory, and each of its copies (text, plain types, messages) does, too.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    ArrowNativeType, ByteArrayType, DataType, GenericBinaryType, GenericStringType,
};

/// How many of the first rows of `batch` are at most `rows`, and their values at most `bytes`.
/// Always one where there is one: a row is not cut.
pub fn fitting(batch: &RecordBatch, rows: usize, bytes: usize) -> usize {
    let mut count = batch.num_rows().min(rows);
    while count > 1 && value_bytes(&batch.slice(0, count)) > bytes {
        count = count.div_ceil(2);
    }
    count
}

/// The whole batch in such pieces, in order.
pub fn pieces(batch: &RecordBatch, rows: usize, bytes: usize) -> Vec<RecordBatch> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < batch.num_rows() {
        let rest = batch.slice(start, batch.num_rows() - start);
        let count = fitting(&rest, rows, bytes);
        pieces.push(rest.slice(0, count));
        start += count;
    }
    pieces
}

/// Bytes of the values, each counted as often as it stands in a row. Memory tells less and more:
/// views of one text share it, and a slice keeps what it is a slice of.
pub fn value_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| of_array(column)).sum()
}

fn of_array(array: &dyn Array) -> usize {
    let rows = array.len();
    match array.data_type() {
        DataType::Utf8View => of_views(array.as_string_view().views()),
        DataType::BinaryView => of_views(array.as_binary_view().views()),
        DataType::Utf8 => of_bytes::<GenericStringType<i32>>(array),
        DataType::LargeUtf8 => of_bytes::<GenericStringType<i64>>(array),
        DataType::Binary => of_bytes::<GenericBinaryType<i32>>(array),
        DataType::LargeBinary => of_bytes::<GenericBinaryType<i64>>(array),
        DataType::FixedSizeBinary(width) => rows * usize::try_from(*width).unwrap_or(0),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns();
            columns.iter().map(|column| of_array(column)).sum()
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = (list.value_offsets()[0], list.value_offsets()[rows]);
            of_array(&list.values().slice(first as usize, (last - first) as usize))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let (first, last) = (list.value_offsets()[0], list.value_offsets()[rows]);
            of_array(&list.values().slice(first as usize, (last - first) as usize))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (first, last) = (map.value_offsets()[0], map.value_offsets()[rows]);
            of_array(&map.entries().slice(first as usize, (last - first) as usize))
        }
        other => match other.primitive_width() {
            Some(width) => rows * width,
            None => array.get_array_memory_size(),
        },
    }
}

fn of_views(views: &[u128]) -> usize {
    // The lower half of a view's first word is the length.
    views.iter().map(|view| *view as u32 as usize).sum()
}

fn of_bytes<T: ByteArrayType>(array: &dyn Array) -> usize {
    let offsets = array.as_bytes::<T>().value_offsets();
    offsets[array.len()].as_usize() - offsets[0].as_usize()
}
