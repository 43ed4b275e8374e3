//! What is written of one flush.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewBuilder};
use arrow::compute::filter_record_batch;
use otlake_base::{Code, Error, Result};

use crate::Batch;
use crate::decide::Name;
use crate::decisions::{Decision, Remembered};
use crate::spans::{Spans, TRACE_STATE};
use crate::trace_state::{Marked, mark};

/// What was decided of the traces of one flush. It is made once for each flush, whatever attempts that
/// takes.
pub struct Verdicts {
    /// By batch: of each row its trace's place.
    pub(crate) rows: HashMap<Name, Vec<u32>>,
    pub(crate) traces: Vec<Remembered>,
    pub(crate) policies: usize,
}

/// Rows of one flush, by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By policy, those that it kept.
    pub(crate) kept: Vec<u64>,
    pub(crate) dropped: u64,
    pub(crate) late_kept: u64,
    pub(crate) late_dropped: u64,
    /// Kept without their threshold, for which there was no room.
    pub(crate) unmarked: u64,
}

impl Counts {
    fn add(&mut self, trace: &Remembered, arrived: Duration) {
        match (trace.decision, arrived > trace.at) {
            (Decision::Kept(_), true) => self.late_kept += 1,
            (Decision::Dropped, true) => self.late_dropped += 1,
            (Decision::Dropped, false) => self.dropped += 1,
            (Decision::Kept(_), false) => match trace.policy {
                Some(policy) => self.kept[usize::from(policy)] += 1,
                // An earlier start decided it.
                None => self.late_kept += 1,
            },
        }
    }
}

impl Verdicts {
    /// Nothing yet.
    pub fn counts(&self) -> Counts {
        Counts {
            kept: vec![0; self.policies],
            ..Counts::default()
        }
    }

    /// The rows of a batch that are kept, with their thresholds; none where all are dropped.
    ///
    /// # Errors
    /// `INTERNAL` for a batch that was not decided of, or rows that are no spans.
    pub fn rows(&self, batch: &Batch, counts: &mut Counts) -> Result<Option<RecordBatch>> {
        let internal = |what: &dyn std::fmt::Display| Error::new(Code::Internal, what);
        let places = self.rows.get(&batch.name());
        let places = places.filter(|places| places.len() == batch.rows.num_rows());
        let Some(places) = places else {
            return Err(internal(&format!(
                "{}: nothing was decided of it",
                batch.position
            )));
        };
        let traces = || places.iter().map(|place| &self.traces[*place as usize]);
        let (mut kept, mut is_marked) = (0, false);
        for trace in traces() {
            counts.add(trace, batch.arrived);
            if let Decision::Kept(threshold) = trace.decision {
                kept += 1;
                is_marked |= threshold > 0;
            }
        }
        if kept == 0 {
            return Ok(None);
        }
        let rows = match is_marked {
            true => marked(&batch.rows, traces().map(|trace| trace.decision), counts)?,
            false => batch.rows.clone(),
        };
        if kept == rows.num_rows() {
            return Ok(Some(rows));
        }
        let is_kept = |trace: &Remembered| Some(trace.decision != Decision::Dropped);
        let mask = BooleanArray::from_iter(traces().map(is_kept));
        let rows = filter_record_batch(&rows, &mask);
        rows.map(Some).map_err(|error| internal(&error))
    }
}

/// The same rows, with the threshold that each has passed in its trace state.
fn marked(
    rows: &RecordBatch,
    decisions: impl Iterator<Item = Decision>,
    counts: &mut Counts,
) -> Result<RecordBatch> {
    let spans = Spans::of(rows)?;
    let mut states = StringViewBuilder::with_capacity(spans.len());
    for (row, decision) in decisions.enumerate() {
        let state = spans.trace_state(row);
        let threshold = match decision {
            Decision::Kept(threshold) => threshold,
            Decision::Dropped => 0,
        };
        match mark(state, threshold, &spans.trace_id(row)) {
            Marked::Now(state) => states.append_value(state),
            outcome => {
                counts.unmarked += u64::from(outcome == Marked::NoRoom);
                states.append_option((!state.is_empty()).then_some(state));
            }
        }
    }
    let internal = |error| Error::new(Code::Internal, format!("trace state: {error}"));
    let schema = rows.schema();
    let at = schema.index_of(TRACE_STATE).map_err(internal)?;
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns[at] = Arc::new(states.finish());
    RecordBatch::try_new(schema, columns).map_err(internal)
}
