//! The tables: one of each signal, its rows, and of each stream the watermark and the epoch that
//! may commit.

use std::collections::BTreeMap;

use otlake_base::StreamId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Everything of the stream up to here is in files, or is never to be.
    pub watermark: u64,
    /// Commits of this epoch alone are taken.
    pub epoch: u64,
}

const FIRST: Mark = Mark {
    watermark: 0,
    epoch: 1,
};

#[derive(Default)]
pub struct Table {
    /// Each row's record, by position.
    pub rows: BTreeMap<(StreamId, u64), u64>,
    pub marks: BTreeMap<StreamId, Mark>,
}

impl Table {
    pub fn mark(&self, stream: StreamId) -> Mark {
        self.marks.get(&stream).copied().unwrap_or(FIRST)
    }

    /// Takes commits of this epoch alone from now on; gives the watermark, which no earlier one
    /// moves any more. None where a later one has done it.
    pub fn fence(&mut self, stream: StreamId, epoch: u64) -> Option<u64> {
        let mark = self.marks.entry(stream).or_insert(FIRST);
        if mark.epoch > epoch {
            return None;
        }
        mark.epoch = epoch;
        Some(mark.watermark)
    }
}

#[derive(Default)]
pub struct Tables(pub [Table; 3]);
