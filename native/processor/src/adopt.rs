//! What a cluster does with records of streams that are not written any more: those of other nodes,
//! and of this node's earlier starts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use otlake_base::{Code, Error, FIRST_EPOCH, Position, Result, ShardSet, Signal, StreamId, Table};
use otlake_flush::{LiveBatch, memory_bytes};
use otlake_log::{Appender, Record};
use tokio::sync::oneshot;

use crate::Processor;
use crate::dedupe::{Content, ContentHash, Recovered, Stage};
use crate::processor::blocking;
use crate::replay::rows_not_in_files;

/// How long a request that is being stored is waited for before a record of the same content is
/// recovered: without its end it is not known whether the record is there twice.
const IN_FLIGHT: Duration = Duration::from_secs(5);

impl Processor {
    /// The request that a record is of, and its shards, as `claim_recovered` needs them.
    pub fn content_of(tenant: &str, logged: &Bytes) -> (u128, ShardSet) {
        let content = Content::of(tenant, &otlake_decode::as_received(logged));
        (content.hash.number(), content.shards)
    }

    /// A record at `position` is recovered, here or at another node. Gives the shards of its request
    /// that this node has stored beside it; what a client sends again from now on is told as
    /// stored or, while the record is not `Stored`, refused for now.
    ///
    /// # Errors
    /// `INGEST_OVERLOADED` where the same request is being stored and that does not end, or where it has
    /// to be known first whether another record of it is kept.
    pub async fn claim_recovered(
        &self,
        signal: Signal,
        (position, stage): (Position, Stage),
        request: u128,
        shards: ShardSet,
    ) -> Result<ShardSet> {
        let content = Content {
            hash: ContentHash::of_request(request),
            shards,
        };
        let wait = async {
            loop {
                let now = self.clock.unix_nano();
                match self
                    .dedupe
                    .recovered(signal, content, (position, stage), self.stream, now)
                {
                    Recovered::Known(known) => return Ok(known),
                    Recovered::Unsettled => {
                        let what = "another record of the same request is not settled yet";
                        return Err(Error::new(Code::IngestOverloaded, what));
                    }
                    Recovered::InFlight(mut ended) => while ended.changed().await.is_ok() {},
                }
            }
        };
        tokio::time::timeout(IN_FLIGHT, wait).await.map_err(|_| {
            let what = "a request that is recovered is being stored at the same time";
            Error::new(Code::IngestOverloaded, what)
        })?
    }

    /// Streams with records that are not settled: they are being recovered, here or at other nodes, or are
    /// of this node's earlier starts, or this node holds copies of them.
    pub fn recovering(&self) -> BTreeSet<StreamId> {
        self.dedupe.recovering()
    }

    /// Those of these shards of a request that are stored here, when what is being stored of them has come
    /// to its end. For other shards nobody is waited: nodes ask each other about parts of one request
    /// while each stores its own.
    ///
    /// # Errors
    /// `INGEST_OVERLOADED` where it does not, or where that is not known yet: what is being recovered may be
    /// there in a moment, or not.
    pub async fn stored_of(
        &self,
        signal: Signal,
        request: u128,
        shards: ShardSet,
    ) -> Result<ShardSet> {
        let hash = ContentHash::of_request(request);
        let content = Content { hash, shards };
        let wait = async {
            while let Some(mut ended) = self.dedupe.in_flight(signal, content) {
                while ended.changed().await.is_ok() {}
            }
        };
        tokio::time::timeout(IN_FLIGHT, wait).await.map_err(|_| {
            let what = "the request is being stored at the same time";
            Error::new(Code::IngestOverloaded, what)
        })?;
        let undecided = self.dedupe.undecided(signal, content);
        self.decide(signal, &undecided).await?;
        let now = self.clock.unix_nano();
        let stored = self.dedupe.stored(signal, hash).both(&shards);
        let rest = Content {
            hash,
            shards: shards.minus(&stored),
        };
        if self.dedupe.is_unsettled(signal, rest, now) {
            let what = "a record of the same request is being recovered";
            return Err(Error::new(Code::IngestOverloaded, what));
        }
        Ok(stored)
    }

    /// Finds out whether the tables have these records, of which this node holds copies.
    ///
    /// # Errors
    /// `INGEST_OVERLOADED` where their owner may still bring them there; `TABLE_…`.
    pub(crate) async fn decide(&self, signal: Signal, copies: &[Position]) -> Result<()> {
        if copies.is_empty() {
            return Ok(());
        }
        let tables = signal
            .tables()
            .iter()
            .map(|table| self.tables.handle(*table));
        let snapshots = try_join_all(tables.map(|table| table.refresh())).await?;
        for position in copies {
            let mut standings = snapshots
                .iter()
                .map(|snapshot| snapshot.standing(position.stream));
            if standings
                .clone()
                .all(|stands| stands.watermark >= position.sequence)
            {
                self.dedupe.decided(signal, *position, true);
            } else if standings.all(|stands| stands.epoch > FIRST_EPOCH) {
                self.dedupe.decided(signal, *position, false);
            } else {
                let what = "another node may have stored the request: that is not known yet";
                return Err(Error::new(Code::IngestOverloaded, what));
            }
        }
        Ok(())
    }

    /// This node holds a copy of another's record, or is about to.
    pub fn holds_copy(&self, position: Position, record: &Record) {
        let received = otlake_decode::as_received(&record.payload);
        let content = Content::of(&record.tenant, &received);
        let received = record.received_unix_nano;
        self.dedupe
            .followed(record.signal, content, received, position);
    }

    /// Copies of another node's stream that this node holds: up to here they are acknowledged, so that a
    /// resend is told as stored, and by signal the tables have them up to there.
    pub fn settle_copies(&self, stream: StreamId, acknowledged: u64, released: [u64; 3]) {
        self.dedupe.acknowledged(stream, acknowledged, released);
    }

    /// A stream is sealed: a resend of what was kept of it is told as stored, and of what was not,
    /// stored.
    pub fn settle_recovered(&self, stream: StreamId, was_kept: impl Fn(Signal, Position) -> bool) {
        self.dedupe.settle(stream, was_kept);
    }

    /// Takes a stream over at an epoch, which the metadata group has given to this node: no table takes
    /// rows of it any more that are written at an earlier one, by whomever. So what the tables hold of
    /// it from here on is what this node brings, and what they held when this returns (I9). What an
    /// earlier try of this node has in memory is let go of.
    ///
    /// # Errors
    /// `CLUSTER_FENCED` where a later epoch is known already; `TABLE_…`; what writing files came to.
    pub async fn take_over(&self, stream: StreamId, epoch: u64) -> Result<()> {
        let fences = Table::ALL.map(|table| self.tables.handle(table).fence(stream, epoch));
        try_join_all(fences).await?;
        self.live.take_over(stream, epoch).await
    }

    /// Makes a record readable that is durable elsewhere, and has it written to files, under its own
    /// position; without rows (`has_rows`) it only takes its number. Records of a stream and signal
    /// come in order; one that was adopted before is passed over. Waits while there is no memory.
    ///
    /// # Errors
    /// `LOG_FORMAT` where it cannot be decoded; what writing files came to, when there is no memory.
    pub async fn adopt(
        self: &Arc<Self>,
        position: Position,
        record: Record,
        has_rows: bool,
    ) -> Result<()> {
        if self.live.last_of(position.stream, record.signal) >= position.sequence {
            return Ok(());
        }
        let this = Arc::clone(self);
        let batch = blocking(move || {
            if !has_rows {
                return Ok(LiveBatch::new(position, record.signal, Vec::new()));
            }
            let watermarks =
                Table::ALL.map(|table| this.tables.handle(table).snapshot().watermarks.clone());
            rows_not_in_files(position, record, &watermarks, (this.derive, &this.ruled))
        })
        .await?;
        let budget = self.live.budget();
        if budget.used() + batch.bytes > budget.max() {
            self.live.pressed();
            self.live.room().await?;
        }
        let reservation = budget.reserve(batch.bytes);
        self.live.insert(batch, reservation);
        Ok(())
    }

    /// Appends a record of an earlier stream of this node to the stream of this start.
    ///
    /// # Errors
    /// As `ingest`; then it may be appended again.
    pub async fn append_again(&self, record: Record) -> Result<()> {
        let pass = self.gate.enter()?;
        let log = self.log();
        let log = log.ok_or_else(|| Error::new(Code::IngestStopping, "the node is stopping"))?;
        let (signal, tenant) = (record.signal, Arc::clone(&record.tenant));
        log.admit(signal, &tenant)?;
        let received = record.received_unix_nano;
        let content = Content::of(&tenant, &otlake_decode::as_received(&record.payload));
        let payload = record.payload.clone();
        let ruled = self.ruled.clone();
        let rows = blocking(move || ruled.replay(signal, &payload, &tenant)).await?;
        let bytes = memory_bytes(&rows);
        if self.live.budget().used() + bytes > self.live.budget().max() {
            self.live.room().await?;
        }
        let reservation = self.live.budget().reserve(bytes);
        let (sender, durable) = oneshot::channel();
        let (live, dedupe) = (Arc::clone(&self.live), Arc::clone(&self.dedupe));
        let store = Arc::clone(&log);
        log.append(
            record,
            Box::new(move |outcome| {
                let position = match outcome {
                    Ok(position) => position,
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return;
                    }
                };
                let batch = LiveBatch::measured(position, signal, rows, bytes);
                live.insert(batch, reservation);
                let is_overdue = store.is_overdue(position);
                if is_overdue {
                    dedupe.readable(signal, content, received);
                }
                let then = move |outcome: Result<()>| {
                    if outcome.is_ok() {
                        dedupe.appended_again(signal, content, received);
                    }
                    let _ = sender.send(outcome);
                };
                match is_overdue {
                    true => store.when_acknowledged(position, Box::new(then)),
                    false => then(Ok(())),
                }
                drop(pass);
            }),
        );
        let ended = |_| Error::new(Code::LogIo, "the log ended before it took the record");
        durable.await.map_err(ended)?
    }

    /// Streams of earlier starts that the log still holds.
    pub fn earlier_streams(&self) -> Vec<StreamId> {
        self.earlier.read().clone()
    }

    /// An earlier stream is settled: its segments are deleted, once the windows are durable that know
    /// its records.
    ///
    /// # Errors
    /// `NODE_STATE` after `close`; `TABLE_IO` of the windows.
    pub async fn release_stream(&self, stream: StreamId) -> Result<()> {
        let log = self.log();
        let log = log.ok_or_else(|| Error::new(Code::NodeState, "the node is stopping"))?;
        let dedupe = Arc::clone(&self.dedupe);
        blocking(move || {
            let mut signals = Signal::ALL.into_iter();
            signals.try_for_each(|signal| dedupe.persist(signal))
        })
        .await?;
        for signal in Signal::ALL {
            let all = Position {
                stream,
                sequence: u64::MAX,
            };
            log.log().release(signal, all);
        }
        self.earlier.write().retain(|earlier| *earlier != stream);
        Ok(())
    }
}
