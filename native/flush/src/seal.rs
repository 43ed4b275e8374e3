//! When live batches are sealed, and what a seal is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use otlake_base::{FIRST_EPOCH, Position, Signal, StreamId, Table, limits};

use crate::LiveBatch;

/// When a signal's live batches are sealed, and how much one seal takes.
#[derive(Clone, Copy, Debug)]
pub struct SealLimits {
    /// At this many bytes.
    pub bytes: usize,
    /// At this many rows.
    pub rows: usize,
    /// When the oldest is this old.
    pub age: Duration,
    /// When their rows are of this many partitions: each becomes a file.
    pub partitions: usize,
    /// How long spans wait before they may be sealed, unless memory is short or someone asks: tail
    /// sampling decides by all of a trace. Zero without it.
    pub trace_wait: Duration,
}

impl Default for SealLimits {
    fn default() -> Self {
        Self {
            bytes: limits::FLUSH_BYTES,
            rows: limits::FLUSH_ROWS,
            age: Duration::from_millis(limits::FLUSH_INTERVAL_MS),
            partitions: limits::FLUSH_PARTITIONS,
            trace_wait: Duration::ZERO,
        }
    }
}

/// What a signal's unsealed batches amount to, beside what decides their sealing.
#[derive(Clone, Copy, Debug)]
pub struct Unsealed {
    /// Batches.
    pub batches: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// Rows of them.
    pub rows: u64,
    /// Partitions of all its tables that their rows are of.
    pub partitions: usize,
    /// Age of the oldest.
    pub age: Duration,
    /// Whether someone waits for them to reach the files.
    pub requested: bool,
    /// Bytes of all signals' live batches, sealed ones included.
    pub live_bytes: usize,
    /// Bytes of the budget in use: live batches and requests in flight.
    pub used_bytes: usize,
    /// The budget.
    pub max_bytes: usize,
    /// Of batches that have to wait.
    pub waited: Option<Waited>,
}

/// How far batches that have to wait have done so.
#[derive(Clone, Copy, Debug)]
pub struct Waited {
    /// How long each has to.
    pub wait: Duration,
    /// Bytes of those that have.
    pub bytes: usize,
    /// Rows of those that have.
    pub rows: u64,
}

/// Why a seal is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Someone waits for it.
    Requested,
    /// Enough bytes for a file.
    Bytes,
    /// Enough rows for a file.
    Rows,
    /// Enough partitions, each of which becomes a file.
    Partitions,
    /// The oldest batch is old enough.
    Age,
    /// Half of the memory budget is used, a good part of it by this signal.
    Pressure,
}

/// When the next seal is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Now, and why.
    Now(Reason),
    /// After this long, if nothing else happens.
    In(Duration),
    /// Not before something is inserted.
    Idle,
}

/// Whether memory is short: half of the budget, in bytes, is used.
pub(crate) fn is_short(used: usize, max: usize) -> bool {
    used >= max / 2
}

impl SealLimits {
    /// Whether to seal.
    ///
    /// Under pressure only a signal with a third of the live bytes seals: one of the three has
    /// them, so memory falls, and the others do not scatter small files meanwhile.
    pub fn due(&self, unsealed: &Unsealed) -> Due {
        if unsealed.batches == 0 {
            return Due::Idle;
        }
        // Of batches that wait, those that have done so amount to a file, or to an interval's worth: a
        // seal of each as soon as it may go would scatter files. Partitions have no say: that each takes
        // a file is a limit of a seal, and not of what waits.
        let (bytes, rows, age, partitions) = match unsealed.waited {
            None => (unsealed.bytes, unsealed.rows, self.age, unsealed.partitions),
            Some(of) => (of.bytes, of.rows, self.age.saturating_add(of.wait), 0),
        };
        let pressed = is_short(unsealed.used_bytes, unsealed.max_bytes)
            && unsealed.bytes.saturating_mul(3) >= unsealed.live_bytes;
        if unsealed.requested {
            Due::Now(Reason::Requested)
        } else if bytes >= self.bytes {
            Due::Now(Reason::Bytes)
        } else if rows >= self.rows as u64 {
            Due::Now(Reason::Rows)
        } else if partitions >= self.partitions {
            Due::Now(Reason::Partitions)
        } else if unsealed.age >= age {
            Due::Now(Reason::Age)
        } else if pressed {
            Due::Now(Reason::Pressure)
        } else {
            Due::In(age.saturating_sub(unsealed.age))
        }
    }
}

/// The oldest live batches of a signal, on their way into files. They stay in the live set, and
/// in what queries see, until the files are committed. A seal that fails is tried again as it
/// is: only the same batches under the same watermarks make a repeated commit a repetition.
#[derive(Clone, Debug)]
pub struct Seal {
    /// The signal.
    pub signal: Signal,
    /// The batches, in order of the log.
    pub batches: Vec<Arc<LiveBatch>>,
    /// The last sequence of each stream: the watermarks of the commit.
    pub upto: Vec<Position>,
    /// The epoch at which each stream is written; one that is not named at its first.
    pub epochs: HashMap<StreamId, u64>,
    /// Streams that another node has taken over since, as a table has said: their batches go to no
    /// file from here.
    pub fenced: HashSet<StreamId>,
    /// Bytes of the batches.
    pub bytes: usize,
    /// Rows of the batches.
    pub rows: u64,
    /// Of each batch: when it became live, by the monotonic clock.
    pub arrived: Vec<Duration>,
    /// When it was sealed, by the same clock.
    pub at: Duration,
    /// Why batches are in it that had still to wait.
    pub hurried: Option<Reason>,
}

impl Seal {
    /// A seal of these batches, which are all of one signal and in order of the log, of streams that
    /// are written at these epochs.
    pub fn new(
        signal: Signal,
        batches: Vec<Arc<LiveBatch>>,
        epochs: &HashMap<StreamId, u64>,
    ) -> Seal {
        let mut upto: Vec<Position> = Vec::new();
        for batch in &batches {
            match upto
                .iter_mut()
                .find(|position| position.stream == batch.position.stream)
            {
                Some(position) => {
                    position.sequence = position.sequence.max(batch.position.sequence);
                }
                None => upto.push(batch.position),
            }
        }
        let epoch = |position: &Position| Some((position.stream, *epochs.get(&position.stream)?));
        Seal {
            signal,
            epochs: upto.iter().filter_map(epoch).collect(),
            fenced: HashSet::new(),
            bytes: batches.iter().map(|batch| batch.bytes).sum(),
            rows: batches.iter().map(|batch| batch.rows).sum(),
            batches,
            upto,
            arrived: Vec::new(),
            at: Duration::ZERO,
            hurried: None,
        }
    }

    /// The epoch at which a stream is written.
    pub fn epoch(&self, stream: StreamId) -> u64 {
        self.epochs.get(&stream).copied().unwrap_or(FIRST_EPOCH)
    }

    /// The last sequence of each stream that still is this node's to write, and of which something
    /// is here.
    pub fn written(&self) -> Vec<Position> {
        let is_ours = |upto: &Position| upto.sequence > 0 && !self.fenced.contains(&upto.stream);
        self.upto.iter().copied().filter(is_ours).collect()
    }

    /// The rows of a table that its files do not hold yet. After an attempt that ended between
    /// two tables' commits, the first table has none left.
    pub fn rows_of(&self, table: Table, watermarks: &HashMap<StreamId, u64>) -> Vec<RecordBatch> {
        self.lacking(watermarks)
            .flat_map(|(batch, _)| batch.of(table))
            .map(|part| part.rows.clone())
            .collect()
    }

    /// The batches that a table with these watermarks does not hold yet, and when each became live.
    pub(crate) fn lacking(
        &self,
        watermarks: &HashMap<StreamId, u64>,
    ) -> impl Iterator<Item = (&LiveBatch, Duration)> {
        let arrived = self.arrived.iter().copied();
        let arrived = arrived.chain(std::iter::repeat(Duration::ZERO));
        let batches = self.batches.iter().map(|batch| &**batch).zip(arrived);
        let is_ours =
            |(batch, _): &(&LiveBatch, Duration)| !self.fenced.contains(&batch.position.stream);
        let is_lacking = |(batch, _): &(&LiveBatch, Duration)| !covers(watermarks, batch.position);
        batches.filter(is_ours).filter(is_lacking)
    }
}

/// Whether a table with these watermarks holds the batch of this position.
pub fn covers(watermarks: &HashMap<StreamId, u64>, position: Position) -> bool {
    watermarks
        .get(&position.stream)
        .is_some_and(|upto| position.sequence <= *upto)
}
