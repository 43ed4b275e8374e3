//! The owner's side: slices that other nodes send, alone by calls and together on streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use otlake_base::{Code, Error, Result};
use otlake_peer::{Incoming, Outgoing, Service, StreamService};
use otlake_receive::Ingest;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bundle::{self, Answer, BUNDLE_SLICES, Numbered};
use crate::lane::{MAX_SLICES, MAX_SLICES_BYTES, TIMEOUT};
use crate::parcel::{open, write_answer};
use crate::shard::hash;

/// The name that slices are sent to.
pub const INGEST: &str = "ingest";
/// The name of the stream on which slices go together.
pub const SLICES: &str = "slices";

/// Stores the slices that other nodes send, whoever owns them by now.
pub struct IngestService {
    local: Arc<dyn Ingest>,
}

impl IngestService {
    /// Over the node's own storage, never a gateway: a slice is sent once.
    pub fn new(local: Arc<dyn Ingest>) -> Arc<IngestService> {
        Arc::new(IngestService { local })
    }
}

async fn store(local: &dyn Ingest, from: &str, slice: Bytes) -> Result<Bytes> {
    let parcel = open(slice)?;
    // Connections are numbered by each node for itself.
    let connection = hash(from.as_bytes(), parcel.connection);
    let (signal, tenant, transport) = (parcel.signal, parcel.tenant, parcel.transport);
    let stored = local.ingest(signal, tenant, transport, connection, parcel.body);
    Ok(write_answer(&stored.await?))
}

#[async_trait]
impl Service for IngestService {
    async fn call(&self, from: Arc<str>, request: Bytes) -> Result<Bytes> {
        store(&*self.local, &from, request).await
    }
}

#[async_trait]
impl StreamService for IngestService {
    async fn serve(
        &self,
        from: Arc<str>,
        _: Bytes,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> Result<()> {
        let held = Held::default();
        // Slices that are held are bounded, and each has one answer.
        let (sender, answers) = mpsc::unbounded_channel();
        tokio::select! {
            ended = self.receives(&from, incoming, &held, sender) => ended,
            ended = answer(outgoing, &held, answers) => ended,
        }
    }
}

/// What came over one stream and is not answered.
#[derive(Default)]
struct Held {
    slices: AtomicUsize,
    bytes: AtomicUsize,
}

/// An answer, and how many bytes its slice has.
type Answered = (Answer, usize);

impl IngestService {
    /// Takes bundles, each on a task of its own, until the sender has gone. What is under way then is
    /// dropped where it stands, as a call is.
    async fn receives(
        &self,
        from: &Arc<str>,
        mut incoming: Incoming,
        held: &Held,
        answers: mpsc::UnboundedSender<Vec<Answered>>,
    ) -> Result<()> {
        let mut tasks = JoinSet::new();
        loop {
            let message = tokio::select! {
                message = incoming.next() => message?,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    ended.map_err(|error| {
                        Error::new(Code::Internal, format!("storing slices ended: {error}"))
                    })?;
                    continue;
                }
            };
            let Some(message) = message else {
                return Ok(());
            };
            let slices = bundle::read(message)?;
            let bytes = slices.iter().map(|(_, slice)| slice.len()).sum();
            let count = held.slices.fetch_add(slices.len(), Ordering::Relaxed) + slices.len();
            let all = held.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
            if count > MAX_SLICES || all > MAX_SLICES_BYTES {
                let refused = slices.into_iter().map(|(number, slice)| {
                    let message = "too many slices of this node are in flight";
                    let error = Error::new(Code::PeerOverloaded, message);
                    ((number, Err(error)), slice.len())
                });
                let _ = answers.send(refused.collect());
                continue;
            }
            let (local, from) = (Arc::clone(&self.local), Arc::clone(from));
            tasks.spawn(store_all(local, from, slices, answers.clone()));
        }
    }
}

/// Stores the slices of one bundle, and gives each its answer when it is there.
async fn store_all(
    local: Arc<dyn Ingest>,
    from: Arc<str>,
    slices: Vec<Numbered>,
    answers: mpsc::UnboundedSender<Vec<Answered>>,
) {
    let mut open: Vec<(u64, usize)> = Vec::with_capacity(slices.len());
    let under_way = FuturesUnordered::new();
    for (number, slice) in slices {
        let bytes = slice.len();
        open.push((number, bytes));
        let (local, from) = (&*local, &*from);
        under_way.push(async move { ((number, store(local, from, slice).await), bytes) });
    }
    let mut under_way = under_way.ready_chunks(BUNDLE_SLICES);
    let timeout = tokio::time::sleep(TIMEOUT);
    tokio::pin!(timeout);
    loop {
        let answered = tokio::select! {
            answered = under_way.next() => answered,
            () = &mut timeout => {
                // Who asked has been told so, too.
                let late = open.into_iter().map(|(number, bytes)| {
                    let message = format!("a slice was not stored within {TIMEOUT:?}");
                    ((number, Err(Error::new(Code::PeerTimeout, message))), bytes)
                });
                let _ = answers.send(late.collect());
                return;
            }
        };
        let Some(answered) = answered else { return };
        open.retain(|(number, _)| !answered.iter().any(|((of, _), _)| of == number));
        if answers.send(answered).is_err() {
            return;
        }
    }
}

/// Sends answers; those that are there together go together.
async fn answer(
    mut outgoing: Outgoing,
    held: &Held,
    mut answers: mpsc::UnboundedReceiver<Vec<Answered>>,
) -> Result<()> {
    while let Some(mut answered) = answers.recv().await {
        while answered.len() < MAX_SLICES
            && let Ok(more) = answers.try_recv()
        {
            answered.extend(more);
        }
        let count = answered.len();
        let bytes: usize = answered.iter().map(|(_, bytes)| bytes).sum();
        let answered: Vec<Answer> = answered.into_iter().map(|(answer, _)| answer).collect();
        outgoing.send(bundle::write_answers(&answered)).await?;
        held.slices.fetch_sub(count, Ordering::Relaxed);
        held.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
    Ok(())
}
