//! One request, from bytes to acknowledgement.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otlake_base::invariant::Invariant;
use otlake_base::limits::RecordLimits;
use otlake_base::metrics::by_signal;
use otlake_base::{Code, Error, Kind, Position, Result, ShardSet, Signal, TableRows};
use otlake_decode::{ByReason, Decoded, Rejections};
use otlake_flush::{LiveBatch, memory_bytes};
use otlake_log::{Appender, Record};
use tokio::sync::oneshot;

use crate::Processor;
use crate::dedupe::{Claim, Content, ContentHash, Ticket};
use crate::ledger::Entry;
use crate::rows::Ruled;

/// Bodies below this are decoded on the worker that received them: it takes about 2 ms at most,
/// and handing the work over would cost more than it frees. Beyond it a worker would hold up
/// the connections it serves, so a thread made for blocking decodes.
const INLINE_BYTES: usize = 1024 * 1024;

/// Bytes that a request is taken to need per byte of its body until its rows are measured: the
/// body, the rows, and the builders' spare room.
const BYTES_PER_BODY_BYTE: usize = 3;

/// What a request came to. Success means that the accepted records are in the log, fsynced
/// under `fsync` durability and handed to the operating system under `relaxed`, and readable.
#[derive(Debug)]
pub struct Ack {
    /// Records stored.
    pub accepted: u64,
    /// Records refused for what they are, and why.
    pub rejections: Rejections,
    /// Records stored, but not as they came, by reason.
    pub changed: ByReason,
    /// Where they are stored; `None` when there was nothing to store.
    pub position: Option<Position>,
}

/// What a part of a split request came to.
#[derive(Debug)]
pub enum SliceOutcome {
    /// It is stored, whether now or before.
    Stored(Ack),
    /// These of its shards are stored already, from a request that was split otherwise; the part
    /// has to come again without them.
    Partly(ShardSet),
}

impl Ack {
    /// What the client is told; None where all was stored as it came.
    pub fn message(&self) -> Option<String> {
        otlake_decode::message(&self.rejections, &self.changed)
    }
}

impl Processor {
    /// Stores the protobuf body of an OTLP export request; `transport` (grpc, http, library) is
    /// for the counters. Dropping the future once the log has the request does not undo it.
    ///
    /// # Errors
    /// `OTLP_MALFORMED`; `OTLP_TOO_LARGE` for rows that need more than all the memory there is
    /// for them; `INGEST_OVERLOADED`, `INGEST_STOPPING`, `LOG_FULL` and `LOG_IO`, after which the
    /// client may retry: nothing of the request is stored. In a cluster also `CLUSTER_QUORUM`, after
    /// which it may be stored later, once, whatever is sent again; and `CLUSTER_FENCED`.
    pub async fn ingest(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        body: Bytes,
    ) -> Result<Ack> {
        self.ingest_over(signal, tenant, transport, None, body)
            .await
    }

    /// The same for what came over one of many connections, each of which gets its share of the
    /// memory among those of its tenant.
    ///
    /// # Errors
    /// The same.
    pub async fn ingest_over(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        connection: Option<u64>,
        body: Bytes,
    ) -> Result<Ack> {
        let body = otlake_decode::slice::whole(&tenant, body);
        self.observed(signal, tenant, transport, connection, body)
            .await
    }

    /// The same for a part of a request that was split by shard, with its mark
    /// ([`otlake_decode::slice`]). A resend is told by the request and the shards, whichever nodes
    /// the parts went to the first time (I3).
    ///
    /// # Errors
    /// The same; `OTLP_MALFORMED` where there is no mark.
    pub async fn ingest_slice(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        connection: Option<u64>,
        slice: Bytes,
    ) -> Result<SliceOutcome> {
        let Some((mark, _)) = otlake_decode::slice::of(&slice) else {
            return Err(Error::new(Code::OtlpMalformed, "a part without its mark"));
        };
        let stored = self
            .dedupe
            .stored(signal, ContentHash::of_request(mark.request));
        let known = mark.shards.both(&stored);
        if !known.is_empty() && known != mark.shards {
            return Ok(SliceOutcome::Partly(known));
        }
        let outcome = self.observed(signal, tenant, transport, connection, slice);
        outcome.await.map(SliceOutcome::Stored)
    }

    async fn observed(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        connection: Option<u64>,
        body: Bytes,
    ) -> Result<Ack> {
        let started = self.clock.monotonic();
        let labels = by_signal(signal);
        self.metrics
            .request_bytes
            .get_or_create(&labels)
            .inc_by(body.len() as u64);
        let outcome = self.store(signal, tenant, connection, body).await;
        let name = match &outcome {
            Ok(ack) if ack.rejections.count == 0 => "ok",
            Ok(_) => "partial",
            Err(error) => {
                self.metrics.refused(signal, error.code);
                outcome_of(error.kind())
            }
        };
        let request = vec![
            ("signal", signal.name()),
            ("transport", transport),
            ("outcome", name),
        ];
        self.metrics.requests.get_or_create(&request).inc();
        if outcome.as_ref().is_ok_and(|ack| ack.position.is_some()) {
            let seconds = self.clock.monotonic().saturating_sub(started).as_secs_f64();
            self.metrics
                .ack_seconds
                .get_or_create(&labels)
                .observe(seconds);
        }
        outcome
    }

    async fn store(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        connection: Option<u64>,
        body: Bytes,
    ) -> Result<Ack> {
        let pass = self.gate.enter()?;
        if let Some(log) = self.log() {
            log.admit(signal, &tenant)?;
        }
        let estimate = body.len().saturating_mul(BYTES_PER_BODY_BYTE);
        let budget = self.live.budget();
        let claim = budget.claim(&tenant, connection);
        let Some(mut reservation) = budget.try_reserve_for(claim, estimate) else {
            self.live.pressed();
            return Err(overloaded());
        };
        let received_unix_nano = self.clock.unix_nano();
        let limits = self.record_limits;
        let work = (limits, self.ruled.clone(), received_unix_nano);
        let decoded = decode(signal, body, &tenant, work).await;
        let (decoded, rows, body) = decoded.inspect_err(|error| {
            if error.code == Code::Internal {
                self.metrics
                    .violated(Invariant::I8Open, "a request's columns are out of step");
            }
        })?;
        let entry = Entry::new(Arc::clone(&self.metrics), signal, &decoded);
        let Decoded {
            accepted,
            rejections,
            changed,
            ..
        } = decoded;
        // Rows that rules dropped are acknowledged: a resend of them would be dropped again.
        if rows.is_empty() {
            entry.acknowledged();
            return Ok(Ack {
                accepted,
                rejections,
                changed,
                position: None,
            });
        }
        let Some(log) = self.log() else {
            entry.refused(Code::IngestStopping);
            return Err(Error::new(Code::IngestStopping, "the node is stopping"));
        };
        // Rows can be many times their wire bytes, so the estimate is made exact before anything
        // keeps them. The log holds the body until it is written.
        let bytes = memory_bytes(&rows);
        let needed = bytes.saturating_add(body.len());
        if !reservation.try_resize(needed) {
            let error = if needed > self.live.budget().max() {
                Error::new(
                    Code::OtlpTooLarge,
                    format!("its rows need {needed} bytes of memory"),
                )
            } else {
                self.live.pressed();
                overloaded()
            };
            entry.refused(error.code);
            return Err(error);
        }
        let content = Content::of(&tenant, &otlake_decode::as_received(&body));
        let patience = log.patience(signal, &tenant);
        let claim = self.claim(signal, content, received_unix_nano);
        let claimed = within(patience, claim).await;
        let claimed = match claimed.inspect_err(|_| log.late(signal)).flatten() {
            Ok(claimed) => claimed,
            Err(error) => {
                entry.refused(error.code);
                return Err(error);
            }
        };
        let Some(ticket) = claimed else {
            self.metrics
                .records_deduplicated
                .get_or_create(&by_signal(signal))
                .inc_by(accepted);
            entry.acknowledged();
            // It covers the first one's position, whichever stream that is in.
            return Ok(Ack {
                accepted,
                rejections,
                changed,
                position: Some(self.session()),
            });
        };
        let record = Record {
            signal,
            tenant,
            received_unix_nano,
            payload: body,
        };
        let (sender, durable) = oneshot::channel();
        let live = Arc::clone(&self.live);
        let store = Arc::clone(&log);
        log.append(
            record,
            Box::new(move |outcome| {
                // The client may be gone; what is durable is stored all the same.
                let position = match outcome {
                    Ok(position) => position,
                    Err(error) => {
                        entry.refused(error.code);
                        let _ = sender.send(Err(error));
                        return;
                    }
                };
                // Less always fits.
                let _ = reservation.try_resize(bytes);
                let batch = LiveBatch::measured(position, signal, rows, bytes);
                live.insert(batch, reservation);
                let is_overdue = store.is_overdue(position);
                if is_overdue {
                    ticket.readable(received_unix_nano);
                }
                let then = move |outcome: Result<()>| {
                    match &outcome {
                        Ok(()) => {
                            ticket.stored(received_unix_nano);
                            entry.acknowledged();
                        }
                        Err(error) => entry.refused(error.code),
                    }
                    let _ = sender.send(outcome.map(|()| position));
                };
                match is_overdue {
                    true => store.when_acknowledged(position, Box::new(then)),
                    false => then(Ok(())),
                }
                drop(pass);
            }),
        );
        let position = within(patience, durable)
            .await
            .inspect_err(|_| log.late(signal))?
            .map_err(|_| Error::new(Code::LogIo, "the log ended before it took the request"))??;
        if position.sequence > log.last_durable() {
            self.metrics
                .violated(Invariant::I1DurableAck, "an acknowledgement ran ahead");
        }
        Ok(Ack {
            accepted,
            rejections,
            changed,
            position: Some(position),
        })
    }
}

impl Processor {
    /// The right to store a request; none where the same one is stored already (I3).
    ///
    /// # Errors
    /// `INGEST_OVERLOADED` where others stored a part of it a moment ago.
    async fn claim(&self, signal: Signal, content: Content, now: u64) -> Result<Option<Ticket>> {
        loop {
            match self.dedupe.claim(signal, content, now) {
                Claim::First(ticket) => return Ok(Some(ticket)),
                Claim::Stored => return Ok(None),
                Claim::Partly(known) => {
                    let shards = known.len();
                    let what = format!("{shards} shards of the request were stored meanwhile");
                    return Err(Error::new(Code::IngestOverloaded, what));
                }
                Claim::Reserved => {
                    let what = "a record of the same request is being stored anew";
                    return Err(Error::new(Code::IngestOverloaded, what));
                }
                Claim::Undecided(copies) => self.decide(signal, &copies).await?,
                // The sender goes with the entry: an error is the sign that the first one ended,
                // well or badly, which the next claim tells.
                Claim::InFlight(mut ended) => while ended.changed().await.is_ok() {},
            }
        }
    }
}

/// Waits as long as a client is let wait; the record goes on waiting for its copies.
async fn within<T>(patience: Option<Duration>, wait: impl Future<Output = T>) -> Result<T> {
    let Some(patience) = patience else {
        return Ok(wait.await);
    };
    tokio::time::timeout(patience, wait).await.map_err(|_| {
        let text = "too few nodes have the request yet; it is kept for when they do";
        Error::new(Code::ClusterQuorum, text)
    })
}

fn overloaded() -> Error {
    Error::new(Code::IngestOverloaded, "the memory for live rows is in use")
}

/// What is told of a body, its rows as they are kept, and the body as the log keeps it.
async fn decode(
    signal: Signal,
    body: Bytes,
    tenant: &Arc<str>,
    (limits, ruled, now): (RecordLimits, Ruled, u64),
) -> Result<(Decoded, Vec<TableRows>, Bytes)> {
    let is_short = body.len() < INLINE_BYTES;
    let tenant = Arc::clone(tenant);
    let work = move || {
        let mut decoded = otlake_decode::decode_received(signal, &body, &tenant, &limits, now)?;
        let logged = otlake_decode::to_log(body, &decoded, &limits);
        let rows = ruled.rows(&tenant, std::mem::take(&mut decoded.tables));
        Ok((decoded, rows, logged))
    };
    if is_short {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(Code::Internal, format!("decoding ended: {error}")))?
}

fn outcome_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid | Kind::NotFound => "invalid",
        Kind::Denied => "denied",
        Kind::Exhausted => "exhausted",
        Kind::Unavailable | Kind::Cancelled => "unavailable",
        Kind::Corrupt | Kind::Internal => "internal",
    }
}
