//! What the tests of lanes share: two nodes, of which one owns everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use otlake_base::{Code, Error, Metrics, Result, Signal, SystemClock};
use otlake_peer::{Incoming, Outgoing, PeerConfig, Peers, Service, Services, StreamService};
use otlake_receive::{Ack, Ingest};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::bundle::{self, Answer};
use crate::lane::Lanes;
use crate::parcel::{head, read_answer, write_answer};
use crate::{INGEST, IngestService, SLICES};

/// Bytes of a body that are kept.
const KEPT: usize = 64;

/// What the owner was given: signal, tenant, connection, the beginning of the body.
pub type Given = (Signal, Arc<str>, u64, Bytes);

/// An owner that stores when it may. Bodies say what is to become of them: `refuse CODE` is refused,
/// `free` waits for nobody.
pub struct Owner {
    pub given: Mutex<Vec<Given>>,
    pub go: Semaphore,
    pub ended: AtomicUsize,
}

struct Working<'a>(&'a AtomicUsize);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Ingest for Owner {
    fn ingest(
        &self,
        signal: Signal,
        tenant: Arc<str>,
        _: &'static str,
        connection: u64,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Ack>> {
        async move {
            let _working = Working(&self.ended);
            let kept = Bytes::copy_from_slice(&body[..body.len().min(KEPT)]);
            let given = (signal, tenant, connection, kept);
            self.given.lock().push(given);
            if !body.starts_with(b"free") {
                self.go.acquire().await.unwrap().forget();
            }
            if let Some(code) = body.strip_prefix(b"refuse ") {
                let code = Code::from_name(std::str::from_utf8(code).unwrap()).unwrap();
                return Err(Error::new(code, "told to refuse"));
            }
            Ok(Ack {
                accepted: body.len() as u64,
                ..Ack::default()
            })
        }
        .boxed()
    }
}

impl Owner {
    /// What it was given so far.
    pub fn given(&self) -> usize {
        self.given.lock().len()
    }

    /// What of that was answered or dropped.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

pub struct Node {
    pub peers: Arc<Peers>,
    pub lanes: Arc<Lanes>,
    pub owner: Arc<Owner>,
    pub metrics: Arc<Metrics>,
    /// Calls with slices that were served.
    pub calls: Arc<AtomicUsize>,
}

/// Counts what comes by calls.
struct Counted(Arc<IngestService>, Arc<AtomicUsize>);

#[async_trait]
impl Service for Counted {
    async fn call(&self, from: Arc<str>, request: Bytes) -> Result<Bytes> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Service::call(&*self.0, from, request).await
    }
}

/// Ends each stream at its first message.
struct Ends;

#[async_trait]
impl StreamService for Ends {
    async fn serve(
        &self,
        _: Arc<str>,
        _: Bytes,
        mut incoming: Incoming,
        _: Outgoing,
    ) -> Result<()> {
        let message = incoming.next().await?.unwrap_or_default();
        assert!(!bundle::read(message)?.is_empty());
        Err(Error::new(Code::Internal, "it broke"))
    }
}

/// Bytes in front of each slice of these tests.
pub const HEAD: usize = 3 + "default".len() + 8;

pub type Recorded = Arc<Mutex<Vec<Vec<Bytes>>>>;

/// Keeps what each message has, and answers all of it, the last first.
struct Records(Recorded);

#[async_trait]
impl StreamService for Records {
    async fn serve(
        &self,
        _: Arc<str>,
        _: Bytes,
        mut incoming: Incoming,
        mut outgoing: Outgoing,
    ) -> Result<()> {
        while let Some(message) = incoming.next().await? {
            let slices = bundle::read(message)?;
            let stored = write_answer(&Ack::default());
            let answers = slices.iter().rev();
            let answers: Vec<Answer> = answers
                .map(|(number, _)| (*number, Ok(stored.clone())))
                .collect();
            outgoing.send(bundle::write_answers(&answers)).await?;
            let slices = slices.into_iter().map(|(_, slice)| slice);
            self.0.lock().push(slices.collect());
        }
        Ok(())
    }
}

pub enum Streams {
    Served,
    Recorded(Recorded),
    /// As in a release that knows none.
    Unknown,
    Broken,
}

impl Node {
    pub async fn start(name: &str, streams: Streams) -> Node {
        let config = PeerConfig {
            name: name.into(),
            cluster: "test".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            secret: None,
        };
        let owner = Arc::new(Owner {
            given: Mutex::default(),
            go: Semaphore::new(0),
            ended: AtomicUsize::new(0),
        });
        let calls = Arc::new(AtomicUsize::new(0));
        let service = IngestService::new(owner.clone());
        let mut services = Services::new();
        let counted = Counted(service.clone(), calls.clone());
        services.register(INGEST, Arc::new(counted));
        match streams {
            Streams::Served => services.register_stream(SLICES, service),
            Streams::Recorded(to) => services.register_stream(SLICES, Arc::new(Records(to))),
            Streams::Unknown => {}
            Streams::Broken => services.register_stream(SLICES, Arc::new(Ends)),
        }
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::strict()));
        let peers = Peers::start(config, services, clock.clone(), metrics.clone());
        let peers = peers.await.unwrap();
        Node {
            lanes: Arc::new(Lanes::new(peers.clone(), clock, metrics.clone())),
            peers,
            owner,
            metrics,
            calls,
        }
    }

    pub async fn send_as(&self, signal: Signal, tenant: &str, body: &[u8]) -> Result<Ack> {
        let slice = [&head(signal, tenant, "grpc", 7), body].concat();
        let to: Arc<str> = "b".into();
        let answered = self.lanes.send(&to, slice.into()).await;
        answered.and_then(read_answer)
    }

    pub async fn send(&self, body: &[u8]) -> Result<Ack> {
        self.send_as(Signal::Traces, "default", body).await
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Messages with slices that were sent to `b`.
    pub fn messages(&self) -> u64 {
        let labels = vec![("peer", "b".to_owned())];
        let messages = self.metrics.peers.slice_messages.get_or_create(&labels);
        messages.get()
    }
}

pub async fn pair(streams: Streams) -> (Arc<Node>, Node) {
    let a = Node::start("a", Streams::Served).await;
    let b = Node::start("b", streams).await;
    let of = |node: &Node| (node.peers.name().clone(), node.peers.address());
    for node in [&a, &b] {
        node.peers.set_members(vec![of(&a), of(&b)]);
    }
    (Arc::new(a), b)
}

pub async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// Sends so many slices, each on a task of its own, one after the other; gives their answers.
pub async fn sends(
    node: &Arc<Node>,
    count: usize,
    body: impl Fn(usize) -> Vec<u8>,
) -> Vec<tokio::task::JoinHandle<Result<Ack>>> {
    let mut sent = Vec::new();
    for number in 0..count {
        let (node, body) = (node.clone(), body(number));
        sent.push(tokio::spawn(async move { node.send(&body).await }));
        tokio::task::yield_now().await;
    }
    sent
}
