//! The live set: what is acknowledged and not yet in files.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use otlake_base::invariant::Invariant;
use otlake_base::metrics::by_signal;
use otlake_base::worker::Parts;
use otlake_base::{
    Clock, Code, Error, FIRST_EPOCH, Metrics, Position, Result, Signal, StreamId, Table, priority,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::seal::{Unsealed, Waited, is_short};
use crate::tail::{Followed, Tail};
use crate::{Budget, Due, LiveBatch, Reason, Reservation, Seal, SealLimits};

/// Failed attempts after which a waiter is told instead of left to wait.
const ATTEMPTS_AWAITED: u64 = 3;

/// Per signal, the batches in order of the log. The log inserts in sequence order under one
/// lock, so what the set holds of a stream is always the log's own order without holes, and a
/// prefix of it can go into files under one number.
pub struct LiveSet {
    state: Mutex<State>,
    limits: SealLimits,
    budget: Arc<Budget>,
    clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    wakes: [Notify; 3],
    progress: [watch::Sender<Progress>; 3],
    tail: Arc<Followed>,
    /// The one that this process writes.
    stream: StreamId,
}

#[derive(Default)]
struct State {
    is_replaying: bool,
    queues: [Queue; 3],
    /// The last sequence inserted, by stream and signal.
    last: HashMap<StreamId, [u64; 3]>,
    /// Streams whose every acknowledged record is in here, or in files.
    whole: HashSet<StreamId>,
    /// The epoch at which a stream is written that this node has taken over.
    epochs: HashMap<StreamId, u64>,
    /// By table: the last batch inserted that has rows of it.
    newest: [Option<Position>; 7],
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// How many of the first entries are in the seal at work.
    sealed: usize,
    /// Bytes and rows of all entries, and of those in the seal.
    bytes: usize,
    rows: u64,
    sealed_bytes: usize,
    sealed_rows: u64,
    /// Of the others, those that are known to have waited as long as they have to.
    ripe: Ripe,
    /// Where the rows of the others go.
    partitions: Partitions,
    /// Batches ever inserted, and the number up to which someone waits for files.
    inserted: u64,
    removed: u64,
    requested: u64,
}

/// The first of the batches that are in no seal.
#[derive(Clone, Copy, Debug, Default)]
struct Ripe {
    batches: usize,
    bytes: usize,
    rows: u64,
}

impl State {
    /// What is here of a stream need not be here, or in files, any more.
    fn leave(&mut self, stream: StreamId) {
        for newest in &mut self.newest {
            *newest = newest.filter(|position| position.stream != stream);
        }
    }
}

impl Queue {
    /// Has the batches of a stream that are not on their way into files hold nothing any more. Their
    /// places stay: whoever waits for what lies behind them counts these.
    fn empty(&mut self, stream: StreamId) {
        self.ripe = Ripe::default();
        for entry in self.entries.iter_mut().skip(self.sealed) {
            let batch = Arc::clone(&entry.batch);
            if batch.position.stream != stream || batch.position.sequence == 0 {
                continue;
            }
            self.partitions.remove(&batch);
            self.bytes -= batch.bytes;
            self.rows -= batch.rows;
            let sequence = 0;
            let position = Position { stream, sequence };
            let nothing = LiveBatch::measured(position, batch.signal, Vec::new(), 0);
            entry.batch = Arc::new(nothing);
            entry._reservation = None;
        }
    }
}

impl Queue {
    /// Looks which batches have waited so long meanwhile.
    fn ripen(&mut self, now: Duration, wait: Duration) -> Waited {
        let ripe = &mut self.ripe;
        while let Some(entry) = self.entries.get(self.sealed + ripe.batches)
            && now.saturating_sub(entry.since) >= wait
        {
            ripe.batches += 1;
            ripe.bytes += entry.batch.bytes;
            ripe.rows += entry.batch.rows;
        }
        let Ripe { bytes, rows, .. } = *ripe;
        Waited { wait, bytes, rows }
    }
}

/// Partitions of a signal's tables, and how often batches name each (I5).
#[derive(Default)]
struct Partitions(HashMap<(Table, i32, Arc<str>), usize>);

impl Partitions {
    fn add(&mut self, batch: &LiveBatch) {
        for (table, day, tenant) in batch.partitions() {
            let partition = (table, day, Arc::clone(tenant));
            *self.0.entry(partition).or_insert(0) += 1;
        }
    }

    fn remove(&mut self, batch: &LiveBatch) {
        for (table, day, tenant) in batch.partitions() {
            let partition = (table, day, Arc::clone(tenant));
            if let Slot::Occupied(mut slot) = self.0.entry(partition) {
                *slot.get_mut() -= 1;
                if *slot.get() == 0 {
                    slot.remove();
                }
            }
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

struct Entry {
    batch: Arc<LiveBatch>,
    since: Duration,
    /// Holds the batch's place in the budget until files hold its rows; whoever still reads the
    /// batch after that does not hold up those who write.
    _reservation: Option<Reservation>,
}

/// How far flushing has come, for those who wait for it.
#[derive(Clone, Debug, Default)]
struct Progress {
    removed: u64,
    failures: u64,
    error: Option<Error>,
    stopped: bool,
}

/// What the live set holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveFigures {
    /// Batches.
    pub batches: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// Rows of them.
    pub rows: u64,
}

fn last_of(state: &State, stream: StreamId) -> Option<u64> {
    state.last.get(&stream)?.iter().max().copied()
}

impl Drop for LiveSet {
    fn drop(&mut self) {
        self.tail.end();
    }
}

impl LiveSet {
    /// An empty set; `stream` is the one this process writes.
    pub fn new(
        stream: StreamId,
        limits: SealLimits,
        budget: Arc<Budget>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Arc<LiveSet> {
        let tail = Followed::new(Arc::clone(&metrics));
        Arc::new(LiveSet {
            state: Mutex::new(State {
                last: HashMap::from([(stream, [0; 3])]),
                whole: HashSet::from([stream]),
                ..State::default()
            }),
            limits,
            budget,
            clock,
            metrics,
            wakes: std::array::from_fn(|_| Notify::new()),
            progress: std::array::from_fn(|_| watch::channel(Progress::default()).0),
            tail,
            stream,
        })
    }

    /// The budget that the batches hold.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// At which priority batches are to be written now (`priority` has the numbers).
    pub fn nice(&self) -> i32 {
        match is_short(self.budget.used(), self.budget.max()) {
            true => priority::FLUSHES_BEHIND,
            false => priority::FLUSHES,
        }
    }

    /// The same of each part of a longer work.
    pub fn parts(&self) -> Parts {
        let budget = Arc::clone(&self.budget);
        Parts::new(move || is_short(budget.used(), budget.max()))
    }

    /// Adds a batch; queries see it from here on. Batches of one stream and signal come in ascending
    /// sequence: those of a stream's owner in that of the stream, and those of a stream that is
    /// recovered each signal by itself. Does not block beyond a short lock, so that the log's thread may call it.
    pub fn insert(&self, batch: LiveBatch, reservation: Reservation) {
        let signal = batch.signal;
        let batch = Arc::new(batch);
        let since = self.clock.monotonic();
        let wake = {
            let mut state = self.state.lock();
            let last = state.last.entry(batch.position.stream).or_default();
            let last = &mut last[signal.index()];
            if batch.position.sequence <= *last {
                // A second batch of the same name would count its rows twice.
                drop(state);
                self.metrics
                    .violated(Invariant::I3Once, "a live batch's sequence repeats");
                return;
            }
            *last = batch.position.sequence;
            for part in &batch.parts {
                state.newest[part.table as usize] = Some(batch.position);
            }
            let queue = &mut state.queues[signal.index()];
            queue.bytes += batch.bytes;
            queue.rows += batch.rows;
            queue.inserted += 1;
            queue.partitions.add(&batch);
            let first = queue.entries.len() == queue.sealed;
            let entry = Entry {
                batch: Arc::clone(&batch),
                since,
                _reservation: Some(reservation),
            };
            queue.entries.push_back(entry);
            self.gauge(signal, queue);
            first || matches!(self.due_of(&mut state, signal, since), Due::Now(_))
        };
        if wake {
            self.wakes[signal.index()].notify_one();
        }
        if batch.rows > 0 {
            self.tail.send(batch);
        }
    }

    /// Every batch of the table's signal, sealed ones included, in order of the log. Those of
    /// a seal whose commit is done stay until they are removed: whoever captures drops what
    /// the snapshot, taken afterwards, covers.
    pub fn capture(&self, table: Table) -> Vec<Arc<LiveBatch>> {
        let state = self.state.lock();
        let entries = &state.queues[table.signal().index()].entries;
        entries
            .iter()
            .map(|entry| Arc::clone(&entry.batch))
            .collect()
    }

    /// The last sequence inserted of a stream; 0 for this process's stream before its first
    /// batch, `None` for a stream this set has not seen.
    pub fn last(&self, stream: StreamId) -> Option<u64> {
        last_of(&self.state.lock(), stream)
    }

    /// The last sequence of a signal inserted of a stream; 0 before its first.
    pub fn last_of(&self, stream: StreamId, signal: Signal) -> u64 {
        let state = self.state.lock();
        state
            .last
            .get(&stream)
            .map_or(0, |last| last[signal.index()])
    }

    /// Says that every acknowledged record of a stream is in here, or in files: its log was
    /// replayed, or what its followers held was inserted. From here on this node answers for it.
    pub fn hold_whole(&self, stream: StreamId) {
        let mut state = self.state.lock();
        state.last.entry(stream).or_default();
        state.whole.insert(stream);
    }

    /// Says at which epoch the rows of a stream are written from here on.
    pub fn write_at(&self, stream: StreamId, epoch: u64) {
        self.state.lock().epochs.insert(stream, epoch);
    }

    /// Whether records of earlier starts follow, or may follow: some are here that are in no seal, or
    /// the log is being replayed.
    pub fn has_earlier(&self, signal: Signal) -> bool {
        let state = self.state.lock();
        let queue = &state.queues[signal.index()];
        let mut unsealed = queue.entries.iter().skip(queue.sealed);
        state.is_replaying || unsealed.any(|entry| entry.batch.position.stream != self.stream)
    }

    /// Says whether the log is being replayed.
    pub fn replaying(&self, is_replaying: bool) {
        self.state.lock().is_replaying = is_replaying;
        self.pressed();
    }

    /// At which epoch the rows of a stream are written.
    pub fn epoch(&self, stream: StreamId) -> u64 {
        let state = self.state.lock();
        state.epochs.get(&stream).copied().unwrap_or(FIRST_EPOCH)
    }

    /// This node takes a stream over at an epoch at which no table holds anything of it yet: what an
    /// earlier try has brought here, and no table any more takes, is let go of, and comes anew.
    ///
    /// # Errors
    /// As [`LiveSet::flushed`], of batches that are on their way into files.
    pub async fn take_over(&self, stream: StreamId, epoch: u64) -> Result<()> {
        let under_way = {
            let mut state = self.state.lock();
            state.epochs.insert(stream, epoch);
            state.whole.remove(&stream);
            state.last.remove(&stream);
            state.leave(stream);
            Signal::ALL.map(|signal| {
                let queue = &mut state.queues[signal.index()];
                queue.empty(stream);
                self.gauge(signal, queue);
                let is_of = |entry: &Entry| entry.batch.position.stream == stream;
                let is_sealed = queue.entries.iter().take(queue.sealed).any(is_of);
                is_sealed.then_some(queue.removed + queue.sealed as u64)
            })
        };
        // They were sealed at an earlier epoch: they are in files by now, or refused.
        for (signal, target) in Signal::ALL.into_iter().zip(under_way) {
            if let Some(target) = target {
                self.awaits(signal, |progress| progress.removed >= target)
                    .await?;
            }
        }
        Ok(())
    }

    /// Another node has taken a stream over: this one does not answer for it any more.
    pub(crate) fn fenced(&self, stream: StreamId, epoch: u64) {
        let mut state = self.state.lock();
        let own = state.epochs.get(&stream).copied().unwrap_or(FIRST_EPOCH);
        if own < epoch {
            state.whole.remove(&stream);
            state.leave(stream);
        }
    }

    /// The streams that this node answers for, each with its last sequence; 0 where there was none
    /// since the start.
    pub fn whole(&self) -> Vec<Position> {
        let state = self.state.lock();
        let position = |stream: &StreamId| Position {
            stream: *stream,
            sequence: last_of(&state, *stream).unwrap_or(0),
        };
        state.whole.iter().map(position).collect()
    }

    /// The last batch inserted that has rows of a table.
    pub(crate) fn newest(&self, table: Table) -> Option<Position> {
        self.state.lock().newest[table as usize]
    }

    /// What the set holds of all signals.
    pub fn figures(&self) -> LiveFigures {
        let state = self.state.lock();
        state
            .queues
            .iter()
            .fold(LiveFigures::default(), |sum, queue| LiveFigures {
                batches: sum.batches + queue.entries.len(),
                bytes: sum.bytes + queue.bytes,
                rows: sum.rows + queue.rows,
            })
    }

    /// Batches as they are inserted. A reader that falls too far behind is told how many it missed.
    pub fn subscribe(&self) -> Tail {
        Tail::new(&self.tail)
    }

    /// Wakes the flushers: a request was refused for want of memory.
    pub fn pressed(&self) {
        for wake in &self.wakes {
            wake.notify_one();
        }
    }

    /// When the signal's next seal is due.
    pub fn due(&self, signal: Signal) -> Due {
        self.due_of(&mut self.state.lock(), signal, self.clock.monotonic())
    }

    /// How long a signal's batches have to wait before they may be sealed.
    fn wait_of(&self, signal: Signal) -> Option<Duration> {
        let wait = self.limits.trace_wait;
        (signal == Signal::Traces && !wait.is_zero()).then_some(wait)
    }

    fn due_of(&self, state: &mut State, signal: Signal, now: Duration) -> Due {
        let wait = self.wait_of(signal);
        let waited = wait.map(|wait| state.queues[signal.index()].ripen(now, wait));
        let queue = &state.queues[signal.index()];
        let oldest = queue.entries.get(queue.sealed);
        self.limits.due(&Unsealed {
            batches: queue.entries.len() - queue.sealed,
            bytes: queue.bytes - queue.sealed_bytes,
            rows: queue.rows - queue.sealed_rows,
            partitions: queue.partitions.len(),
            age: oldest.map_or(Duration::ZERO, |entry| now.saturating_sub(entry.since)),
            requested: queue.requested > queue.removed,
            live_bytes: state.queues.iter().map(|queue| queue.bytes).sum(),
            used_bytes: self.budget.used(),
            max_bytes: self.budget.max(),
            waited,
        })
    }

    /// Resolves when the signal's flusher has something new to consider.
    pub(crate) async fn woken(&self, signal: Signal) {
        self.wakes[signal.index()].notified().await;
    }

    /// Takes the oldest batches for files, up to the limits of one seal; they stay visible. Of batches
    /// that have to wait those that have, or where memory is short or someone asks, more.
    /// `None` when there are none, or when the seal before is still at work.
    pub fn seal(&self, signal: Signal) -> Option<Seal> {
        let mut state = self.state.lock();
        let now = self.clock.monotonic();
        let wait = self.wait_of(signal);
        let hurried = match wait.map(|_| self.due_of(&mut state, signal, now)) {
            Some(Due::Now(reason @ (Reason::Requested | Reason::Pressure))) => Some(reason),
            _ => None,
        };
        let State { queues, epochs, .. } = &mut *state;
        let queue = &mut queues[signal.index()];
        if queue.sealed > 0 {
            return None;
        }
        let (mut bytes, mut rows) = (0, 0);
        let (mut taken, mut partitions) = (Vec::new(), Partitions::default());
        let mut arrived = Vec::new();
        let requested = queue.requested.saturating_sub(queue.removed);
        for (place, entry) in queue.entries.iter().enumerate() {
            let has_to_wait = wait.is_some_and(|wait| now.saturating_sub(entry.since) < wait);
            let may_go = match hurried {
                None => !has_to_wait,
                Some(Reason::Requested) => !has_to_wait || (place as u64) < requested,
                Some(_) => true,
            };
            if !may_go {
                break;
            }
            if bytes >= self.limits.bytes
                || rows >= self.limits.rows as u64
                || partitions.len() >= self.limits.partitions
            {
                break;
            }
            partitions.add(&entry.batch);
            bytes += entry.batch.bytes;
            rows += entry.batch.rows;
            taken.push(Arc::clone(&entry.batch));
            arrived.push(entry.since);
        }
        if taken.is_empty() {
            return None;
        }
        queue.sealed = taken.len();
        queue.sealed_bytes = bytes;
        queue.sealed_rows = rows;
        queue.ripe = Ripe::default();
        for batch in &taken {
            queue.partitions.remove(batch);
        }
        Some(Seal {
            arrived,
            at: now,
            hurried,
            ..Seal::new(signal, taken, epochs)
        })
    }

    /// Lets go of a seal's batches: files that every table's newest snapshot holds have them.
    pub fn remove(&self, seal: Seal) {
        let signal = seal.signal;
        let (removed, gone) = {
            let mut state = self.state.lock();
            let queue = &mut state.queues[signal.index()];
            let ours = seal.batches.len() == queue.sealed
                && seal
                    .batches
                    .iter()
                    .zip(&queue.entries)
                    .all(|(a, b)| Arc::ptr_eq(a, &b.batch));
            if !ours {
                drop(state);
                self.metrics
                    .violated(Invariant::I2NothingLost, "a removed seal is not the front");
                return;
            }
            let gone: Vec<Entry> = queue.entries.drain(..queue.sealed).collect();
            queue.bytes -= queue.sealed_bytes;
            queue.rows -= queue.sealed_rows;
            queue.removed += gone.len() as u64;
            queue.sealed = 0;
            queue.sealed_bytes = 0;
            queue.sealed_rows = 0;
            self.gauge(signal, queue);
            (queue.removed, gone)
        };
        // Columns are freed outside the lock, and before anyone is told that there is room.
        drop(seal);
        drop(gone);
        self.progress[signal.index()].send_modify(|progress| {
            progress.removed = removed;
            progress.error = None;
        });
        self.pressed();
    }

    fn gauge(&self, signal: Signal, queue: &Queue) {
        let labels = by_signal(signal);
        self.metrics
            .live_bytes
            .get_or_create(&labels)
            .set(queue.bytes as i64);
        self.metrics
            .live_rows
            .get_or_create(&labels)
            .set(queue.rows as i64);
    }

    /// Tells those who wait that an attempt failed.
    pub(crate) fn failed(&self, signal: Signal, error: &Error) {
        self.progress[signal.index()].send_modify(|progress| {
            progress.failures += 1;
            progress.error = Some(error.clone());
        });
    }

    /// Tells those who wait that nothing is flushed any more.
    pub(crate) fn stopped(&self) {
        for progress in &self.progress {
            progress.send_modify(|progress| progress.stopped = true);
        }
    }

    /// Has everything that is live now written to files, and waits until it is committed.
    ///
    /// # Errors
    /// The error of the last attempt after three have failed meanwhile; the batches stay live
    /// and are tried again. `NODE_STATE` when flushing has ended.
    pub async fn flushed(&self) -> Result<()> {
        let targets = {
            let mut state = self.state.lock();
            Signal::ALL.map(|signal| {
                let queue = &mut state.queues[signal.index()];
                queue.requested = queue.inserted;
                queue.inserted
            })
        };
        self.pressed();
        for signal in Signal::ALL {
            let target = targets[signal.index()];
            self.awaits(signal, |progress| progress.removed >= target)
                .await?;
        }
        Ok(())
    }

    /// Waits until the budget has room, for a replay that must not outgrow it.
    ///
    /// # Errors
    /// As [`LiveSet::flushed`].
    pub async fn room(&self) -> Result<()> {
        while self.budget.used() >= self.budget.max() {
            let largest = {
                let state = self.state.lock();
                let bytes = |signal: &Signal| state.queues[signal.index()].bytes;
                let largest = Signal::ALL
                    .into_iter()
                    .max_by_key(bytes)
                    .unwrap_or(Signal::Traces);
                (
                    largest,
                    state.queues[largest.index()].removed,
                    bytes(&largest),
                )
            };
            let (signal, removed, bytes) = largest;
            if bytes == 0 {
                return Ok(());
            }
            self.pressed();
            self.awaits(signal, |progress| progress.removed > removed)
                .await?;
        }
        Ok(())
    }

    async fn awaits(&self, signal: Signal, reached: impl Fn(&Progress) -> bool) -> Result<()> {
        let mut progress = self.progress[signal.index()].subscribe();
        let failures = progress.borrow().failures;
        let mut ended = None;
        let _ = progress
            .wait_for(|now| {
                if !reached(now) {
                    if now.stopped {
                        ended = Some(Error::new(Code::NodeState, "flushing has ended"));
                    } else if now.failures >= failures + ATTEMPTS_AWAITED {
                        ended = now.error.clone();
                    }
                }
                ended.is_some() || reached(now)
            })
            .await;
        ended.map_or(Ok(()), Err)
    }
}
