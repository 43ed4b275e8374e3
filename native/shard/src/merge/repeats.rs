//! Finds rows that are the same span.
//!
//! A span is told by its trace id, span id and start; it is removed only when every column is
//! equal, too. Two records that differ in anything are two records. Service and start are the
//! sort key of spans, so whatever is equal comes within one run of equal keys, and only such a
//! run is remembered.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};

use super::cursor::Cursor;
use super::window::Window;

/// Rows of one service and start that are remembered, at most; beyond it the run begins anew,
/// and a repetition of an earlier row stays.
const RUN_ROWS: usize = 16_384;

#[derive(Default)]
pub(super) struct Repeats {
    service: Option<String>,
    start: i64,
    /// The run's first row while it is its only one: most runs have one row.
    first: Option<(usize, usize)>,
    by_id: HashMap<Vec<u8>, Vec<(usize, usize)>>,
    rows: usize,
}

impl Repeats {
    /// Whether the cursor's row was there already. If not, it is remembered.
    pub(super) fn seen(&mut self, cursor: &Cursor, window: &Window) -> bool {
        let Some((service, start, _)) = cursor.key() else {
            return false;
        };
        let place = cursor.place();
        let same_run = self.rows > 0
            && self.rows < RUN_ROWS
            && self.start == start
            && self.service.as_deref() == service;
        if !same_run {
            if self.service.as_deref() != service {
                self.service = service.map(str::to_owned);
            }
            self.start = start;
            self.by_id.clear();
            self.first = Some(place);
            self.rows = 1;
            return false;
        }
        if let Some(first) = self.first.take() {
            self.by_id.insert(id(window, first), vec![first]);
        }
        let with_id = self.by_id.entry(id(window, place)).or_default();
        if with_id.iter().any(|other| equal(window, *other, place)) {
            return true;
        }
        with_id.push(place);
        self.rows += 1;
        false
    }

    /// The batches of the rows that are remembered.
    pub(super) fn batches_mut(&mut self) -> impl Iterator<Item = &mut usize> {
        self.first
            .iter_mut()
            .chain(self.by_id.values_mut().flatten())
            .map(|(batch, _)| batch)
    }
}

fn id(window: &Window, (batch, row): (usize, usize)) -> Vec<u8> {
    let batch = window.batch(batch);
    let mut id = Vec::with_capacity(24);
    for name in ["trace_id", "span_id"] {
        if let Some(column) = batch.column_by_name(name) {
            id.extend_from_slice(column.as_fixed_size_binary().value(row));
        }
    }
    id
}

/// Whether two rows are equal in every column.
fn equal(window: &Window, a: (usize, usize), b: (usize, usize)) -> bool {
    let slice = |(batch, row): (usize, usize)| -> RecordBatch { window.batch(batch).slice(row, 1) };
    slice(a)
        .columns()
        .iter()
        .zip(slice(b).columns())
        .all(|(a, b)| a.to_data() == b.to_data())
}
