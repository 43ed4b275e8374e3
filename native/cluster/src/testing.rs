//! Nodes of one process: each with its own storage, its part of the metadata group and its socket on
//! 127.0.0.1, all on one folder of tables. A test says who is taken for alive, as TypeScript would.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use otlake_base::disk::real;
use otlake_base::error::Kind;
use otlake_base::{
    Capture, Clock, Code, Consistency, Metrics, Result, Signal, StreamId, SystemClock, Table,
    Wanted,
};
use otlake_processor::{Processor, ProcessorConfig};
use otlake_reads::Reads;
use otlake_receive::Ack;
use otlake_replicate::{Quorum, Quorums};
use otlake_route::SHARDS;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{Cluster, ClusterConfig, ClusterView, RecoveryReport, ViewMember};

/// The time of record 0, in ns: 2026-01-01.
pub(crate) const EPOCH: u64 = 1_767_225_600_000_000_000;
/// How long anything is waited for: a loaded machine may elect leaders again and again.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);

/// The names of the nodes.
pub(crate) const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// As the defaults; and an owner that is cut off goes on acknowledging log records alone for long.
pub(crate) const LOGS_ALONE: [Quorum; 3] = [
    Quorum::DEFAULTS[0],
    Quorum::DEFAULTS[1],
    Quorum {
        copies: 2,
        acks: 1,
        timeout: Duration::from_secs(600),
    },
];

/// A node that runs.
pub(crate) struct Node {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) processor: Arc<Processor>,
    reads: Arc<Reads>,
}

pub(crate) struct Nodes {
    root: TempDir,
    quorums: Quorums,
    running: BTreeMap<&'static str, Node>,
    /// Where each listens, or has listened.
    addresses: BTreeMap<&'static str, SocketAddr>,
    /// Nodes that are cut off from all others.
    parted: BTreeSet<&'static str>,
    /// Those of them that have not noticed.
    unaware: BTreeSet<&'static str>,
    /// Who owns every shard.
    pub(crate) owner: &'static str,
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

/// Tries until it succeeds, as whoever is told to try again does.
pub(crate) async fn retried<T, F: Future<Output = Result<T>>>(mut attempt: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unavailable, "{error}");
                assert!(Instant::now() < deadline, "it is refused still: {error}");
            }
        }
        sleep(LOOK).await;
    }
}

/// An address at which nobody listens.
fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

impl Nodes {
    /// Three nodes, ready to take requests, all of which `n1` owns.
    pub(crate) async fn start(quorums: impl Into<Quorums>) -> Nodes {
        let mut nodes = Nodes {
            root: TempDir::new().expect("a folder"),
            quorums: quorums.into(),
            running: BTreeMap::new(),
            addresses: BTreeMap::new(),
            parted: BTreeSet::new(),
            unaware: BTreeSet::new(),
            owner: "n1",
        };
        for name in NODES {
            nodes.run(name).await;
        }
        nodes["n1"].cluster.bootstrap().await.expect("a first node");
        nodes.place();
        for name in NODES {
            nodes.ready(name).await;
        }
        eventually("all nodes vote", || async {
            let metadata = nodes["n3"].cluster.metadata();
            let voters = metadata["voters"].as_array().map_or(0, Vec::len);
            voters == NODES.len() && metadata["learners"].as_array().is_none_or(Vec::is_empty)
        })
        .await;
        nodes
    }

    async fn ready(&self, name: &str) {
        let ready = tokio::time::timeout(PATIENCE, self[name].cluster.ready());
        ready.await.expect("in time").expect("it is open");
    }

    /// Starts a node, anew with what its folder holds.
    async fn run(&mut self, name: &'static str) {
        let folder = self.root.path().join(name);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::strict());
        let open = || {
            let config = ProcessorConfig {
                tables_dir: Some(self.root.path().join("tables")),
                leave_earlier: true,
                flush_interval_ms: 3_600_000,
                ..ProcessorConfig::new(&folder)
            };
            let (clock, metrics) = (Arc::clone(&clock), Arc::clone(&metrics));
            async move {
                // The process before may be about to let go of the folder.
                match Processor::open(config, clock, metrics).await {
                    Err(error) if error.code == Code::NodeDirectoryLocked => Ok(None),
                    outcome => outcome.map(Some),
                }
            }
        };
        let mut processor = None;
        let deadline = Instant::now() + PATIENCE;
        while processor.is_none() {
            assert!(Instant::now() < deadline, "{name}: its folder is locked");
            processor = open().await.expect("the node opens");
            sleep(LOOK).await;
        }
        let processor = processor.expect("it is open");
        let reads = Reads::new(
            Arc::clone(processor.live()),
            processor.tables().clone(),
            Arc::clone(&metrics),
        );
        let config = ClusterConfig {
            name: name.into(),
            cluster: "test".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            secret: Some([7; 32]),
            quorums: self.quorums.clone(),
            allow_degraded: false,
            data_dir: folder,
            disk: real(),
            files: None,
        };
        let cluster = Cluster::start(
            config,
            Arc::clone(&processor),
            Arc::clone(&reads),
            Vec::new(),
            (clock, metrics),
        );
        let cluster = cluster.await.expect("it joins");
        self.addresses.insert(name, cluster.address());
        let node = Node {
            cluster,
            processor,
            reads,
        };
        self.running.insert(name, node);
    }

    /// Tells every node who is there and who owns what.
    pub(crate) fn place(&self) {
        for (name, node) in &self.running {
            node.cluster.place(self.view(name)).expect("a view");
        }
    }

    /// Who is there and who owns what, as a node sees it.
    fn view(&self, name: &str) -> ClusterView {
        let reaches = |other: &str| {
            other == name || !(self.parted.contains(name) || self.parted.contains(other))
        };
        let members = NODES.map(|other| {
            let is_reached = self.running.contains_key(other) && reaches(other);
            ViewMember {
                name: other.into(),
                address: match is_reached {
                    true => self.addresses[other],
                    false => nowhere(),
                },
                alive: is_reached || self.unaware.contains(name),
                queries: true,
            }
        });
        let others = members
            .iter()
            .filter(|member| member.alive && *member.name != *name);
        let others: Vec<Arc<str>> = others.map(|member| Arc::clone(&member.name)).collect();
        let owner: Arc<str> = self.owner.into();
        ClusterView {
            followers: [others.clone(), others.clone(), others],
            owners: SHARDS.map(|shards| vec![Arc::clone(&owner); shards]),
            voters: NODES.map(Arc::from).into(),
            members: members.into(),
            rules: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Has a node take another for dead that runs, whether it reaches it or not, until `place`.
    pub(crate) fn mistake(&self, name: &str, other: &str, reaches: bool) {
        let mut view = self.view(name);
        let members = view.members.iter_mut();
        for member in members.filter(|member| *member.name == *other) {
            member.alive = false;
            if !reaches {
                member.address = nowhere();
            }
        }
        self[name].cluster.place(view).expect("a view");
    }

    /// Ends a node as a crash does, and has the others know.
    pub(crate) async fn vanish(&mut self, name: &str) {
        let node = self.running.remove(name).expect("it runs");
        node.cluster.close().await.expect("its journal ends");
        drop(node);
        self.heal(name);
    }

    /// Starts a node again that has vanished.
    pub(crate) async fn come_back(&mut self, name: &'static str) {
        self.run(name).await;
        self.place();
        self.ready(name).await;
    }

    /// Cuts a node off from all others, each of which takes the other for dead.
    pub(crate) fn part(&mut self, name: &'static str) {
        self.parted.insert(name);
        self.place();
    }

    /// Cuts a node off from all others, which take it for dead; it does not know yet.
    pub(crate) fn part_unaware(&mut self, name: &'static str) {
        self.unaware.insert(name);
        self.part(name);
    }

    /// Ends what cuts a node off.
    pub(crate) fn heal(&mut self, name: &str) {
        self.parted.remove(name);
        self.unaware.remove(name);
        self.place();
    }

    /// Sends a request to a node, once.
    pub(crate) async fn send(&self, at: &str, signal: Signal, body: Bytes) -> Result<Ack> {
        self.send_for("default", at, signal, body).await
    }

    /// The same for another tenant.
    pub(crate) async fn send_for(
        &self,
        tenant: &str,
        at: &str,
        signal: Signal,
        body: Bytes,
    ) -> Result<Ack> {
        let gateway = self[at].cluster.gateway();
        gateway
            .ingest(signal, tenant.into(), "library", 1, body)
            .await
    }

    /// Sends it until it is taken.
    pub(crate) async fn deliver(&self, at: &str, signal: Signal, body: Bytes) -> Ack {
        retried(|| self.send(at, signal, body.clone())).await
    }

    /// Recovers a stream, however often that takes.
    pub(crate) async fn recover(&self, at: &str, stream: StreamId) -> RecoveryReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = retried(|| self[at].cluster.recover(stream)).await;
            if report.complete {
                return report;
            }
            assert!(Instant::now() < deadline, "it lacks {:?}", report.missing);
            sleep(LOOK).await;
        }
    }

    /// The numbers of a table's records that a read at `strong` sees, each as often as it is there.
    pub(crate) async fn strong(&self, at: &str, table: Table) -> BTreeMap<u64, usize> {
        let (consistency, wanted) = (Consistency::Strong, Wanted::default());
        let source = self[at].reads.sources().swap_remove(table as usize);
        numbers(
            table,
            &retried(|| source.gather(&consistency, &wanted)).await,
        )
    }

    /// Those that are in files.
    pub(crate) async fn in_files(&self, at: &str, table: Table) -> BTreeMap<u64, usize> {
        let handle = self[at].processor.tables().handle(table);
        let snapshot = handle.refresh().await.expect("a look");
        let files = Arc::clone(&snapshot.files);
        numbers(
            table,
            &Capture::new(Vec::new(), files, snapshot.root.clone()),
        )
    }

    /// Waits until every copy of what a node took is where it belongs.
    pub(crate) async fn copied(&self, at: &str) {
        eventually("all copies are made", || async {
            let status = self[at].cluster.status();
            let followers = status["followers"].as_array().expect("a list");
            let lags = |follower: &serde_json::Value| follower["lagRecords"] != 0;
            status["pending"] == 0 && !followers.is_empty() && !followers.iter().any(lags)
        })
        .await;
    }

    /// Where a stream stands; empty where the group has forgotten it.
    pub(crate) fn state_of(&self, at: &str, stream: StreamId) -> String {
        let metadata = self[at].cluster.metadata();
        let streams = metadata["streams"].as_array().expect("a list");
        let is_it = |known: &&serde_json::Value| known["stream"] == stream.to_string();
        let found = streams.iter().find(is_it);
        let state = found.and_then(|found| found["state"].as_str());
        state.unwrap_or_default().to_owned()
    }
}

fn numbers(table: Table, capture: &Capture) -> BTreeMap<u64, usize> {
    let mut batches: Vec<RecordBatch> =
        capture.live.iter().map(|live| live.batch.clone()).collect();
    for file in capture.files.iter() {
        let file = File::open(capture.root.join(&file.path)).expect("a file of the snapshot");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        let reader = reader.build().expect("a reader");
        batches.extend(reader.map(|batch| batch.expect("a batch")));
    }
    let mut numbers = BTreeMap::new();
    for batch in batches {
        let times = batch.column_by_name(table.time_column());
        let times = times.expect("the time column").as_primitive::<Int64Type>();
        for time in times.values() {
            *numbers.entry(*time as u64 - EPOCH).or_insert(0) += 1;
        }
    }
    numbers
}

/// Each of these, once.
pub(crate) fn once(numbers: std::ops::Range<u64>) -> BTreeMap<u64, usize> {
    numbers.map(|number| (number, 1)).collect()
}
