//! One sorted run of a file, row by row, in its own order.

use std::cmp::Ordering;

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::Int64Type;
use otlake_base::Table;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::MergeFailure;
use super::source::{BATCH_ROWS, Source, corrupt};
use super::window::Window;
use crate::order::sort_columns;

/// The sort columns of the current batch.
struct Keys {
    text: StringViewArray,
    numbers: Vec<ScalarBuffer<i64>>,
}

/// A run that is being merged.
pub(super) struct Cursor {
    path: String,
    number: usize,
    columns: &'static [&'static str],
    reader: ParquetRecordBatchReader,
    keys: Option<Keys>,
    /// The current batch in the window, its rows, and the current one of them.
    batch: usize,
    rows: usize,
    row: usize,
}

impl Cursor {
    /// The run `number` of all runs being merged, decoding the columns that `wanted` names; all
    /// of them where it is none.
    pub(super) fn open(
        table: Table,
        source: &Source,
        run: &[usize],
        number: usize,
        wanted: Option<&[&str]>,
    ) -> Result<Cursor, MergeFailure> {
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            source.chunks.clone(),
            source.footer.clone(),
        )
        .with_batch_size(BATCH_ROWS)
        .with_row_groups(run.to_vec());
        if let Some(names) = wanted {
            let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
            builder = builder.with_projection(mask);
        }
        let reader = builder
            .build()
            .map_err(|error| corrupt(&source.path, error))?;
        Ok(Cursor {
            path: source.path.clone(),
            number,
            columns: sort_columns(table),
            reader,
            keys: None,
            batch: 0,
            rows: 0,
            row: 0,
        })
    }

    /// Puts the next batch into the window; at the end of the run there is none.
    pub(super) fn fill(&mut self, window: &mut Window) -> Result<(), MergeFailure> {
        self.keys = None;
        while let Some(batch) = self.reader.next() {
            let batch = batch.map_err(|error| self.corrupt(error))?;
            if batch.num_rows() == 0 {
                continue;
            }
            self.keys = Some(self.keys_of(&batch)?);
            self.rows = batch.num_rows();
            self.row = 0;
            self.batch = window.hold(batch);
            break;
        }
        Ok(())
    }

    fn keys_of(&self, batch: &RecordBatch) -> Result<Keys, MergeFailure> {
        let column = |name: &str| {
            batch
                .column_by_name(name)
                .ok_or_else(|| self.corrupt(format!("there is no `{name}`")))
        };
        let text = column(self.columns[0])?
            .as_string_view_opt()
            .ok_or_else(|| self.corrupt("a sort column of another type"))?
            .clone();
        let numbers = self.columns[1..]
            .iter()
            .map(|name| {
                let array = column(name)?.as_primitive_opt::<Int64Type>();
                let array = array.ok_or_else(|| self.corrupt("a sort column of another type"))?;
                Ok(array.values().clone())
            })
            .collect::<Result<_, MergeFailure>>()?;
        Ok(Keys { text, numbers })
    }

    fn corrupt(&self, what: impl std::fmt::Display) -> MergeFailure {
        corrupt(&self.path, what)
    }

    /// Whether every row was passed.
    pub(super) fn done(&self) -> bool {
        self.keys.is_none()
    }

    /// The current row, as (batch, row) in the window.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.batch, self.row)
    }

    /// The batch in the window that the cursor stands in.
    pub(super) fn batch_mut(&mut self) -> Option<&mut usize> {
        self.keys.is_some().then_some(&mut self.batch)
    }

    /// The current row's sort key: text, then up to two numbers.
    pub(super) fn key(&self) -> Option<(Option<&str>, i64, i64)> {
        self.keys.as_ref().map(|keys| keys.at(self.row))
    }

    /// Goes to the next row.
    pub(super) fn advance(&mut self, window: &mut Window) -> Result<(), MergeFailure> {
        if self.row + 1 < self.rows {
            self.row += 1;
            let sorted = self
                .keys
                .as_ref()
                .is_none_or(|keys| keys.at(self.row - 1) <= keys.at(self.row));
            if !sorted {
                return Err(self.corrupt("its rows are not sorted"));
            }
            return Ok(());
        }
        let last = self
            .key()
            .map(|(text, first, second)| (text.map(str::to_owned), first, second));
        self.fill(window)?;
        let sorted = match (&last, self.key()) {
            (Some((text, first, second)), Some(key)) => (text.as_deref(), *first, *second) <= key,
            _ => true,
        };
        if sorted {
            Ok(())
        } else {
            Err(self.corrupt("its rows are not sorted"))
        }
    }

    /// The order of the current rows; of equal ones, that of the runs.
    pub(super) fn compare(&self, other: &Cursor) -> Ordering {
        self.key()
            .cmp(&other.key())
            .then(self.number.cmp(&other.number))
    }
}

impl Keys {
    fn at(&self, row: usize) -> (Option<&str>, i64, i64) {
        let text = self.text.is_valid(row).then(|| self.text.value(row));
        let number = |index: usize| self.numbers.get(index).map_or(0, |values| values[row]);
        (text, number(0), number(1))
    }
}
