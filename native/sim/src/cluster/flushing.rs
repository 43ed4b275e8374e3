//! From the live set into files: what a commit compares, and what it then changes.

use std::collections::BTreeMap;

use otlake_base::Position;
use otlake_base::Signal;
use otlake_base::StreamId;
use otlake_base::invariant::Invariant;
use otlake_catalog::{Mark, Verdict};

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
        let mark = |stream| (stream, self.tables.0[signal].standing(stream).watermark);
        Batch {
            rows,
            expected: streams.map(mark).collect(),
        }
    }

    /// What the commit of a batch says, as a flusher has it.
    fn marks(&self, process: &Process, signal: usize, batch: &Batch) -> Vec<Mark> {
        let mut marks: BTreeMap<StreamId, Mark> = BTreeMap::new();
        for row in process.live[signal].iter().take(batch.rows) {
            let (stream, sequence) = row.position;
            let epoch = match self.broken_by(Breakage::LeaveTablesOpen) {
                true => self.tables.0[signal].standing(stream).epoch,
                false => row.epoch,
            };
            let upto = Position { stream, sequence };
            let base = batch.expected.get(&stream).copied().unwrap_or(0);
            let mark = marks.entry(stream).or_insert(Mark { upto, base, epoch });
            mark.upto.sequence = mark.upto.sequence.max(sequence);
        }
        marks.into_values().collect()
    }

    pub fn commit(&mut self, node: usize, signal: usize) {
        self.with(node, |world, process| {
            let Some(batch) = process.flushing[signal].take() else {
                return;
            };
            let marks = world.marks(process, signal, &batch);
            let verdict = world.tables.0[signal].judge(&marks);
            match verdict {
                // Another has committed meanwhile: what it holds is left out the next time.
                Verdict::Stale => world.again(process, signal, batch.rows),
                Verdict::Fenced => {
                    let left = world.let_go(process, signal, &batch, &marks);
                    world.again(process, signal, left);
                }
                Verdict::Fits | Verdict::Covered => {
                    let rows: Vec<Row> = process.live[signal].drain(..batch.rows).collect();
                    let is_held = |row: &Row| {
                        let held = batch.expected.get(&row.position.0);
                        verdict == Verdict::Covered
                            || held.is_some_and(|held| row.position.1 <= *held)
                    };
                    for row in rows.into_iter().filter(|row| !is_held(row)) {
                        world.insert_row(signal, row);
                    }
                    for mark in &marks {
                        if !world.broken_by(Breakage::ForgetWatermark) {
                            world.tables.0[signal].raise(mark);
                        }
                        if mark.upto.stream == process.stream {
                            process
                                .owner
                                .release(Signal::ALL[signal], mark.upto.sequence);
                            process.log.release(Signal::ALL[signal], mark.upto);
                        }
                    }
                }
            }
            world.do_owner(process);
            let streams: Vec<StreamId> = process.recoveries.keys().copied().collect();
            for stream in streams {
                world.do_recovery(process, stream);
            }
        });
    }

    /// Writes so many of the oldest rows again, against what the table is now.
    fn again(&mut self, process: &mut Process, signal: usize, rows: usize) {
        if rows == 0 {
            return;
        }
        process.flushing[signal] = Some(self.batch(process, signal, rows));
        let delay = self.within(1, 30);
        let (node, incarnation) = (process.node, process.incarnation);
        self.after(delay, Event::Commit(node, incarnation, signal));
    }

    /// Lets go of a batch's rows whose streams others have taken over; how many are left.
    fn let_go(
        &mut self,
        process: &mut Process,
        signal: usize,
        batch: &Batch,
        marks: &[Mark],
    ) -> usize {
        let table = &self.tables.0[signal];
        let now = |mark: &Mark| (mark.upto.stream, table.standing(mark.upto.stream).epoch);
        let fenced = marks.iter().filter(|mark| now(mark).1 > mark.epoch);
        let fenced: BTreeMap<StreamId, u64> = fenced.map(now).collect();
        for (stream, epoch) in &fenced {
            // Whoever has fenced the tables takes care of the stream.
            if *stream == process.stream {
                process.owner.fence(*epoch);
            }
            // Nor does it speak for the stream any more.
            let is_over = |task: &Task| task.epoch < *epoch;
            if process.recoveries.get(stream).is_some_and(is_over) {
                process.recoveries.remove(stream);
            }
        }
        let (mut index, mut left) = (0, 0);
        process.live[signal].retain(|row| {
            index += 1;
            let is_kept = index > batch.rows || !fenced.contains_key(&row.position.0);
            left += usize::from(is_kept && index <= batch.rows);
            is_kept
        });
        left
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
