//! Records that can be told by the times of their rows, for tests of whoever commits them: a row that is
//! lost or doubled on any way into a table shows.
#![allow(dead_code, reason = "each user needs a part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::RecordBatch;
use bytes::Bytes;
use otlake_base::disk::{Disk, read};
use otlake_base::{DataFile, Position, StreamId, Table};

use crate::rows::{DAY_NANOS, batch};
use crate::times::times;

/// One whose merges leave no equal rows out, so that a double is not hidden.
pub const TABLE: Table = Table::Logs;
const SECOND: i64 = 1_000_000_000;
/// The rows of a record.
const ROWS: usize = 2;

/// A position of a stream with a small number.
pub fn at(stream: u64, sequence: u64) -> Position {
    let stream = StreamId(u128::from(stream));
    Position { stream, sequence }
}

/// What a position holds.
pub fn record(stream: u64, sequence: u64) -> RecordBatch {
    let start = DAY_NANOS + (stream * 1_000 + sequence) as i64 * SECOND;
    batch(TABLE, sequence, ROWS, start, "acme")
}

/// The records up to these positions that are not covered.
pub fn records(upto: &[Position], covered: impl Fn(StreamId) -> u64) -> Vec<RecordBatch> {
    let of = |upto: &Position| {
        let stream = upto.stream.0 as u64;
        let first = covered(upto.stream) + 1;
        (first..=upto.sequence).map(move |sequence| record(stream, sequence))
    };
    upto.iter().flat_map(of).collect()
}

/// How many rows of each record are in these files, by stream and sequence.
pub fn held(disk: &dyn Disk, root: &Path, files: &[DataFile]) -> BTreeMap<(u64, u64), usize> {
    let mut held = BTreeMap::new();
    for file in files {
        let bytes = Bytes::from(read(disk, &root.join(&file.path)).unwrap());
        for time in times(TABLE, bytes) {
            let number = ((time - DAY_NANOS) / SECOND) as u64;
            *held.entry((number / 1_000, number % 1_000)).or_insert(0) += 1;
        }
    }
    held
}

/// The same where each record up to these sequences is there once, by stream.
pub fn each_once(upto: impl IntoIterator<Item = (u64, u64)>) -> BTreeMap<(u64, u64), usize> {
    let of = |(stream, upto)| (1..=upto).map(move |sequence| ((stream, sequence), ROWS));
    upto.into_iter().flat_map(of).collect()
}
