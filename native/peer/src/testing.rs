//! What the tests share: nodes on free ports of the loopback, and services of all kinds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::{Code, Error, Metrics, Result, SystemClock};
use tokio::sync::Semaphore;

use crate::config::Pace;
use crate::{Incoming, Outgoing, PeerConfig, Peers, Service, Services, StreamService};

pub const SECRET: [u8; 32] = [7; 32];
pub const SOON: Duration = Duration::from_secs(20);
/// For calls that are held for as long as the test does other things, whatever the machine's pace.
pub const HELD: Duration = Duration::from_secs(600);

/// Times that any machine keeps, for tests that are not about them.
fn patient() -> Pace {
    Pace {
        dial: HELD,
        handshake: HELD,
        open: HELD,
        keepalive_timeout: HELD,
        ..Pace::default()
    }
}

/// Times that a test can wait for, and a busy machine keep.
pub fn impatient() -> Pace {
    Pace {
        dial: Duration::from_secs(2),
        keepalive_interval: Duration::from_millis(100),
        keepalive_timeout: Duration::from_secs(2),
        ..Pace::default()
    }
}

pub fn config(name: &str) -> PeerConfig {
    PeerConfig {
        name: name.into(),
        cluster: "test".into(),
        listen: ([127, 0, 0, 1], 0).into(),
        secret: Some(SECRET),
    }
}

pub struct Node {
    pub peers: Arc<Peers>,
    pub metrics: Arc<Metrics>,
    pub hands: Arc<Hands>,
}

impl Node {
    pub async fn start(config: PeerConfig) -> Node {
        Self::start_at(config, patient()).await
    }

    pub async fn start_at(config: PeerConfig, pace: Pace) -> Node {
        let metrics = Arc::new(Metrics::strict());
        let hands = Arc::new(Hands::default());
        let mut services = Services::new();
        services.register("echo", Arc::new(Echo));
        services.register("refuse", Arc::new(Refuse));
        services.register("wait", Arc::new(Wait(hands.clone())));
        services.register_stream("echo", Arc::new(Echo));
        services.register_stream("hold", Arc::new(Hold(hands.clone())));
        services.register_stream("count", Arc::new(Count));
        services.register_stream("pour", Arc::new(Pour(hands.clone())));
        let peers = Peers::start_at(
            config,
            services,
            Arc::new(SystemClock),
            metrics.clone(),
            pace,
        );
        Node {
            peers: peers.await.unwrap(),
            metrics,
            hands,
        }
    }

    pub fn member(&self) -> (Arc<str>, SocketAddr) {
        (self.peers.name().clone(), self.peers.address())
    }

    pub fn knows(&self, nodes: &[&Node]) {
        self.peers
            .set_members(nodes.iter().map(|node| node.member()).collect());
    }

    pub async fn echo(&self, to: &Node, bytes: Bytes) -> Result<Bytes> {
        self.peers.call(to.peers.name(), "echo", bytes, SOON).await
    }

    pub fn refused(&self, reason: &'static str) -> u64 {
        let labels = vec![("reason", reason)];
        self.metrics.peers.refused.get_or_create(&labels).get()
    }
}

/// Two nodes that know each other.
pub async fn pair() -> (Node, Node) {
    let (a, b) = (
        Node::start(config("a")).await,
        Node::start(config("b")).await,
    );
    a.knows(&[&a, &b]);
    b.knows(&[&a, &b]);
    (a, b)
}

/// Waits until something that is to happen soon has happened.
pub async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// What a test holds of the services it called.
pub struct Hands {
    /// Work that has begun.
    pub begun: AtomicUsize,
    /// Work that was dropped or has ended.
    pub ended: AtomicUsize,
    /// What lets those who wait go on, each with one permit.
    pub go: Semaphore,
}

impl Default for Hands {
    fn default() -> Self {
        Hands {
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            go: Semaphore::new(0),
        }
    }
}

impl Hands {
    fn begin(&self) -> Working<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Working(self)
    }

    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

struct Working<'a>(&'a Hands);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Answers what it is asked; sends back what it is sent, the head first.
struct Echo;

#[async_trait]
impl Service for Echo {
    async fn call(&self, _from: Arc<str>, request: Bytes) -> Result<Bytes> {
        Ok(request)
    }
}

#[async_trait]
impl StreamService for Echo {
    async fn serve(
        &self,
        _from: Arc<str>,
        head: Bytes,
        mut incoming: Incoming,
        mut outgoing: Outgoing,
    ) -> Result<()> {
        outgoing.send(head).await?;
        while let Some(message) = incoming.next().await? {
            outgoing.send(message).await?;
        }
        Ok(())
    }
}

/// Refuses with the code that it is told, and a message that is hard to carry.
struct Refuse;

pub const HARD: &str = "what: µ \u{1f980}\nand \u{7f} more";
pub const CARRIED: &str = "what: µ \u{1f980} and   more";

#[async_trait]
impl Service for Refuse {
    async fn call(&self, _from: Arc<str>, request: Bytes) -> Result<Bytes> {
        let code = std::str::from_utf8(&request).ok().and_then(Code::from_name);
        Err(Error::new(code.unwrap(), HARD))
    }
}

/// Answers when it may.
struct Wait(Arc<Hands>);

#[async_trait]
impl Service for Wait {
    async fn call(&self, _from: Arc<str>, request: Bytes) -> Result<Bytes> {
        let _working = self.0.begin();
        self.0.go.acquire().await.unwrap().forget();
        Ok(request)
    }
}

/// Takes a message whenever it may, and answers with the last one's length.
struct Hold(Arc<Hands>);

#[async_trait]
impl StreamService for Hold {
    async fn serve(
        &self,
        _from: Arc<str>,
        _head: Bytes,
        mut incoming: Incoming,
        mut outgoing: Outgoing,
    ) -> Result<()> {
        let _working = self.0.begin();
        loop {
            self.0.go.acquire().await.unwrap().forget();
            let Some(message) = incoming.next().await? else {
                return Ok(());
            };
            let length = (message.len() as u64).to_le_bytes();
            outgoing.send(Bytes::copy_from_slice(&length)).await?;
        }
    }
}

/// Takes all there is, then says how much that was, and fails.
struct Count;

#[async_trait]
impl StreamService for Count {
    async fn serve(
        &self,
        _from: Arc<str>,
        _head: Bytes,
        mut incoming: Incoming,
        mut outgoing: Outgoing,
    ) -> Result<()> {
        let mut bytes = 0u64;
        while let Some(message) = incoming.next().await? {
            bytes += message.len() as u64;
        }
        outgoing
            .send(Bytes::copy_from_slice(&bytes.to_le_bytes()))
            .await?;
        Err(Error::new(Code::LogFull, "counted"))
    }
}

/// Sends its head again and again, until nobody takes it.
struct Pour(Arc<Hands>);

#[async_trait]
impl StreamService for Pour {
    async fn serve(
        &self,
        _from: Arc<str>,
        head: Bytes,
        incoming: Incoming,
        mut outgoing: Outgoing,
    ) -> Result<()> {
        let _working = self.0.begin();
        drop(incoming);
        loop {
            outgoing.send(head.clone()).await?;
        }
    }
}
