//! Nodes of one process: each with its own folder, its part of the metadata group and its socket on
//! 127.0.0.1. A test says who is taken for alive, as TypeScript would.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use otlake_base::disk::real;
use otlake_base::{Metrics, SystemClock};
use otlake_bucket::Bucket;
use otlake_consensus::{Doors, MetadataConfig, MetadataGroup, PeerWire};
use otlake_peer::{PeerConfig, Peers, Services};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::store::Store;
use crate::{FILES, Files, FilesLink, FilesPace, FilesService, FilesView};

/// How long anything is waited for: a loaded machine may elect leaders again and again.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(30);

pub(crate) const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// Fast enough for a test to wait for.
pub(crate) const PACE: FilesPace = FilesPace {
    retry: Duration::from_millis(50),
    offer: Duration::from_millis(100),
    offer_all: Duration::from_millis(400),
    extra: Duration::from_secs(600),
    staged: Duration::from_secs(3600),
};

pub(crate) struct Node {
    pub(crate) files: Arc<Files>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) group: Arc<MetadataGroup>,
    pub(crate) folder: PathBuf,
}

/// Asks again while the metadata group has no leader, as whoever is told to try again does. A name
/// that was given all the same is told as given to this content.
async fn led<T, F: Future<Output = object_store::Result<T>>>(
    mut attempt: impl FnMut() -> F,
) -> object_store::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(error)
                if format!("{error:?}").contains("MetadataUnavailable")
                    && Instant::now() < deadline => {}
            outcome => return outcome,
        }
        sleep(LOOK).await;
    }
}

impl Node {
    pub(crate) async fn put(&self, key: &str, bytes: impl Into<Bytes>) -> object_store::Result<()> {
        let (at, bytes) = (Path::from(key), bytes.into());
        let put = || self.store.put(&at, PutPayload::from(bytes.clone()));
        led(put).await.map(drop)
    }

    pub(crate) async fn create(&self, key: &str, bytes: &str) -> object_store::Result<()> {
        let at = Path::from(key);
        let put = || {
            let payload = PutPayload::from(bytes.to_owned());
            self.store.put_opts(&at, payload, PutMode::Create.into())
        };
        led(put).await.map(drop)
    }

    pub(crate) async fn get(&self, key: &str) -> object_store::Result<Bytes> {
        let at = Path::from(key);
        led(|| async { self.store.get(&at).await?.bytes().await }).await
    }

    pub(crate) async fn delete(&self, key: &str) -> object_store::Result<()> {
        let at = Path::from(key);
        led(|| self.store.delete(&at)).await
    }

    /// Keys with their lengths.
    pub(crate) async fn list(&self, prefix: &str) -> BTreeMap<String, u64> {
        let below = Path::from(prefix);
        let listed = led(|| self.store.list(Some(&below)).try_collect::<Vec<_>>()).await;
        let named = listed.expect("a listing").into_iter();
        named
            .map(|meta| (meta.location.to_string(), meta.size))
            .collect()
    }

    /// Where this node's own copy of a file is.
    pub(crate) fn copy(&self, key: &str) -> PathBuf {
        self.folder.join("files/tables").join(key)
    }
}

pub(crate) struct Nodes {
    root: TempDir,
    names: Vec<&'static str>,
    running: BTreeMap<&'static str, Node>,
    addresses: BTreeMap<&'static str, SocketAddr>,
    pub(crate) pace: FilesPace,
}

impl std::ops::Index<&str> for Nodes {
    type Output = Node;

    fn index(&self, name: &str) -> &Node {
        &self.running[name]
    }
}

/// Waits until it is so.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "it never came to pass: {what}");
        sleep(LOOK).await;
    }
}

fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

impl Nodes {
    /// Three nodes that have joined.
    pub(crate) async fn start() -> Nodes {
        Self::start_at(PACE).await
    }

    pub(crate) async fn start_at(pace: FilesPace) -> Nodes {
        let mut nodes = Nodes {
            root: TempDir::new().expect("a folder"),
            names: NODES.into(),
            running: BTreeMap::new(),
            addresses: BTreeMap::new(),
            pace,
        };
        for name in NODES {
            nodes.run(name).await;
        }
        nodes["n1"].group.bootstrap().await.expect("a group");
        nodes.place();
        nodes.joined().await;
        // Whoever begins the group votes alone at first: nobody could take over from it.
        eventually("all vote", || async {
            let votes = |node: &Node| node.group.status().voters.len() == NODES.len();
            nodes.running().all(votes)
        })
        .await;
        nodes
    }

    /// Waits until all that run have joined.
    pub(crate) async fn joined(&self) {
        for (name, node) in &self.running {
            let joined = node.files.joined();
            eventually(&format!("{name} joins"), || async { *joined.borrow() }).await;
        }
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Starts a node with what its folder holds; others do not know yet.
    pub(crate) async fn run(&mut self, name: &'static str) {
        let folder = self.folder(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::strict()));
        let files = Files::open(real(), &folder, self.pace, clock.clone(), metrics.clone());
        let files = files.expect("the files open");
        let bucket = Arc::new(files.mounted(&folder).expect("a mount"));
        let doors = Doors::default();
        let mut services = Services::new();
        doors.register(&mut services);
        services.register(FILES, Arc::new(FilesService::new(&files)));
        let config = PeerConfig {
            name: name.into(),
            cluster: "test".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            secret: Some([7; 32]),
        };
        let peers = Peers::start(config, services, clock.clone(), metrics.clone()).await;
        let peers = peers.expect("it listens");
        let wire = Arc::new(PeerWire::new(Arc::clone(&peers)));
        let metadata = MetadataConfig::new(name, folder.join("metadata"));
        let group =
            MetadataGroup::start(metadata, wire.clone(), &doors, clock, metrics.clone()).await;
        let group = group.expect("its part of the group");
        files.join(FilesLink {
            name: name.into(),
            wire,
            group: group.clone(),
            copies: [3, 2, 2],
            allow_degraded: false,
        });
        self.addresses.insert(name, peers.address());
        let node = Node {
            store: Arc::new(Store(Arc::clone(&files))),
            files,
            bucket,
            metrics,
            peers,
            group,
            folder,
        };
        self.running.insert(name, node);
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    /// Tells every node who is there.
    pub(crate) fn place(&self) {
        let is_there = |name: &str| self.running.contains_key(name);
        let members: Vec<(Arc<str>, bool)> = self
            .names
            .iter()
            .map(|name| (Arc::from(*name), is_there(name)))
            .collect();
        let voters: Vec<Arc<str>> = NODES.map(Arc::from).into();
        let learners: Vec<Arc<str>> = self
            .names
            .iter()
            .filter(|name| !NODES.contains(name))
            .map(|name| Arc::from(*name))
            .collect();
        for (name, node) in &self.running {
            let others = self.names.iter().filter(|other| *other != name);
            let others = others.map(|other| {
                let at = self.running.get(other).map(|_| self.addresses[other]);
                (Arc::from(*other), at.unwrap_or_else(nowhere))
            });
            node.peers.set_members(others.collect());
            let voting = node.group.set_voters(&voters, Some(&learners));
            voting.expect("a good wish");
            node.files.place(FilesView {
                members: members.clone(),
                slots: Vec::new(),
            });
        }
    }

    /// Ends a node as a crash does, and has the others know.
    pub(crate) async fn stop(&mut self, name: &str) {
        let node = self.running.remove(name).expect("it runs");
        node.files.leave();
        node.peers.close().await;
        node.group.close().await;
        drop(node);
        self.place();
    }

    /// Starts a node again, and has the others know.
    pub(crate) async fn come_back(&mut self, name: &'static str) {
        self.run(name).await;
        self.place();
        self.joined().await;
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Node> {
        self.running.values()
    }
}

/// A commit's key.
pub(crate) fn commit(version: u64) -> String {
    format!("spans/_delta_log/{version:020}.json")
}

/// So many bytes that differ from place to place.
pub(crate) fn bytes(count: usize) -> Bytes {
    (0..count).map(|at| (at * 7 % 251) as u8).collect()
}
