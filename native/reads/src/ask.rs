//! Asks other nodes for their live batches, within limits of time and bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use futures::StreamExt;
use otlake_base::limits::{GATHER_BYTES, GATHERED_BYTES};
use otlake_base::metrics::Gauge;
use otlake_base::{Code, Error, Metrics, Position, Result, StreamId, Table};
use otlake_decode::schema;
use prost::Message as _;

use crate::port::LivePort;
use crate::source::Cluster;
use crate::wire::{BatchReader, Part, Request, malformed};

/// Memory for other nodes' rows.
#[derive(Debug, Default)]
pub(crate) struct Room {
    used: AtomicUsize,
}

/// What one read has of it; given back when the read is over.
#[derive(Debug)]
pub(crate) struct Taken {
    room: Arc<Room>,
    bytes: AtomicUsize,
    gauge: Gauge,
}

impl Room {
    /// Nothing yet.
    pub(crate) fn enter(self: &Arc<Room>, metrics: &Metrics) -> Arc<Taken> {
        Arc::new(Taken {
            room: Arc::clone(self),
            bytes: AtomicUsize::new(0),
            gauge: metrics.gathered_bytes.clone(),
        })
    }
}

impl Taken {
    /// Takes so many bytes more.
    fn take(&self, bytes: usize) -> Result<()> {
        let own = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.room.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.gauge.inc_by(bytes as i64);
        let limit = match (own > GATHER_BYTES, all > GATHERED_BYTES) {
            (true, _) => GATHER_BYTES,
            (_, true) => GATHERED_BYTES,
            _ => return Ok(()),
        };
        let message = format!(
            "rows of other nodes that are in no file yet need more than {limit} bytes: narrow the \
             time or the columns"
        );
        Err(Error::new(Code::QueryMemory, message))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.room.used.fetch_sub(bytes, Ordering::Relaxed);
        self.gauge.dec_by(bytes as i64);
    }
}

/// A batch of another node.
pub(crate) struct Rows {
    pub(crate) position: Position,
    pub(crate) tenant: Arc<str>,
    pub(crate) batch: RecordBatch,
}

/// What a node answered.
pub(crate) struct Answer {
    /// The table's version that holds what it does not send any more.
    pub(crate) version: i64,
    /// The streams that it answers for, and the last record of each.
    pub(crate) whole: HashMap<StreamId, u64>,
    pub(crate) rows: Vec<Rows>,
}

/// Asks one node.
///
/// # Errors
/// `QUERY_MEMORY`, which ends the read; anything else means that the node has not answered.
pub(crate) async fn ask(
    cluster: &Cluster,
    node: &str,
    table: Table,
    request: &Request,
    taken: &Taken,
) -> Result<Answer> {
    let answer = read(&*cluster.port, node, table, request, taken);
    let answer = tokio::time::timeout(cluster.patience.answer, answer).await;
    answer.unwrap_or_else(|_| {
        let waited = cluster.patience.answer.as_millis();
        let message = format!("it did not answer within {waited} ms");
        Err(Error::new(Code::QueryIncomplete, message))
    })
}

async fn read(
    port: &dyn LivePort,
    node: &str,
    table: Table,
    request: &Request,
    taken: &Taken,
) -> Result<Answer> {
    let mut messages = port.live(node, request.encode_to_vec().into()).await?;
    let mut reader = BatchReader::new(schema::schema(table));
    let mut answer: Option<Answer> = None;
    let mut batches = 0;
    while let Some(message) = messages.next().await {
        match (Part::read(message?)?, &mut answer) {
            (Part::Head(head), None) => {
                let places = head.whole.iter().map(|place| {
                    let place = place.position()?;
                    Ok((place.stream, place.sequence))
                });
                answer = Some(Answer {
                    version: head.version,
                    whole: places.collect::<Result<_>>()?,
                    rows: Vec::new(),
                });
            }
            (Part::Batch(batch), Some(answer)) => {
                let place = batch.place.ok_or_else(|| malformed("no position"))?;
                let rows = reader.read(batch.ipc)?;
                taken.take(rows.get_array_memory_size())?;
                batches += 1;
                answer.rows.push(Rows {
                    position: place.position()?,
                    tenant: batch.tenant.into(),
                    batch: rows,
                });
            }
            (Part::End(end), Some(_)) if end.batches == batches => {
                return answer.ok_or_else(|| malformed("no head"));
            }
            _ => return Err(malformed("parts in another order")),
        }
    }
    let message = "its answer was cut off";
    Err(Error::new(Code::QueryIncomplete, message))
}
