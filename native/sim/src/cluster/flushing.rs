//! From the live set into files: what a commit compares, and what it then changes.

use std::collections::BTreeMap;

use otlake_base::Position;
use otlake_base::Signal;
use otlake_base::StreamId;
use otlake_base::invariant::Invariant;

use super::Breakage;
use super::process::Process;
use super::recovering::Task;
use super::world::{Event, World};

/// Rows of one file.
const BATCH: usize = 20;

/// A record in memory, readable.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub position: (StreamId, u64),
    pub record: u64,
    /// The epoch that it is committed at.
    pub epoch: u64,
}

/// Rows on their way into files: how many of the oldest, and what the tables' marks were.
pub struct Batch {
    rows: usize,
    expected: BTreeMap<StreamId, u64>,
}

impl Batch {
    /// How many of the oldest rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

impl Process {
    /// Whether rows of a stream are in memory.
    pub fn has_live(&self, stream: StreamId) -> bool {
        let mut rows = self.live.iter().flatten();
        rows.any(|row| row.position.0 == stream)
    }
}

impl World {
    pub fn flush(&mut self, node: usize, signal: usize) {
        self.with(node, |world, process| {
            let delay = world.within(800, 2_500);
            world.after(delay, Event::Flush(node, process.incarnation, signal));
            if process.flushing[signal].is_some() || process.live[signal].is_empty() {
                return;
            }
            let rows = process.live[signal].len().min(BATCH);
            let batch = world.batch(process, signal, rows);
            process.flushing[signal] = Some(batch);
            let delay = world.within(2, 80);
            world.after(delay, Event::Commit(node, process.incarnation, signal));
        });
    }

    fn batch(&self, process: &Process, signal: usize, rows: usize) -> Batch {
        let streams = process.live[signal]
            .iter()
            .take(rows)
            .map(|row| row.position.0);
        let mark = |stream| (stream, self.tables.0[signal].mark(stream).watermark);
        Batch {
            rows,
            expected: streams.map(mark).collect(),
        }
    }

    pub fn commit(&mut self, node: usize, signal: usize) {
        self.with(node, |world, process| {
            let Some(batch) = process.flushing[signal].take() else {
                return;
            };
            let table = &world.tables.0[signal];
            let moved = batch
                .expected
                .iter()
                .any(|(stream, expected)| table.mark(*stream).watermark != *expected);
            if moved {
                // Another has committed meanwhile: what it holds is left out the next time.
                let again = world.batch(process, signal, batch.rows);
                process.flushing[signal] = Some(again);
                let delay = world.within(1, 30);
                world.after(delay, Event::Commit(node, process.incarnation, signal));
                return;
            }
            let rows: Vec<Row> = process.live[signal].drain(..batch.rows).collect();
            let mut upto: BTreeMap<StreamId, u64> = BTreeMap::new();
            for row in rows {
                let (stream, sequence) = row.position;
                let mark = world.tables.0[signal].mark(stream);
                let is_fenced = row.epoch != mark.epoch;
                if is_fenced && !world.broken_by(Breakage::LeaveTablesOpen) {
                    // Whoever has fenced the tables takes care of the stream.
                    if stream == process.stream {
                        process.owner.fence(mark.epoch);
                    }
                    // Nor does it speak for the stream any more.
                    let is_over = |task: &Task| task.epoch < mark.epoch;
                    if process.recoveries.get(&stream).is_some_and(is_over) {
                        process.recoveries.remove(&stream);
                    }
                    continue;
                }
                let is_held = batch
                    .expected
                    .get(&stream)
                    .is_some_and(|held| sequence <= *held);
                if !is_held {
                    world.insert_row(signal, row);
                }
                let last = upto.entry(stream).or_default();
                *last = sequence.max(*last);
            }
            for (stream, last) in upto {
                if !world.broken_by(Breakage::ForgetWatermark) {
                    let mut mark = world.tables.0[signal].mark(stream);
                    mark.watermark = mark.watermark.max(last);
                    world.tables.0[signal].marks.insert(stream, mark);
                }
                if stream == process.stream {
                    process.owner.release(Signal::ALL[signal], last);
                    let sequence = last;
                    let upto = Position { stream, sequence };
                    process.log.release(Signal::ALL[signal], upto);
                }
            }
            world.do_owner(process);
            let streams: Vec<StreamId> = process.recoveries.keys().copied().collect();
            for stream in streams {
                world.do_recovery(process, stream);
            }
        });
    }

    fn insert_row(&mut self, signal: usize, row: Row) {
        let (stream, sequence) = row.position;
        self.note(&[12, row.record, sequence], || {
            format!("file has {} of {stream} at {sequence}", row.record)
        });
        let before = self.tables.0[signal].rows.insert(row.position, row.record);
        if before.is_some() {
            let what = format!(
                "record {} at {stream}:{sequence} is in files twice",
                row.record
            );
            self.violated(Invariant::I3Once, what);
        }
        let origin = self.checks.origins.get(&row.position).copied();
        let twice = origin.is_some_and(|origin| self.tables.0[signal].rows.contains_key(&origin));
        if twice {
            let what = format!("record {} came back and was in files already", row.record);
            self.violated(Invariant::I3Once, what);
        }
        let copies: Vec<_> = self
            .checks
            .origins
            .iter()
            .filter(|(_, o)| **o == row.position)
            .collect();
        if let Some((copy, _)) = copies
            .iter()
            .find(|(copy, _)| self.tables.0[signal].rows.contains_key(*copy))
        {
            let what = format!("record {} is in files after its copy {copy:?}", row.record);
            self.violated(Invariant::I3Once, what);
        }
    }
}
