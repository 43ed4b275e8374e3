//! Attributes of a span that are columns of their own, too (`schema::SPAN_TEXT_COLUMNS`).

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use arrow::datatypes::Int64Type;

use crate::any_value::Any;
use crate::columns::Optional;
use crate::schema::{SPAN_STATUS_COLUMN, SPAN_TEXT_COLUMNS};
use crate::texts::{Arena, Lately, Texts};

const TEXT_COLUMNS: usize = SPAN_TEXT_COLUMNS.len();

/// The integer column, counted behind those of text.
const STATUS: usize = TEXT_COLUMNS;

/// The columns' keys, each at its `place`; most places are free.
const KEYS: [(&str, usize); 64] = {
    let (mut keys, mut column) = ([("", 0); 64], 0);
    while column <= STATUS {
        let names = match column {
            STATUS => SPAN_STATUS_COLUMN.1,
            _ => SPAN_TEXT_COLUMNS[column].1,
        };
        let mut name = 0;
        while name < names.len() {
            let place = place(names[name].as_bytes());
            assert!(keys[place].0.is_empty(), "two keys have one place");
            keys[place] = (names[name], column);
            name += 1;
        }
        column += 1;
    }
    keys
};

#[inline(always)]
const fn place(key: &[u8]) -> usize {
    match key {
        [.., last] => (key.len() * 3 + *last as usize) % 64,
        [] => 0,
    }
}

/// The column of a key.
#[inline(always)]
pub fn column(key: &str) -> Option<usize> {
    static PLACES: [(&str, usize); 64] = KEYS;
    let (known, column) = PLACES[place(key.as_bytes())];
    (known == key && !key.is_empty()).then_some(column)
}

/// The columns: of each attribute the first that has the column's type.
#[derive(Default)]
pub struct Hot<'a> {
    text: [Texts; TEXT_COLUMNS],
    status: Optional<i64>,
    lately: Lately<'a>,
    /// Text of the row at hand that does not stand in the arena as it is, with its column.
    changed: Vec<(usize, &'a str)>,
}

impl<'a> Hot<'a> {
    /// Adds an attribute of a row; what of its text is plain stands in the arena, up to `end`.
    #[inline(never)]
    pub fn add(&mut self, row: usize, column: usize, value: Any<'a>, end: usize) {
        match value {
            Any::Text(text) if column != STATUS => {
                if !text.plain {
                    self.keep(row, column, text.text);
                } else if !self.text[column].has(row) {
                    let view = self.lately.view_of(text.text, end - text.text.len());
                    self.text[column].set(row, view);
                }
            }
            Any::Int(number) if column == STATUS && !self.status.has(row) => {
                self.status.set(row, number);
            }
            _ => {}
        }
    }

    #[cold]
    #[inline(never)]
    fn keep(&mut self, row: usize, column: usize, text: &'a str) {
        if !self.text[column].has(row) {
            // Something, so that no other text takes its place.
            self.text[column].set(row, 0);
            self.changed.push((column, text));
        }
    }

    /// Ends a row: text that does not stand in the arena is copied there.
    #[inline(always)]
    pub fn end_row(&mut self, arena: &mut Arena) {
        if !self.changed.is_empty() {
            self.copy(arena);
        }
    }

    #[cold]
    #[inline(never)]
    fn copy(&mut self, arena: &mut Arena) {
        for (column, text) in self.changed.drain(..) {
            self.text[column].replace_last(arena.text(text));
        }
    }

    /// There will be so many rows, at most.
    pub fn expect(&mut self, rows: usize) {
        for column in &mut self.text {
            column.expect(rows);
        }
        self.status.expect(rows);
    }

    pub fn truncate(&mut self, rows: usize) {
        for column in &mut self.text {
            column.truncate(rows);
        }
        self.status.truncate(rows);
        self.changed.clear();
        self.lately.forget();
    }

    /// The columns of so many rows, in the schema's order.
    pub fn finish(self, rows: usize, arena: &Buffer, columns: &mut Vec<ArrayRef>) {
        for column in self.text {
            columns.push(column.of_rows(rows).finish(arena));
        }
        columns.push(self.status.of_rows(rows).finish::<Int64Type>());
    }
}
