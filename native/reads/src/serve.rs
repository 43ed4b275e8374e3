//! Answers other nodes with the live batches of this one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use otlake_base::limits::{LIVE_ANSWER_MS, LIVE_EXCHANGES, LIVE_MESSAGE_BYTES};
use otlake_base::{Code, Error, Position, Result, StreamId, Table, Wanted};
use otlake_flush::{LiveBatch, LiveSet, Tables, Tail, Tailed, covers};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::port::Messages;
use crate::select::{pieces, select};
use crate::wire::{Batch, BatchWriter, End, Head, Part, Request};

/// Times that an asking node's patience an answer may take: it is gone by then.
const PATIENCE: u32 = 2;

/// What answers the requests of `LivePort::live`.
#[derive(Clone)]
pub struct LiveServer {
    live: Arc<LiveSet>,
    tables: Tables,
    exchanges: Arc<Semaphore>,
}

impl LiveServer {
    pub(crate) fn new(live: Arc<LiveSet>, tables: Tables) -> LiveServer {
        LiveServer {
            live,
            tables,
            exchanges: Arc::new(Semaphore::new(LIVE_EXCHANGES)),
        }
    }

    /// The answer to a request, message by message as they are taken.
    ///
    /// # Errors
    /// `QUERY_INCOMPLETE` for a request that is none; `QUERY_OVERLOADED` where too many are being
    /// answered.
    pub fn serve(&self, request: Bytes) -> Result<Messages> {
        let (table, wanted, streams, follow) = Request::read(request)?;
        let pass = Arc::clone(&self.exchanges).try_acquire_owned();
        let pass = pass.map_err(|_| {
            let message = "too many nodes are being answered at once";
            Error::new(Code::QueryOverloaded, message)
        })?;
        let sending = Sending {
            table,
            wanted,
            streams,
            writer: BatchWriter::new(),
            ready: VecDeque::new(),
            batches: 0,
            _pass: pass,
        };
        Ok(match follow {
            true => follow_batches(self.live.subscribe(), sending),
            false => self.answer(sending),
        })
    }

    fn answer(&self, mut sending: Sending) -> Messages {
        // Before the batches, so that each up to these is among them or in the files; and the
        // version after them, so that what a commit took out between the two is in it.
        let mut whole = self.live.whole();
        whole.retain(|position| sending.asks_for(position.stream));
        let batches = self.live.capture(sending.table);
        let snapshot = self.tables.handle(sending.table).snapshot();
        let left: VecDeque<Arc<LiveBatch>> = batches
            .into_iter()
            .filter(|batch| !covers(&snapshot.watermarks, batch.position))
            .filter(|batch| sending.wants(batch))
            .collect();
        let head = Head {
            version: snapshot.version,
            whole: whole.into_iter().map(Into::into).collect(),
        };
        sending.ready.push_back(Part::Head(head).write());
        let deadline = Instant::now() + Duration::from_millis(LIVE_ANSWER_MS) * PATIENCE;
        let answering = Answering {
            sending,
            left,
            ended: false,
        };
        let messages = stream::try_unfold(answering, move |mut answering| async move {
            if Instant::now() > deadline {
                let message = "the asking node takes too long";
                return Err(Error::new(Code::QueryTimeout, message));
            }
            // Selecting and compressing rows takes milliseconds, in which others would wait.
            let next = tokio::task::spawn_blocking(move || {
                let next = answering.next()?;
                Ok::<_, Error>(next.map(|next| (next, answering)))
            });
            let ended = |error| Error::new(Code::Internal, format!("a thread ended: {error}"));
            next.await.map_err(ended)?
        });
        messages.boxed()
    }
}

/// What is sent of batches.
struct Sending {
    table: Table,
    wanted: Wanted,
    streams: Vec<StreamId>,
    writer: BatchWriter,
    /// Messages that are next.
    ready: VecDeque<Bytes>,
    batches: u64,
    _pass: OwnedSemaphorePermit,
}

impl Sending {
    fn asks_for(&self, stream: StreamId) -> bool {
        self.streams.is_empty() || self.streams.contains(&stream)
    }

    fn wants(&self, batch: &LiveBatch) -> bool {
        self.asks_for(batch.position.stream)
            && batch.of(self.table).any(|part| self.wants_of(&part.tenant))
    }

    fn wants_of(&self, tenant: &str) -> bool {
        let wanted = self.wanted.tenant.as_deref();
        wanted.is_none_or(|wanted| wanted == tenant)
    }

    /// Makes a batch's messages ready.
    fn add(&mut self, batch: &LiveBatch) -> Result<()> {
        for part in batch.of(self.table) {
            if !self.wants_of(&part.tenant) {
                continue;
            }
            let Some(rows) = select(self.table, &part.rows, &self.wanted)? else {
                continue;
            };
            for piece in pieces(&rows, LIVE_MESSAGE_BYTES)? {
                self.add_piece(batch.position, &part.tenant, &piece)?;
            }
        }
        Ok(())
    }

    fn add_piece(&mut self, position: Position, tenant: &str, piece: &RecordBatch) -> Result<()> {
        let batch = Batch {
            place: Some(position.into()),
            tenant: tenant.to_owned(),
            ipc: self.writer.write(piece)?,
        };
        self.batches += 1;
        self.ready.push_back(Part::Batch(batch).write());
        Ok(())
    }
}

struct Answering {
    sending: Sending,
    left: VecDeque<Arc<LiveBatch>>,
    ended: bool,
}

impl Answering {
    fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(message) = self.sending.ready.pop_front() {
                return Ok(Some(message));
            }
            match self.left.pop_front() {
                Some(batch) => self.sending.add(&batch)?,
                None if self.ended => return Ok(None),
                None => {
                    self.ended = true;
                    let batches = self.sending.batches;
                    return Ok(Some(Part::End(End { batches }).write()));
                }
            }
        }
    }
}

/// Batches as they become readable, without an end.
fn follow_batches(tail: Tail, sending: Sending) -> Messages {
    // One that has nothing to tell tells that it is there.
    let head = Head {
        version: 0,
        whole: Vec::new(),
    };
    let hello = stream::iter([Ok(Part::Head(head).write())]);
    let messages = stream::try_unfold((tail, sending), |(mut tail, mut sending)| async move {
        loop {
            if let Some(message) = sending.ready.pop_front() {
                return Ok(Some((message, (tail, sending))));
            }
            match tail.recv().await {
                None => return Ok(None),
                Some(Tailed::Skipped(skipped)) => {
                    sending.ready.push_back(Part::Skipped(skipped).write());
                }
                Some(Tailed::Batch(batch)) => {
                    if sending.wants(&batch) {
                        sending.add(&batch)?;
                    }
                }
            }
        }
    });
    hello.chain(messages).boxed()
}
