//! The rule of every commit: what a table takes of a stream, by what it holds of it.
//!
//! ```text
//! table: watermark 7, epoch 2        base 7, epoch 2 fits       base 5: stale, filter again
//!                                    epoch 3 fits and raises it     epoch 1: fenced, for good
//! ```
//!
//! Whoever takes a stream over raises its epoch in each table before anything else (I9). What it
//! reads of the watermarks then is final: nobody who wrote the stream before moves them any more.
//! Nothing here reads or writes; the simulation of a cluster decides by the same functions.

use std::collections::HashMap;

use otlake_base::{FIRST_EPOCH, Position, StreamId};

/// A watermark that a commit raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The last sequence whose rows the files hold.
    pub upto: Position,
    /// The table's watermark of the stream that the files were written against, 0 where it had
    /// none: they hold the rows above it.
    pub base: u64,
    /// The epoch at which the stream is written.
    pub epoch: u64,
}

impl Mark {
    /// Has no file, and raises the epoch alone.
    pub fn fence(stream: StreamId, epoch: u64) -> Mark {
        let sequence = 0;
        Mark {
            upto: Position { stream, sequence },
            base: 0,
            epoch,
        }
    }
}

/// What a table holds of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The last sequence whose rows its files hold; 0 where they hold none.
    pub watermark: u64,
    /// The epoch below which it takes nothing.
    pub epoch: u64,
    /// Its watermark when the stream was first taken over: up to here its rows are those that the
    /// stream's owner wrote, without a gap. 0 before.
    pub written: u64,
}

impl Default for Standing {
    fn default() -> Self {
        Standing {
            watermark: 0,
            epoch: FIRST_EPOCH,
            written: 0,
        }
    }
}

impl Standing {
    /// What it is after a commit that fits.
    #[must_use]
    pub fn raised(self, mark: &Mark) -> Standing {
        let is_taken_over = self.epoch == FIRST_EPOCH && mark.epoch > FIRST_EPOCH;
        Standing {
            // A watermark never goes back, whatever order streams are flushed in.
            watermark: self.watermark.max(mark.upto.sequence),
            epoch: self.epoch.max(mark.epoch),
            written: match is_taken_over {
                true => self.watermark,
                false => self.written,
            },
        }
    }
}

/// How marks stand to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Their commit can be made.
    Fits,
    /// The table holds all of it.
    Covered,
    /// The table's watermarks are others: what is left has to be written again.
    Stale,
    /// A stream of them is written at a later epoch: what the writer has of it is not its own to
    /// write any more.
    Fenced,
}

/// Judges the marks of one writer by what the table holds of each stream.
pub fn judge(marks: &[Mark], standing: impl Fn(StreamId) -> Standing) -> Verdict {
    let now = |mark: &Mark| standing(mark.upto.stream);
    // Before all else. That a later epoch's watermark covers a record does not say that the table
    // holds it: it passes what only its former writer has.
    if marks.iter().any(|mark| now(mark).epoch > mark.epoch) {
        return Verdict::Fenced;
    }
    let covers = |mark: &Mark| {
        let now = now(mark);
        now.epoch == mark.epoch && now.watermark >= mark.upto.sequence
    };
    if !marks.is_empty() && marks.iter().all(covers) {
        return Verdict::Covered;
    }
    let fits = |mark: &Mark| {
        let watermark = now(mark).watermark;
        // Nothing of a stream whose base covers all was written.
        watermark == mark.base || (mark.base >= mark.upto.sequence && watermark >= mark.base)
    };
    match marks.iter().all(fits) {
        true => Verdict::Fits,
        false => Verdict::Stale,
    }
}

/// What a table holds, and what additions before this one raise in the same commit.
pub(crate) struct Raising<F> {
    now: F,
    pub(crate) raised: HashMap<StreamId, Standing>,
}

impl<F: Fn(StreamId) -> Standing> Raising<F> {
    pub(crate) fn new(now: F) -> Self {
        Raising {
            now,
            raised: HashMap::new(),
        }
    }

    fn of(&self, stream: StreamId) -> Standing {
        let raised = self.raised.get(&stream).copied();
        raised.unwrap_or_else(|| (self.now)(stream))
    }

    /// Judges marks, and takes them in if they fit.
    pub(crate) fn judge(&mut self, marks: &[Mark]) -> Verdict {
        let verdict = judge(marks, |stream| self.of(stream));
        if verdict == Verdict::Fits {
            for mark in marks {
                let before = self.of(mark.upto.stream);
                let after = before.raised(mark);
                if after != before {
                    self.raised.insert(mark.upto.stream, after);
                }
            }
        }
        verdict
    }
}
