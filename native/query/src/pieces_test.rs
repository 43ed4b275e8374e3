use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, Int64Array, LargeStringArray, ListArray, RecordBatch, StringArray,
    StringViewArray, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};

use crate::pieces::{fitting, pieces};

const ROWS: usize = 100;
const WIDTH: usize = 1_000;

/// Columns whose every row has `WIDTH` bytes, in each layout.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    let text = "x".repeat(WIDTH);
    let texts = || std::iter::repeat_n(text.as_str(), ROWS);
    let halves: ArrayRef = Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n(
        &text[..WIDTH / 2],
        2 * ROWS,
    )));
    let item = Arc::new(Field::new("item", DataType::Utf8View, false));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(2, ROWS));
    let list = ListArray::new(item, offsets, halves, None);
    let inner: ArrayRef = Arc::new(StringArray::from_iter_values(texts()));
    let field = Arc::new(Field::new("inner", DataType::Utf8, false));
    vec![
        ("view", Arc::new(StringViewArray::from_iter_values(texts()))),
        ("text", Arc::new(StringArray::from_iter_values(texts()))),
        (
            "large",
            Arc::new(LargeStringArray::from_iter_values(texts())),
        ),
        (
            "bytes",
            Arc::new(BinaryViewArray::from_iter_values(texts())),
        ),
        ("list", Arc::new(list)),
        ("struct", Arc::new(StructArray::from(vec![(field, inner)]))),
    ]
}

#[test]
fn i5_pieces_have_a_bounded_size_whatever_the_layout_and_lose_nothing() {
    for (name, column) in columns() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
        let batch = RecordBatch::try_from_iter([(name, column), ("n", numbers)]).unwrap();
        let parts = pieces(&batch, 64, 10 * WIDTH);
        let counts: Vec<usize> = parts.iter().map(RecordBatch::num_rows).collect();
        assert!(
            counts.iter().all(|count| *count <= 10),
            "{name}: {counts:?}"
        );
        assert!(counts.len() < 2 * ROWS / 8 + 2, "{name}: {counts:?}");
        let again = arrow::compute::concat_batches(&batch.schema(), &parts).unwrap();
        assert_eq!(again, batch, "{name}");
        // A slice counts for itself alone, and a row is never cut.
        assert_eq!(
            fitting(&batch.slice(ROWS - 5, 5), 64, 10 * WIDTH),
            5,
            "{name}"
        );
        assert_eq!(fitting(&batch, 64, 1), 1, "{name}");
    }
}

#[test]
fn small_rows_are_cut_by_their_number() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let counts: Vec<usize> = pieces(&batch, 64, 1 << 20)
        .iter()
        .map(RecordBatch::num_rows)
        .collect();
    assert_eq!(counts, [64, 36]);
    assert!(pieces(&batch.slice(0, 0), 64, 1).is_empty());
}
