//! The part of a flush of spans that writes what is derived of them (docs/derived.md).
//!
//! It comes before the spans' own commit. So where a table of spans holds a batch, the derived rows of
//! it are there, and whoever takes a stream over or replays it needs to know of nothing else than
//! before: what it brings anew is told apart by the watermarks of the derived rows.

use std::sync::Arc;
use std::time::Duration;

use otlake_base::metrics::by_table;
use otlake_base::{Code, Error, Position, Result, Signal, StreamId, Table, worker};
use otlake_catalog::{Mark, Outcome, Snapshot};
use otlake_derive::{Deriver, Prepared, SpanBatch};
use parking_lot::Mutex;

use crate::Seal;
use crate::flusher::{STALE_ATTEMPTS, Step, Waiting, Worker, holds_rows};

/// What is derived of the seal at work; it outlives an attempt that fails.
pub(crate) type Shared = Arc<Mutex<Prepared>>;

impl Worker {
    /// What derives from this worker's signal.
    pub(crate) fn deriver(&self) -> Option<&Arc<Deriver>> {
        let deriver = self.parts.deriver.as_ref();
        deriver.filter(|_| self.signal == Signal::Traces)
    }

    /// How long until halves of edges have waited long enough. While records of earlier starts follow
    /// they wait for those.
    pub(crate) fn derives_in(&self) -> Option<Duration> {
        let due = self.deriver()?.due_in()?;
        (!self.parts.live.has_earlier(self.signal)).then_some(due)
    }

    /// Commits the derived rows of a seal that their tables do not hold.
    pub(crate) async fn derive(&mut self, seal: &mut Seal) -> Result<()> {
        let Some(deriver) = self.deriver().cloned() else {
            return Ok(());
        };
        'tables: for table in Table::DERIVED {
            for _ in 0..STALE_ATTEMPTS {
                if self.try_derived(&deriver, seal, table).await? {
                    continue 'tables;
                }
            }
            let message = format!(
                "{}: {STALE_ATTEMPTS} times another node derived from these streams",
                table.name()
            );
            return Err(Error::new(Code::TableConflict, message));
        }
        Ok(())
    }

    /// Every table holds what was prepared: up to where the log may forget streams.
    pub(crate) fn derived(&mut self, seal: &Seal) -> Vec<Position> {
        let written = seal.written();
        let (deriver, prepared) = (self.deriver().cloned(), self.prepared.take());
        let (Some(deriver), Some(prepared)) = (deriver, prepared) else {
            return written;
        };
        let settled = deriver.done(&prepared.lock());
        match deriver.has_waiting() {
            // What was fenced only after its derived rows were written stays in the log, too.
            true => settled
                .into_iter()
                .filter(|of| !seal.fenced.contains(&of.stream))
                .collect(),
            false => written,
        }
    }

    async fn prepared(&mut self, deriver: &Arc<Deriver>, seal: &Seal) -> Result<Shared> {
        if let Some(prepared) = &self.prepared {
            return Ok(Arc::clone(prepared));
        }
        let of_seal = seal.batches.iter().filter(|batch| {
            batch.position.sequence > 0 && !seal.fenced.contains(&batch.position.stream)
        });
        let batches: Vec<SpanBatch> = of_seal
            .map(|batch| SpanBatch {
                position: batch.position,
                spans: batch
                    .of(Table::Spans)
                    .map(|part| (Arc::clone(&part.tenant), part.rows.clone()))
                    .collect(),
                bytes: batch.bytes,
            })
            .collect();
        let watermarks = Table::DERIVED.map(|table| {
            let snapshot = self.parts.tables.handle(table).snapshot();
            snapshot.watermarks.clone()
        });
        let deriver = Arc::clone(deriver);
        let follows = self.parts.live.has_earlier(self.signal);
        let work = move || deriver.prepare(batches, &watermarks, follows);
        let prepared = worker::run("otlake-flush", self.parts.live.nice(), work).await??;
        let prepared = Arc::new(Mutex::new(prepared));
        self.prepared = Some(Arc::clone(&prepared));
        Ok(prepared)
    }

    /// The epoch at which a stream is written; one that has nothing in the seal can have halves of
    /// edges that waited.
    fn epoch(&self, seal: &Seal, stream: StreamId) -> u64 {
        match seal.upto.iter().any(|of| of.stream == stream) {
            true => seal.epoch(stream),
            false => self.parts.live.epoch(stream),
        }
    }

    /// Lets go of streams that the table has at a later epoch.
    fn leave_fenced(&mut self, seal: &mut Seal, prepared: &Shared, now: &Snapshot) {
        let streams = prepared.lock().streams();
        for stream in streams {
            let epoch = now.standing(stream.counted()).epoch;
            if epoch <= self.epoch(seal, stream) {
                continue;
            }
            seal.fenced.insert(stream);
            self.fence(stream, epoch);
            prepared.lock().leave_out(stream);
            for (table, waiting) in self.derived.drain() {
                self.parts.tables.handle(table).forget(&waiting.files);
            }
        }
    }

    /// Commits what the table does not hold; false where another's commit came between.
    async fn try_derived(
        &mut self,
        deriver: &Arc<Deriver>,
        seal: &mut Seal,
        table: Table,
    ) -> Result<bool> {
        let parts = Arc::clone(&self.parts);
        let handle = parts.tables.handle(table);
        let before = handle.durable().await?;
        let prepared = self.prepared(deriver, seal).await?;
        self.leave_fenced(seal, &prepared, &before);
        let marks = prepared.lock().marks(&before.watermarks);
        let now = parts.clock.monotonic();
        let waiting = self.derived.remove(&table);
        if marks.is_empty() {
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
                let (deriver, of) = (Arc::clone(deriver), Arc::clone(&prepared));
                let watermarks = before.watermarks.clone();
                let work = move || deriver.rows(&mut of.lock(), table, &watermarks);
                let batches = worker::run("otlake-flush", self.parts.live.nice(), work).await??;
                let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
                let files = match batches.is_empty() {
                    true => Vec::new(),
                    false => {
                        otlake_shard::write(table, batches, &before.root, &parts.options).await?
                    }
                };
                holds_rows(&files, rows, &parts.metrics)?;
                handle.expect(&files);
                let mark = |(stream, upto): &(StreamId, Position)| Mark {
                    upto: *upto,
                    base: before.standing(upto.stream).watermark,
                    epoch: self.epoch(seal, *stream),
                };
                Waiting {
                    files,
                    rows,
                    marks: marks.iter().map(mark).collect(),
                    since: now,
                    tried: false,
                    sampled: None,
                }
            }
        };
        let (rows, addition) = (waiting.rows, waiting.addition());
        let tried = true;
        self.derived.insert(table, Waiting { tried, ..waiting });
        let bytes: u64 = addition.files.iter().map(|written| written.file.size).sum();
        self.step(Step::Written(table))?;
        let committed = parts.commits.commit(handle, addition).await?;
        self.derived.remove(&table);
        if committed.outcome != Outcome::Held {
            return Ok(false);
        }
        let labels = by_table(table);
        let metrics = &parts.metrics;
        metrics.flushes.get_or_create(&labels).inc();
        metrics.flushed_rows.get_or_create(&labels).inc_by(rows);
        metrics.flushed_bytes.get_or_create(&labels).inc_by(bytes);
        self.step(Step::Committed(table))?;
        Ok(true)
    }
}
