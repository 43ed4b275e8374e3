//! The rows on their way to the writer, as indices into the batches they are in.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use otlake_base::Table;
use otlake_decode::schema::file_schema;

use super::cursor::Cursor;
use super::repeats::Repeats;
use crate::gather::gather;

pub(super) struct Window {
    schema: SchemaRef,
    /// Batches that a cursor stands in, that rows below are of, or that may be compared with.
    batches: Vec<RecordBatch>,
    /// Rows to write, as (batch, row).
    pub(super) rows: Vec<(usize, usize)>,
}

impl Window {
    pub(super) fn new(table: Table) -> Window {
        Window {
            schema: file_schema(table),
            batches: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Takes a batch in; its number.
    pub(super) fn hold(&mut self, batch: RecordBatch) -> usize {
        self.batches.push(batch);
        self.batches.len() - 1
    }

    pub(super) fn batch(&self, number: usize) -> &RecordBatch {
        &self.batches[number]
    }

    /// The rows as one batch; none where there are none.
    pub(super) fn take(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(None);
        }
        let columns = (0..self.schema.fields().len())
            .map(|index| gather(&self.batches, index, &rows))
            .collect::<Result<_, _>>()?;
        RecordBatch::try_new(SchemaRef::clone(&self.schema), columns).map(Some)
    }

    /// Lets go of the batches that nobody needs, once the rows were taken.
    pub(super) fn compact(&mut self, cursors: &mut [Cursor], repeats: Option<&mut Repeats>) {
        let mut places: Vec<&mut usize> =
            cursors.iter_mut().filter_map(Cursor::batch_mut).collect();
        places.extend(repeats.into_iter().flat_map(Repeats::batches_mut));
        let mut numbers: Vec<Option<usize>> = vec![None; self.batches.len()];
        let mut kept = Vec::new();
        for place in places {
            let number = numbers[*place].get_or_insert_with(|| {
                kept.push(self.batches[*place].clone());
                kept.len() - 1
            });
            *place = *number;
        }
        self.batches = kept;
    }
}
