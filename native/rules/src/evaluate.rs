//! Expressions over batches, with the rows that they fail on told apart.

use arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, UInt32Array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat, filter_record_batch, take};
use arrow::error::ArrowError;
use otlake_base::Error;
use otlake_base::limits::PROCESSING_TRIES;
use otlake_query::RowExpression;

use crate::texts::Rows;

/// The values of an expression.
pub struct Evaluated {
    /// One for each row; null where it failed.
    pub values: ArrayRef,
    /// The rows that it failed on, and a reason; none where there are none.
    pub failed: Option<(Rows, Error)>,
}

/// Evaluates over all rows. One row that fails fails a batch, so parts of it are tried, down to single
/// rows; the rows of parts that are not told apart after `PROCESSING_TRIES` count as failed.
///
/// # Errors
/// Arrow's.
pub fn evaluate(expression: &RowExpression, batch: &RecordBatch) -> Result<Evaluated, ArrowError> {
    let error = match expression.evaluate(batch) {
        Ok(values) => {
            return Ok(Evaluated {
                values,
                failed: None,
            });
        }
        Err(error) => error,
    };
    let mut parts = Parts {
        expression,
        batch,
        tries: PROCESSING_TRIES,
        values: Vec::new(),
        failed: BooleanBufferBuilder::new(batch.num_rows()),
    };
    parts.split(0, batch.num_rows());
    let values: Vec<&dyn Array> = parts.values.iter().map(|values| &**values).collect();
    Ok(Evaluated {
        values: concat(&values)?,
        failed: Some((parts.failed.finish(), error)),
    })
}

/// As `evaluate`, over these rows alone; the values of others are of no use.
///
/// # Errors
/// Arrow's.
pub fn evaluate_for(
    expression: &RowExpression,
    batch: &RecordBatch,
    rows: &Rows,
) -> Result<Evaluated, ArrowError> {
    if let Ok(values) = expression.evaluate(batch) {
        return Ok(Evaluated {
            values,
            failed: None,
        });
    }
    // It may be others that fail.
    let own = filter_record_batch(batch, &BooleanArray::new(rows.clone(), None))?;
    let evaluated = evaluate(expression, &own)?;
    let mut place = 0;
    let places = (0..batch.num_rows()).map(|row| {
        rows.value(row).then(|| {
            place += 1;
            place - 1
        })
    });
    let places: UInt32Array = places.collect();
    let failed = evaluated.failed.map(|(failed, error)| {
        let is_failed =
            |row: usize| places.is_valid(row) && failed.value(places.value(row) as usize);
        let failed = BooleanBuffer::collect_bool(batch.num_rows(), is_failed);
        (failed, error)
    });
    Ok(Evaluated {
        values: take(&evaluated.values, &places, None)?,
        failed,
    })
}

struct Parts<'a> {
    expression: &'a RowExpression,
    batch: &'a RecordBatch,
    tries: usize,
    values: Vec<ArrayRef>,
    failed: BooleanBufferBuilder,
}

impl Parts<'_> {
    /// Halves rows of which some fail.
    fn split(&mut self, from: usize, rows: usize) {
        if rows <= 1 {
            self.fail(rows);
            return;
        }
        let half = rows / 2;
        for (from, rows) in [(from, half), (from + half, rows - half)] {
            if self.tries == 0 {
                self.fail(rows);
                continue;
            }
            self.tries -= 1;
            match self.expression.evaluate(&self.batch.slice(from, rows)) {
                Ok(values) => {
                    self.values.push(values);
                    self.failed.append_n(rows, false);
                }
                Err(_) => self.split(from, rows),
            }
        }
    }

    fn fail(&mut self, rows: usize) {
        let nulls = new_null_array(self.expression.data_type(), rows);
        self.values.push(nulls);
        self.failed.append_n(rows, true);
    }
}
