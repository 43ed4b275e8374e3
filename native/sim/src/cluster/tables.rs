//! The tables: one of each signal, its rows, and of each stream the watermark and the epoch below
//! which nothing is taken. What they take is decided by the rule of the real ones.

use std::collections::BTreeMap;

use otlake_base::StreamId;
use otlake_catalog::{Mark, Standing, Verdict, judge};

#[derive(Default)]
pub struct Table {
    /// Each row's record, by position.
    pub rows: BTreeMap<(StreamId, u64), u64>,
    marks: BTreeMap<StreamId, Standing>,
}

impl Table {
    pub fn standing(&self, stream: StreamId) -> Standing {
        self.marks.get(&stream).copied().unwrap_or_default()
    }

    pub fn judge(&self, marks: &[Mark]) -> Verdict {
        judge(marks, |stream| self.standing(stream))
    }

    /// After a commit that fits.
    pub fn raise(&mut self, mark: &Mark) {
        let after = self.standing(mark.upto.stream).raised(mark);
        self.marks.insert(mark.upto.stream, after);
    }

    /// Takes nothing below this epoch from now on; gives the watermark, which no earlier one moves
    /// any more. None where a later one has done it.
    pub fn fence(&mut self, stream: StreamId, epoch: u64) -> Option<u64> {
        let fence = Mark::fence(stream, epoch);
        match self.judge(&[fence]) {
            Verdict::Fits => self.raise(&fence),
            Verdict::Covered => {}
            Verdict::Stale | Verdict::Fenced => return None,
        }
        Some(self.standing(stream).watermark)
    }
}

#[derive(Default)]
pub struct Tables(pub [Table; 3]);
