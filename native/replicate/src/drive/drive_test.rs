use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::{
    Code, Error, Metrics, Position, RealDisk, Result, Signal, StreamId, SystemClock,
};
use otlake_log::{Appender, Durability, Frame, Log, LogConfig, Record};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::memory::MemoryNetwork;
use super::{Link, Recoverer, Registry, ReplicaService, Replicator, ReplicatorConfig, Sink, Wire};
use crate::journal::JournalConfig;
use crate::owner::Proposed;
use crate::recovery::{Recovery, RecoveryConfig};
use crate::testing::{name, names};
use crate::{Ensemble, Ensembles, Quorum, Quorums, Ranges};

/// A tenant whose spans need all three nodes.
const STRICT: &str = "strict";
const OF_STRICT: Quorum = Quorum {
    copies: 3,
    acks: 3,
    timeout: Duration::from_millis(300),
};

/// How long a recovery waits for those that answer, on a busy machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// The metadata group: streams with their epochs and ensembles.
#[derive(Default)]
struct Group(Mutex<HashMap<StreamId, (u64, Ensembles)>>);

#[async_trait]
impl Registry for Group {
    async fn change(&self, stream: StreamId, epoch: u64, ensemble: &Ensemble) -> Result<Proposed> {
        let mut streams = self.0.lock();
        let (known, ensembles) = streams.entry(stream).or_insert((1, Ensembles::default()));
        if *known != epoch {
            return Ok(Proposed::Fenced(*known));
        }
        ensembles.change(ensemble.clone());
        Ok(Proposed::Committed)
    }
}

impl Group {
    fn fence(&self, stream: StreamId) -> (u64, Ensembles) {
        let mut streams = self.0.lock();
        let (epoch, ensembles) = streams.get_mut(&stream).expect("it is registered");
        *epoch += 1;
        (*epoch, ensembles.clone())
    }
}

struct Node {
    name: Arc<str>,
    service: Arc<ReplicaService>,
    log: Arc<Log>,
    replicator: Arc<Replicator>,
    recoverer: Recoverer,
}

fn node(of: &str, dir: &Path, network: &MemoryNetwork, group: &Arc<Group>) -> Node {
    let clock = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new());
    let name = name(of);
    let log_config = LogConfig {
        dir: dir.join("log"),
        segment_bytes: 1 << 16,
        max_bytes: 1 << 26,
        durability: Durability::Fsync,
    };
    let (log, _) = Log::open(log_config, clock.clone(), Arc::clone(&metrics)).unwrap();
    let log = Arc::new(log);
    let journal = JournalConfig {
        segment_bytes: 1 << 16,
        ..JournalConfig::new(dir.join("replica"))
    };
    let service = ReplicaService::open(
        Arc::new(RealDisk),
        journal,
        dir.join("log"),
        clock.clone(),
        Arc::clone(&metrics),
    )
    .unwrap();
    network.join(&name, Arc::clone(&service));
    let config = ReplicatorConfig {
        cache_bytes: 16 * 1024,
        quorums: Quorums::default().with(Signal::Traces, STRICT.into(), OF_STRICT),
        ..ReplicatorConfig::default()
    };
    let replicator = Replicator::start(
        config,
        Arc::clone(&log),
        network.wire(&name),
        Arc::clone(group) as _,
        clock.clone(),
        Arc::clone(&metrics),
    )
    .unwrap();
    service.own(Arc::clone(&replicator));
    let recoverer = Recoverer::new(
        Arc::clone(&name),
        Arc::clone(&service),
        network.wire(&name),
        clock,
        metrics,
    );
    Node {
        name,
        service,
        log,
        replicator,
        recoverer,
    }
}

struct Cluster {
    dirs: Vec<TempDir>,
    network: MemoryNetwork,
    group: Arc<Group>,
    nodes: Vec<Node>,
}

/// Nodes `a`, `b` and `c`, each followed by the others.
async fn cluster() -> Cluster {
    let (network, group) = (MemoryNetwork::default(), Arc::new(Group::default()));
    let dirs: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let all = ["a", "b", "c"];
    let nodes: Vec<Node> = all
        .iter()
        .zip(&dirs)
        .map(|(of, dir)| node(of, dir.path(), &network, &group))
        .collect();
    let cluster = Cluster {
        dirs,
        network,
        group,
        nodes,
    };
    for index in 0..3 {
        let (one, other) = (all[(index + 1) % 3], all[(index + 2) % 3]);
        let followers = [names(&[one, other]), names(&[one]), names(&[other])];
        cluster.nodes[index].replicator.follow(followers);
        let mut ready = cluster.nodes[index].replicator.ready();
        ready.wait_for(|ready| *ready).await.unwrap();
    }
    cluster
}

fn record(signal: Signal, text: String) -> Record {
    Record {
        signal,
        tenant: "default".into(),
        received_unix_nano: 1,
        payload: Bytes::from(text),
    }
}

async fn append(node: &Node, signal: Signal, text: String) -> Result<Position> {
    let (sender, receiver) = oneshot::channel();
    let appender: &dyn Appender = &*node.replicator;
    appender.append(
        record(signal, text),
        Box::new(move |outcome| {
            let _ = sender.send(outcome);
        }),
    );
    tokio::time::timeout(Duration::from_secs(20), receiver)
        .await
        .expect("it is answered")
        .expect("it is answered")
}

#[derive(Default)]
struct Found(Mutex<Vec<Frame>>);

#[async_trait]
impl Sink for Found {
    async fn take(&self, frame: Frame) -> Result<bool> {
        self.0.lock().push(frame);
        Ok(true)
    }

    async fn plan(&self, _: Signal, _: &Ranges) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_what_was_acknowledged_is_recovered_byte_for_byte_without_its_owner() {
    let mut cluster = cluster().await;
    let mut appended = Vec::new();
    for number in 0..60 {
        let signal = Signal::ALL[number % 3];
        let text = format!("{number} {}", "x".repeat(700));
        let position = append(&cluster.nodes[0], signal, text.clone())
            .await
            .unwrap();
        assert_eq!(position.sequence, number as u64 + 1);
        appended.push((position.sequence, text));
    }
    assert_eq!(cluster.nodes[0].replicator.last_durable(), 60);
    let owner = cluster.nodes.remove(0);
    let stream = owner.log.stream();
    cluster.network.cut(&owner.name);
    let (epoch, ensembles) = cluster.group.fence(stream);
    let config = RecoveryConfig {
        stream,
        epoch,
        owner: Arc::clone(&owner.name),
        ensembles,
        watermark: [0; 3],
        planned: Default::default(),
    };
    let recoverer = &cluster.nodes[0].recoverer;
    let mut recovery = Recovery::new(config, Duration::ZERO);
    let found = Found::default();
    let progress = recoverer
        .run(&mut recovery, &found, PATIENCE)
        .await
        .unwrap();
    assert!(progress.complete, "{progress:?}");
    let mut recovered: Vec<(u64, String)> = found
        .0
        .lock()
        .iter()
        .map(|frame| {
            let record = frame.record().unwrap();
            let text = String::from_utf8(record.payload.to_vec()).unwrap();
            (frame.header().sequence, text)
        })
        .collect();
    recovered.sort();
    // The last log record may be acknowledged and not copied yet; all others are there.
    let logs_at_one = recovered.len() + 1 == appended.len();
    assert!(recovered == appended || logs_at_one && recovered[..58] == appended[..58]);
    let frames = owner
        .log
        .reader(1)
        .read(Some(60), usize::MAX)
        .unwrap()
        .frames;
    for frame in found.0.lock().iter() {
        assert_eq!(*frame, frames[frame.header().sequence as usize - 1]);
    }
    // The owner comes back, is told, and acknowledges nothing more.
    cluster.network.heal(&owner.name);
    let mut fenced = owner.replicator.fenced();
    fenced.wait_for(Option::is_some).await.unwrap();
    let error = append(&owner, Signal::Traces, "late".into())
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::ClusterFenced);
    assert!(owner.replicator.admit(Signal::Traces, "default").is_err());
    // When the tables hold the stream, its copies go.
    let members = names(&["b", "c"]);
    assert!(recoverer.forget(&members, stream).await.is_empty());
    for node in &cluster.nodes {
        assert!(!node.service.holding().contains(&stream));
    }
}

/// A wire on which the first call to one node fails, and later ones come to no end until it heals.
struct Stuck {
    inner: Arc<dyn Wire>,
    to: Arc<str>,
    calls: AtomicUsize,
    is_healed: AtomicBool,
}

#[async_trait]
impl Wire for Stuck {
    async fn open(&self, to: &Arc<str>) -> Result<Link> {
        self.inner.open(to).await
    }

    async fn call(&self, to: &Arc<str>, request: Bytes, timeout: Duration) -> Result<Bytes> {
        if *to != self.to || self.is_healed.load(Ordering::SeqCst) {
            return self.inner.call(to, request, timeout).await;
        }
        match self.calls.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Error::new(Code::PeerUnreachable, "it is away")),
            _ => std::future::pending().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_recovery_that_ended_with_calls_under_way_makes_them_anew_when_it_goes_on() {
    let mut cluster = cluster().await;
    let text = "a span".to_owned();
    append(&cluster.nodes[0], Signal::Traces, text)
        .await
        .unwrap();
    let owner = cluster.nodes.remove(0);
    cluster.network.cut(&owner.name);
    let (epoch, ensembles) = cluster.group.fence(owner.log.stream());
    let config = RecoveryConfig {
        stream: owner.log.stream(),
        epoch,
        owner: Arc::clone(&owner.name),
        ensembles,
        watermark: [0; 3],
        planned: Default::default(),
    };
    let node = &cluster.nodes[0];
    let stuck = Arc::new(Stuck {
        inner: cluster.network.wire(&node.name),
        to: Arc::clone(&cluster.nodes[1].name),
        calls: AtomicUsize::default(),
        is_healed: AtomicBool::default(),
    });
    let recoverer = Recoverer::new(
        Arc::clone(&node.name),
        Arc::clone(&node.service),
        Arc::clone(&stuck) as _,
        Arc::new(SystemClock),
        Arc::new(Metrics::new()),
    );
    let (mut recovery, found) = (Recovery::new(config, Duration::ZERO), Found::default());
    // Until one has ended with a call under way.
    while stuck.calls.load(Ordering::SeqCst) < 2 {
        let run = recoverer.run(&mut recovery, &found, Duration::from_secs(2));
        let progress = run.await.unwrap();
        assert!(!progress.complete && progress.missing.contains(&stuck.to));
    }
    stuck.is_healed.store(true, Ordering::SeqCst);
    let run = recoverer.run(&mut recovery, &found, PATIENCE);
    let progress = run.await.unwrap();
    assert!(progress.complete, "{progress:?}");
    assert_eq!(found.0.lock().len(), 1);
}

/// Appends a record of a tenant that waits for all three nodes; resolves when it is readable, to what is
/// told when it is acknowledged.
async fn append_overdue(node: &Node) -> (Position, oneshot::Receiver<Result<()>>) {
    let (sender, readable) = oneshot::channel();
    let (told, acknowledged) = oneshot::channel();
    let replicator = Arc::clone(&node.replicator);
    let record = Record {
        tenant: STRICT.into(),
        ..record(Signal::Traces, "for all".into())
    };
    let on_durable = move |outcome: Result<Position>| {
        let position = outcome.expect("it is readable");
        assert!(replicator.is_overdue(position));
        let then = move |outcome| {
            let _ = told.send(outcome);
        };
        replicator.when_acknowledged(position, Box::new(then));
        let _ = sender.send(position);
    };
    node.replicator.append(record, Box::new(on_durable));
    (readable.await.expect("it is readable"), acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_record_that_waits_for_more_nodes_lets_others_pass_and_is_told_when_it_has_them() {
    let cluster = cluster().await;
    let owner = &cluster.nodes[0];
    let patience = |tenant| owner.replicator.patience(Signal::Traces, tenant);
    assert_eq!(patience(STRICT), Some(OF_STRICT.timeout));
    assert_eq!(patience("default"), Some(Duration::from_secs(5)));
    cluster.network.cut(&name("c"));
    let (position, mut acknowledged) = append_overdue(owner).await;
    let behind = append(owner, Signal::Traces, "behind".into()).await;
    assert_eq!(behind.expect("two have it").sequence, position.sequence + 1);
    assert!(acknowledged.try_recv().is_err(), "two are not three");
    assert!(owner.replicator.admit(Signal::Traces, STRICT).is_err());
    cluster.network.heal(&name("c"));
    acknowledged
        .await
        .expect("it is told")
        .expect("all have it");
    // It is there when it is in files, too; and nothing is once another has the stream.
    cluster.network.cut(&name("c"));
    let (in_files, acknowledged) = append_overdue(owner).await;
    let (after, refused) = append_overdue(owner).await;
    owner.replicator.release(Signal::Traces, in_files);
    acknowledged
        .await
        .expect("it is told")
        .expect("it is in files");
    owner.replicator.fence(2);
    let error = refused.await.expect("it is told").expect_err("fenced");
    assert_eq!(error.code, Code::ClusterFenced);
    assert_eq!(owner.replicator.last_durable(), after.sequence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_gets_from_the_log_what_memory_does_not_hold() {
    let cluster = cluster().await;
    let owner = &cluster.nodes[0];
    cluster.network.cut(&name("c"));
    for number in 0..80 {
        let text = format!("{number} {}", "y".repeat(1000));
        append(owner, Signal::Traces, text).await.unwrap();
    }
    let lag = |of: &str| {
        let status = owner.replicator.status();
        let follower = status
            .followers
            .into_iter()
            .find(|follower| &*follower.name == of);
        follower.expect("it follows").lag_records
    };
    assert_eq!(lag("c"), 80);
    cluster.network.heal(&name("c"));
    while lag("c") > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, records) = cluster.nodes[2].service.figures();
    assert_eq!(records, 80);
    // Released at the owner, they go everywhere.
    let upto = Position {
        stream: owner.log.stream(),
        sequence: 80,
    };
    owner.replicator.release(Signal::Traces, upto);
    while cluster.nodes[1..]
        .iter()
        .any(|node| node.service.figures().1 > 0)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_tells_of_streams_of_its_earlier_starts() {
    let Cluster {
        dirs,
        network,
        group,
        nodes,
    } = cluster().await;
    let stream = nodes[0].log.stream();
    for number in 0..40 {
        let text = format!("{number} {}", "z".repeat(900));
        append(&nodes[0], Signal::ALL[number % 3], text)
            .await
            .unwrap();
    }
    for node in &nodes {
        network.cut(&node.name);
        node.replicator.close();
        node.log.close().unwrap();
        node.service.close().unwrap();
    }
    drop(nodes);
    // The node is back alone, with a new stream: its own log is all that is needed.
    let back = node("a", dirs[0].path(), &network, &group);
    assert_ne!(back.log.stream(), stream);
    let (epoch, ensembles) = group.fence(stream);
    let config = RecoveryConfig {
        stream,
        epoch,
        owner: name("a"),
        ensembles,
        watermark: [4, 0, 0],
        planned: Default::default(),
    };
    let mut recovery = Recovery::new(config, Duration::ZERO);
    let found = Found::default();
    let progress = back
        .recoverer
        .run(&mut recovery, &found, PATIENCE)
        .await
        .unwrap();
    assert!(progress.complete, "{progress:?}");
    assert_eq!(progress.records, 38, "two spans are in the tables");
}
