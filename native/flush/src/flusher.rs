//! The background tasks that move live batches into files.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use otlake_base::invariant::Invariant;
use otlake_base::metrics::{by_signal, by_table};
use otlake_base::{Clock, Code, Error, Metrics, Position, Result, Signal, StreamId, Table, worker};
use otlake_catalog::{Addition, Commits, Committed, Mark, Outcome, Snapshot};
use otlake_derive::Deriver;
use otlake_log::Appender;
use otlake_sample::{Counts, Sampler, Verdicts};
use otlake_shard::{WriteOptions, Written};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::derive::Shared;
use crate::seal::covers;
use crate::{Due, LiveSet, Seal, Tables};

/// The wait after a first failed attempt, as a node has it.
pub const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The wait doubles with each further one up to so many times the first: how soon writing goes on
/// once a full disk has room.
const RETRY_GROWTH: u32 = 50;

/// Times that an attempt writes a table's rows again because another node has committed some of
/// them meanwhile.
pub(crate) const STALE_ATTEMPTS: usize = 10;

/// A moment within a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The table's files are written and synced, and in no snapshot.
    Written(Table),
    /// The newest snapshot holds them.
    Committed(Table),
    /// Every table has committed; the batches are live still, and the log has their records.
    Releasing(Signal),
}

/// Called at each step: a place for simulations to look on, or to fail the attempt.
pub type OnStep = Arc<dyn Fn(Step) -> Result<()> + Send + Sync>;

/// Called when every table holds a signal's rows, before the log may forget them; an error is
/// tried again like the rest of the flush. May block.
pub type BeforeRelease = Arc<dyn Fn(Signal) -> Result<()> + Send + Sync>;

/// What a flusher works with.
#[derive(Clone)]
pub struct FlusherParts {
    /// Where batches come from.
    pub live: Arc<LiveSet>,
    /// Where their rows go.
    pub tables: Tables,
    /// What derives series of the spans that go there.
    pub deriver: Option<Arc<Deriver>>,
    /// What decides which of the spans go there.
    pub sampler: Option<Arc<Sampler>>,
    /// The way that files go to them.
    pub commits: Arc<dyn Commits>,
    /// What can be deleted afterwards.
    pub log: Arc<dyn Appender>,
    /// How files are written.
    pub options: WriteOptions,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Makes durable what the log's records are needed for besides their rows.
    pub before_release: BeforeRelease,
    /// The wait after a first failed attempt.
    pub first_retry: Duration,
    /// Called at each step.
    pub on_step: Option<OnStep>,
    /// Kept until the last task has ended, such as the lock of the folder they write in.
    pub guard: Arc<dyn Any + Send + Sync>,
}

/// One task for each signal: seal, write, commit, release the log, remove from the live set.
/// Dropping it ends the tasks where they are, as a crash would.
pub struct Flusher {
    live: Arc<LiveSet>,
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Flusher {
    /// Starts the tasks on the current runtime.
    pub fn start(parts: FlusherParts) -> Flusher {
        let (stop, stopping) = watch::channel(false);
        let live = Arc::clone(&parts.live);
        let parts = Arc::new(parts);
        let tasks = Signal::ALL
            .map(|signal| {
                let worker = Worker {
                    signal,
                    parts: Arc::clone(&parts),
                    written: HashMap::new(),
                    prepared: None,
                    derived: HashMap::new(),
                    verdicts: None,
                };
                tokio::spawn(worker.run(stopping.clone()))
            })
            .into();
        Flusher { live, tasks, stop }
    }

    /// Ends the tasks after the attempts at work; what is live then stays in the log.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::error!(target: "otlake::flush", %error, "a flush task ended early");
            }
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.live.stopped();
    }
}

pub(crate) struct Worker {
    pub(crate) signal: Signal,
    pub(crate) parts: Arc<FlusherParts>,
    /// Files of the seal at work whose commit has not succeeded. They are kept for the next
    /// attempt: written anew each time, a long fault of the commits alone would fill the disk.
    /// What a stop leaves behind is swept when the catalog opens.
    written: HashMap<Table, Waiting>,
    /// What is derived of the seal at work.
    pub(crate) prepared: Option<Shared>,
    /// As `written`, of derived rows.
    pub(crate) derived: HashMap<Table, Waiting>,
    /// What was decided of the traces of the seal at work.
    pub(crate) verdicts: Option<Arc<Verdicts>>,
}

/// Files that wait for their commit.
pub(crate) struct Waiting {
    pub(crate) files: Vec<Written>,
    pub(crate) rows: u64,
    /// What they were written against.
    pub(crate) marks: Vec<Mark>,
    pub(crate) since: Duration,
    /// Whether a commit of them may have landed.
    pub(crate) tried: bool,
    /// Of spans that tail sampling decided of: what became of them.
    pub(crate) sampled: Option<Counts>,
}

impl Waiting {
    pub(crate) fn addition(&self) -> Addition {
        Addition {
            files: self.files.clone(),
            marks: self.marks.clone(),
            tried: self.tried,
        }
    }
}

impl Worker {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let parts = Arc::clone(&self.parts);
        loop {
            // Halves of edges that waited long enough make rows, though nothing else is flushed.
            if self.derives_in() == Some(Duration::ZERO) {
                let nothing = Seal::new(self.signal, Vec::new(), &HashMap::new());
                if !self.persist(nothing, &mut stop).await || *stop.borrow() {
                    return;
                }
            }
            let wait = match parts.live.due(self.signal) {
                Due::Now(reason) => {
                    if let Some(seal) = parts.live.seal(self.signal) {
                        tracing::debug!(
                            target: "otlake::flush",
                            signal = self.signal.name(), ?reason,
                            rows = seal.rows, bytes = seal.bytes, "sealed"
                        );
                        if !self.persist(seal, &mut stop).await {
                            return;
                        }
                    }
                    if *stop.borrow() {
                        return;
                    }
                    continue;
                }
                Due::In(wait) => Some(wait),
                Due::Idle => None,
            };
            let wait = wait.into_iter().chain(self.derives_in()).min();
            let ripe = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = parts.live.woken(self.signal) => {}
                () = ripe => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Tries until the seal is in files; false when told to stop before.
    async fn persist(&mut self, mut seal: Seal, stop: &mut watch::Receiver<bool>) -> bool {
        let parts = Arc::clone(&self.parts);
        let started = parts.clock.monotonic();
        let mut backoff = parts.first_retry;
        loop {
            // A panic while encoding must not end the task: its signal would fill the memory.
            let outcome = AssertUnwindSafe(self.attempt(&mut seal))
                .catch_unwind()
                .await;
            let error = match outcome {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error,
                Err(_) => Error::new(Code::Internal, "a flush attempt panicked"),
            };
            parts
                .metrics
                .flush_failures
                .get_or_create(&by_signal(self.signal))
                .inc();
            tracing::warn!(
                target: "otlake::flush",
                signal = self.signal.name(), code = error.code.as_str(),
                rows = seal.rows, retry_ms = backoff.as_millis() as u64,
                "flush failed and will be tried again: {error}"
            );
            parts.live.failed(self.signal, &error);
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                _ = stop.wait_for(|stop| *stop) => return false,
            }
            backoff = (backoff * 2).min(parts.first_retry * RETRY_GROWTH);
        }
        let nice = parts.live.nice();
        let (signal, log, live) = (self.signal, Arc::clone(&parts.log), Arc::clone(&parts.live));
        let forgotten = self.derived(&seal);
        self.verdicts = None;
        // The log first: whoever waits for this flush is told by the removal, and finds room in
        // the log by then. On a thread of its own, for taking a segment off the disk takes milliseconds,
        // in which acknowledgements would wait.
        let release = move || {
            // What another node has taken over stays in the log: it alone may have some of it.
            for position in forgotten {
                log.release(signal, position);
            }
            live.remove(seal);
        };
        if let Err(error) = worker::run("otlake-flush", nice, release).await {
            tracing::error!(target: "otlake::flush", %error, "rows of a flush stay live");
        }
        let seconds = (parts.clock.monotonic().saturating_sub(started)).as_secs_f64();
        parts
            .metrics
            .flush_seconds
            .get_or_create(&by_signal(self.signal))
            .observe(seconds);
        true
    }

    async fn attempt(&mut self, seal: &mut Seal) -> Result<()> {
        self.derive(seal).await?;
        if seal.batches.is_empty() {
            return Ok(());
        }
        for table in self.signal.tables() {
            self.attempt_table(seal, *table).await?;
        }
        let (signal, before_release) = (self.signal, Arc::clone(&self.parts.before_release));
        tokio::task::spawn_blocking(move || before_release(signal))
            .await
            .map_err(|error| Error::new(Code::Internal, format!("a thread ended: {error}")))??;
        self.step(Step::Releasing(self.signal))
    }

    async fn attempt_table(&mut self, seal: &mut Seal, table: Table) -> Result<()> {
        for _ in 0..STALE_ATTEMPTS {
            if self.try_table(seal, table).await? {
                return Ok(());
            }
        }
        let message = format!(
            "{}: {STALE_ATTEMPTS} times another node wrote these streams",
            table.name()
        );
        Err(Error::new(Code::TableConflict, message))
    }

    /// Lets go of the streams that the table has at a later epoch than the seal (I9). Whoever has taken
    /// them over sees to their rows: those that it has not, and this node's log has, come back with
    /// its next start.
    fn look_for_fences(&mut self, seal: &mut Seal, now: &Snapshot) {
        let is_fenced =
            |position: &Position| now.standing(position.stream).epoch > seal.epoch(position.stream);
        let written = seal.written();
        let fenced: Vec<Position> = written.into_iter().filter(is_fenced).collect();
        if fenced.is_empty() {
            return;
        }
        for Position { stream, .. } in fenced {
            let epoch = now.standing(stream).epoch;
            seal.fenced.insert(stream);
            self.fence(stream, epoch);
        }
        // Files that were written have rows of theirs, too.
        for (table, waiting) in self.written.drain() {
            self.parts.tables.handle(table).forget(&waiting.files);
        }
    }

    /// Another node has taken a stream over.
    pub(crate) fn fence(&self, stream: StreamId, epoch: u64) {
        // First, so that nothing more becomes live.
        self.parts.log.fenced(stream, epoch);
        self.parts.live.fenced(stream, epoch);
        if let Some(deriver) = self.deriver() {
            deriver.forget(stream);
        }
        tracing::warn!(
            target: "otlake::flush", %stream, epoch, signal = self.signal.name(),
            "another node has taken the stream over; its rows are not written here any more"
        );
    }

    /// Commits the seal's rows that the table does not hold; false where another's commit of some
    /// of them came between, so that what is left has to be told anew.
    async fn try_table(&mut self, seal: &mut Seal, table: Table) -> Result<bool> {
        let parts = Arc::clone(&self.parts);
        let handle = parts.tables.handle(table);
        // What is not durable is no reason to let go of rows.
        let before = handle.durable().await?;
        self.look_for_fences(seal, &before);
        let batches = seal.rows_of(table, &before.watermarks);
        let now = parts.clock.monotonic();
        let waiting = self.written.remove(&table);
        if batches.is_empty() {
            // Also where a commit took place that was reported as failed.
            if let Some(waiting) = waiting {
                handle.forget(&waiting.files);
            }
            return Ok(true);
        }
        let waiting = match waiting {
            Some(waiting) if now.saturating_sub(waiting.since) < handle.waiting_age() => waiting,
            old => {
                if let Some(old) = old {
                    handle.forget(&old.files);
                }
                let sampled = self.sampled(seal, &before.watermarks).await?;
                let (batches, sampled) = match sampled {
                    Some((kept, counts)) => (kept, Some(counts)),
                    None => (batches, None),
                };
                let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
                // The watermark passes rows that are left out, too: all of them, perhaps.
                let files = match batches.is_empty() {
                    true => Vec::new(),
                    false => {
                        otlake_shard::write(table, batches, &before.root, &parts.options).await?
                    }
                };
                holds_rows(&files, rows, &parts.metrics)?;
                handle.expect(&files);
                Waiting {
                    files,
                    rows,
                    marks: before.marks(&seal.written(), |stream| seal.epoch(stream)),
                    since: now,
                    tried: false,
                    sampled,
                }
            }
        };
        let (rows, addition) = (waiting.rows, waiting.addition());
        let sampled = waiting.sampled.clone();
        let tried = true;
        self.written.insert(table, Waiting { tried, ..waiting });
        let bytes: u64 = addition.files.iter().map(|written| written.file.size).sum();
        self.step(Step::Written(table))?;
        let committed = parts.commits.commit(handle, addition).await?;
        let Committed { snapshot, outcome } = committed;
        self.written.remove(&table);
        if outcome != Outcome::Held {
            return Ok(false);
        }
        let after = snapshot;
        let backwards = |(stream, sequence): (&StreamId, &u64)| {
            after
                .watermarks
                .get(stream)
                .is_none_or(|now| now < sequence)
        };
        if before.watermarks.iter().any(backwards)
            || !seal
                .written()
                .iter()
                .all(|position| covers(&after.watermarks, *position))
        {
            parts
                .metrics
                .violated(Invariant::I3Once, "a commit's watermark went backwards");
        }
        if let (Some(sampler), Some(counts)) = (self.sampler(), &sampled) {
            sampler.written(counts);
        }
        let labels = by_table(table);
        parts.metrics.flushes.get_or_create(&labels).inc();
        parts
            .metrics
            .flushed_rows
            .get_or_create(&labels)
            .inc_by(rows);
        parts
            .metrics
            .flushed_bytes
            .get_or_create(&labels)
            .inc_by(bytes);
        self.step(Step::Committed(table))?;
        Ok(true)
    }

    pub(crate) fn step(&self, step: Step) -> Result<()> {
        self.parts
            .on_step
            .as_ref()
            .map_or(Ok(()), |on_step| on_step(step))
    }
}

/// Files that do not hold the rows that they were made of are not committed: the rows stay live,
/// and in the log (I8).
pub(crate) fn holds_rows(files: &[Written], rows: u64, metrics: &Metrics) -> Result<()> {
    let held: u64 = files.iter().map(|written| written.file.rows).sum();
    if held == rows {
        return Ok(());
    }
    let what = format!("files of {held} rows were made of {rows}");
    metrics.violated(Invariant::I8Open, &what);
    Err(Error::new(Code::Internal, what))
}
