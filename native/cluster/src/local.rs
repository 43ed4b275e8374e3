//! The processor as gateways see it: whole requests, and parts of requests that were split.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use otlake_base::{Code, Error, Result, ShardSet, Signal, Table};
use otlake_decode::slice::{self, Slice};
use otlake_processor::{Processor, SliceOutcome};
use otlake_receive::{Ack, Ingest};

use crate::moved::{Elsewhere, Moved};

/// Times that a part is cut down because shards of it were stored meanwhile.
const CUTS: usize = 8;

/// Stores what belongs to this node.
pub struct Local {
    processor: Arc<Processor>,
    /// In a cluster: what others have stored of shards that moved here.
    moved: Option<Arc<Moved>>,
}

impl Ingest for Local {
    fn ingest(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        connection: u64,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Ack>> {
        async move {
            if let Some(part) = self.part(signal, &tenant, &body) {
                return self
                    .store(signal, tenant, transport, connection, part)
                    .await;
            }
            let ack = self
                .processor
                .ingest_over(signal, tenant, transport, Some(connection), body)
                .await?;
            Ok(Local::told(&ack))
        }
        .boxed()
    }
}

/// A part of a request.
struct Part {
    mark: Slice,
    /// Without its mark.
    part: Bytes,
    /// With it, where it came so.
    marked: Option<Bytes>,
}

impl Local {
    /// On a node of its own.
    pub fn alone(processor: Arc<Processor>) -> Local {
        let moved = None;
        Local { processor, moved }
    }

    /// In a cluster.
    pub(crate) fn among(processor: Arc<Processor>, moved: Arc<Moved>) -> Local {
        let moved = Some(moved);
        Local { processor, moved }
    }

    /// An acknowledgement as receivers tell it.
    pub fn told(ack: &otlake_processor::Ack) -> Ack {
        Ack {
            accepted: ack.accepted,
            rejected: ack.rejections.count,
            message: ack.message(),
            session: ack.position.map(|position| position.to_string()),
        }
    }

    /// The part of a request that a body is; none for a whole one that can be nowhere else.
    fn part(&self, signal: Signal, tenant: &str, body: &Bytes) -> Option<Part> {
        if let Some((mark, part)) = slice::of(body) {
            let marked = Some(body.clone());
            return Some(Part { mark, part, marked });
        }
        self.moved.as_ref().filter(|moved| moved.asks(signal))?;
        let request = slice::request_hash(tenant, body);
        let mark = Slice {
            request,
            shards: ShardSet::ALL,
        };
        let (part, marked) = (body.clone(), None);
        Some(Part { mark, part, marked })
    }

    /// Stores a part. Where it was split otherwise the first time, and some of its shards are
    /// stored, the rest is stored alone.
    async fn store(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        transport: &'static str,
        connection: u64,
        part: Part,
    ) -> Result<Ack> {
        let Part {
            mut mark,
            mut part,
            mut marked,
        } = part;
        let elsewhere = match &self.moved {
            Some(moved) => moved.stored(signal, &mark).await?,
            None => Elsewhere::default(),
        };
        let (mut stored, mut known) = (elsewhere.shards, 0);
        for _ in 0..CUTS {
            if !stored.is_empty() {
                let before = otlake_route::records(signal, &part);
                let Some(rest) = otlake_route::without(signal, &part, &stored) else {
                    let session = Some(self.processor.session().to_string());
                    return Ok(Ack {
                        accepted: known + before,
                        rejected: 0,
                        message: None,
                        session: joined(session, &elsewhere.session),
                    });
                };
                known += before - otlake_route::records(signal, &rest);
                mark.shards = mark.shards.minus(&stored);
                (part, marked) = (rest, None);
            }
            let marked = marked.take().unwrap_or_else(|| slice::marked(&part, &mark));
            let outcome = self
                .processor
                .ingest_slice(
                    signal,
                    Arc::clone(&tenant),
                    transport,
                    Some(connection),
                    marked,
                )
                .await?;
            stored = match outcome {
                SliceOutcome::Stored(ack) => {
                    let mut ack = Local::told(&ack);
                    ack.accepted += known;
                    ack.session = joined(ack.session, &elsewhere.session);
                    return Ok(ack);
                }
                SliceOutcome::Partly(shards) => shards,
            };
        }
        let what = "other nodes are storing parts of the same request";
        Err(Error::new(Code::IngestOverloaded, what))
    }
}

/// A session token that covers both.
fn joined(session: Option<String>, more: &str) -> Option<String> {
    match session {
        Some(session) if !more.is_empty() => Some(format!("{session},{more}")),
        session => session,
    }
}

/// What is left of a record as the log keeps it, without some shards; none where nothing is.
pub(crate) fn cut(signal: Signal, logged: &Bytes, shards: &ShardSet) -> Option<Bytes> {
    if shards.is_empty() {
        return Some(logged.clone());
    }
    let received = otlake_decode::as_received(logged);
    let part = slice::of(&received).map_or(received, |(_, part)| part);
    otlake_route::without(signal, &part, shards)
}

/// What is left of a record as the log keeps it, without the rows of some tables; none where nothing is.
pub(crate) fn cut_tables(signal: Signal, logged: Bytes, gone: &[Table]) -> Option<Bytes> {
    if gone.is_empty() {
        return Some(logged);
    }
    if gone.len() == signal.tables().len() {
        return None;
    }
    let received = otlake_decode::as_received(&logged);
    let part = slice::of(&received).map_or(received, |(_, part)| part);
    otlake_route::without_tables(&part, gone)
}
