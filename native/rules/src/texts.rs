//! Columns of text, edited where rows change. Rows that stay keep their views into the text that they
//! have; rows of one text that change alike share what it becomes.

use std::ptr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, BooleanBufferBuilder, ListArray, StringViewArray,
    StringViewBuilder, StructArray,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::interleave;
use arrow::error::ArrowError;

/// Rows, by whether each is one of them.
pub type Rows = BooleanBuffer;

/// A column that has changed, and in which rows.
pub struct Edited {
    /// The column.
    pub column: ArrayRef,
    /// The rows.
    pub rows: Rows,
}

/// Edits the texts of these rows; nulls stay. `edit` gets a text and, with `values`, the row's value, and
/// writes what the text becomes; false leaves it. Rows without a value stay. None where nothing changes.
///
/// # Errors
/// Arrow's.
pub fn edit(
    column: &StringViewArray,
    rows: &Rows,
    values: Option<&StringViewArray>,
    mut edit: impl FnMut(&str, &str, &mut Vec<u8>) -> bool,
) -> Result<Option<Edited>, ArrowError> {
    let mut made = StringViewBuilder::new();
    let mut places: Vec<(usize, usize)> = (0..column.len()).map(|row| (0, row)).collect();
    let mut changed = BooleanBufferBuilder::new(column.len());
    changed.append_n(column.len(), false);
    let mut out = Vec::new();
    // The rows of a resource have one text, and often become one.
    let mut last: Option<(&str, &str, Option<usize>)> = None;
    for row in rows.set_indices() {
        if column.is_null(row) || values.is_some_and(|values| values.is_null(row)) {
            continue;
        }
        let text = column.value(row);
        let value = values.map_or("", |values| values.value(row));
        let place = match last {
            Some((seen, with, place)) if ptr::eq(seen, text) && with == value => place,
            _ => {
                out.clear();
                let becomes = edit(text, value, &mut out);
                becomes.then(|| {
                    made.append_value(String::from_utf8_lossy(&out));
                    made.len() - 1
                })
            }
        };
        last = Some((text, value, place));
        if let Some(place) = place {
            places[row] = (1, place);
            changed.set_bit(row, true);
        }
    }
    let made = made.finish();
    if made.is_empty() {
        return Ok(None);
    }
    Ok(Some(Edited {
        column: interleave(&[column, &made], &places)?,
        rows: changed.finish(),
    }))
}

/// As `edit`, of a text field of the elements of lists; a row changes with any element of it.
///
/// # Errors
/// Arrow's.
pub fn edit_nested(
    lists: &ListArray,
    field: &str,
    rows: &Rows,
    change: impl FnMut(&str, &str, &mut Vec<u8>) -> bool,
) -> Result<Option<Edited>, ArrowError> {
    let elements = lists.values().as_struct();
    let Some((at, _)) = elements.fields().find(field) else {
        return Ok(None);
    };
    let offsets = lists.value_offsets();
    let range = |row: usize| offsets[row] as usize..offsets[row + 1] as usize;
    let mut of_rows = BooleanBufferBuilder::new(elements.len());
    of_rows.append_n(elements.len(), false);
    for row in rows.set_indices().filter(|row| lists.is_valid(*row)) {
        range(row).for_each(|element| of_rows.set_bit(element, true));
    }
    let texts = elements.column(at).as_string_view();
    let Some(edited) = edit(texts, &of_rows.finish(), None, change)? else {
        return Ok(None);
    };
    let mut columns = elements.columns().to_vec();
    columns[at] = edited.column;
    let (fields, nulls) = (elements.fields().clone(), elements.nulls().cloned());
    let elements = StructArray::try_new(fields, columns, nulls)?;
    let (element, offsets, _, nulls) = lists.clone().into_parts();
    let column = ListArray::try_new(element, offsets, Arc::new(elements), nulls)?;
    let is_changed = |row: usize| range(row).any(|element| edited.rows.value(element));
    Ok(Some(Edited {
        rows: BooleanBuffer::collect_bool(column.len(), |row| rows.value(row) && is_changed(row)),
        column: Arc::new(column),
    }))
}

/// Gives rows that changed another text, or none, that `text` writes (false: none); others keep theirs.
/// Rows that stand behind each other with one `of` have one text.
///
/// # Errors
/// Arrow's.
pub fn replace(
    column: &StringViewArray,
    rows: &Rows,
    of: &StringViewArray,
    mut text: impl FnMut(&str, &mut Vec<u8>) -> bool,
) -> Result<ArrayRef, ArrowError> {
    let mut made = StringViewBuilder::new();
    let mut places: Vec<(usize, usize)> = (0..column.len()).map(|row| (0, row)).collect();
    let mut out = Vec::new();
    let mut last: Option<&str> = None;
    for row in rows.set_indices() {
        let source = of.value(row);
        if !last.is_some_and(|seen| ptr::eq(seen, source)) {
            out.clear();
            match text(source, &mut out) {
                true => made.append_value(String::from_utf8_lossy(&out)),
                false => made.append_null(),
            }
        }
        last = Some(source);
        places[row] = (1, made.len() - 1);
    }
    interleave(&[column, &made.finish()], &places)
}
