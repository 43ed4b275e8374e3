use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use otlake_base::{Clock, Code, Error, Lease, Leases, Metrics, Position, Result, SystemClock};
use parking_lot::Mutex;

use super::{CommitPort, Commits, Gathered, Waits};
use crate::DeltaTableHandle;
use crate::commit::{Addition, Outcome};
use crate::records::{TABLE, at};
use crate::rows::Random;
use crate::shared_test::{each_once, held, open, prepare, prepare_at};

/// What becomes of a hand-over on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    RequestLost,
    AnswerLost,
    /// It arrives after its sender has given it up.
    Late,
}

/// Who has the lease, as each node is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Node(&'static str),
    /// Each node that it is its own: one of them is late to hear.
    Own,
    Random,
    Nothing,
}

struct Net {
    nodes: Mutex<HashMap<Arc<str>, Arc<Gathered>>>,
    random: Mutex<Random>,
    fate: Mutex<Option<Fate>>,
    told: Mutex<Told>,
    handed: AtomicU64,
}

const NODES: [&str; 3] = ["n1", "n2", "n3"];

impl Net {
    fn new(seed: u64) -> Arc<Net> {
        Arc::new(Net {
            nodes: Mutex::default(),
            random: Mutex::new(Random(seed)),
            fate: Mutex::new(Some(Fate::Answered)),
            told: Mutex::new(Told::Node("n1")),
            handed: AtomicU64::new(0),
        })
    }

    fn below(&self, limit: u64) -> u64 {
        self.random.lock().below(limit)
    }

    fn set(&self, fate: Option<Fate>, told: Told) {
        *self.fate.lock() = fate;
        *self.told.lock() = told;
    }
}

struct Port(Arc<Net>);

#[async_trait]
impl CommitPort for Port {
    async fn hand_over(&self, node: &str, request: Bytes, _: Duration) -> Result<Bytes> {
        self.0.handed.fetch_add(1, Ordering::SeqCst);
        let holder = self.0.nodes.lock().get(node).cloned().unwrap();
        let fates = [
            Fate::Answered,
            Fate::RequestLost,
            Fate::AnswerLost,
            Fate::Late,
        ];
        let fate = (*self.0.fate.lock()).unwrap_or_else(|| fates[self.0.below(4) as usize]);
        let lost = || Error::new(Code::TableIo, "the connection broke");
        match fate {
            Fate::Answered => holder.take(request).await,
            Fate::RequestLost => Err(lost()),
            Fate::AnswerLost => {
                holder.take(request).await?;
                Err(lost())
            }
            Fate::Late => {
                let delay = Duration::from_millis(self.0.below(60));
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    holder.take(request).await
                });
                Err(lost())
            }
        }
    }
}

struct TestLeases {
    net: Arc<Net>,
    node: &'static str,
}

impl std::fmt::Debug for TestLeases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.node)
    }
}

impl Leases for TestLeases {
    fn hold<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Lease>> + Send + 'a>> {
        assert_eq!(name, format!("commit/{}", TABLE.name()));
        let own = Lease::Own {
            token: 1,
            until: SystemClock.monotonic() + Duration::from_millis(20),
        };
        let told = *self.net.told.lock();
        let of = |node: &str| match node == self.node {
            true => own.clone(),
            false => Lease::Other(node.into()),
        };
        let lease = match told {
            Told::Node(node) => Ok(of(node)),
            Told::Own => Ok(own),
            Told::Random => Ok(of(NODES[self.net.below(3) as usize])),
            Told::Nothing => Err(Error::new(Code::TableIo, "no quorum")),
        };
        Box::pin(std::future::ready(lease))
    }
}

struct Node {
    handle: Arc<DeltaTableHandle>,
    commits: Arc<Gathered>,
}

async fn start(dir: &Path, net: &Arc<Net>, gather: Duration) -> Vec<Node> {
    let mut nodes = Vec::new();
    for node in NODES {
        let handle = open(dir).await;
        let leases = TestLeases {
            net: Arc::clone(net),
            node,
        };
        let waits = Waits {
            gather,
            answer: Duration::from_secs(5),
        };
        let commits = Gathered::new(
            node.into(),
            vec![Arc::clone(&handle)],
            Arc::new(leases),
            Arc::new(Port(Arc::clone(net))),
            (Arc::new(SystemClock), Arc::new(Metrics::new())),
            waits,
        );
        net.nodes.lock().insert(node.into(), Arc::clone(&commits));
        nodes.push(Node { handle, commits });
    }
    nodes
}

/// As a flusher does it: writes again what is left until the table holds all.
async fn flush(node: &Node, upto: Vec<Position>) {
    let mut addition: Addition = prepare(&node.handle, upto.clone()).await.addition;
    loop {
        match node.commits.commit(&node.handle, addition).await {
            Ok(committed) if committed.outcome == Outcome::Held => {
                assert!(upto.iter().all(|upto| committed.snapshot.covers(*upto)));
                return;
            }
            // Others may have been quicker as often as it tried.
            Ok(_) => {}
            Err(error) => assert_eq!(error.code, Code::TableConflict, "{error}"),
        }
        addition = prepare(&node.handle, upto.clone()).await.addition;
    }
}

/// Commits what these nodes have up to here; their files are written before, whatever that takes.
async fn commit_at_once(nodes: &[Node], of: &[(usize, Position)]) {
    let mut prepared = Vec::new();
    for (node, upto) in of {
        let node = &nodes[*node];
        prepared.push((node, prepare(&node.handle, vec![*upto]).await.addition));
    }
    let commits = prepared
        .into_iter()
        .map(|(node, addition)| node.commits.commit(&node.handle, addition));
    for committed in join_all(commits).await {
        assert_eq!(committed.unwrap().outcome, Outcome::Held);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_several_nodes_flush_at_one_time_is_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new(1);
    let nodes = start(dir.path(), &net, Duration::from_secs(1)).await;
    commit_at_once(&nodes, &[(1, at(2, 1)), (2, at(3, 1))]).await;
    assert_eq!(nodes[0].handle.snapshot().version, 1);
    commit_at_once(&nodes, &[(0, at(1, 1)), (1, at(2, 2)), (2, at(3, 2))]).await;
    let now = nodes[0].handle.refresh().await.unwrap();
    assert_eq!(now.version, 2);
    let mut expected = each_once(&[2, 3], 2);
    expected.extend(each_once(&[1], 1));
    assert_eq!(held(&now), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_nobody_hands_over_to_commits_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new(1);
    let nodes = start(dir.path(), &net, Duration::from_secs(3_600)).await;
    for sequence in 1..=3 {
        flush(&nodes[0], vec![at(1, sequence)]).await;
    }
    assert_eq!(net.handed.load(Ordering::SeqCst), 0);
    assert_eq!(held(&nodes[0].handle.snapshot()), each_once(&[1], 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_whatever_becomes_of_a_hand_over_its_rows_are_there_once() {
    for fate in [
        Fate::Answered,
        Fate::RequestLost,
        Fate::AnswerLost,
        Fate::Late,
    ] {
        for told in [Told::Node("n1"), Told::Node("n2"), Told::Own, Told::Nothing] {
            let dir = tempfile::tempdir().unwrap();
            let net = Net::new(7);
            let nodes = start(dir.path(), &net, Duration::from_millis(5)).await;
            net.set(Some(fate), told);
            for sequence in 1..=2 {
                let mark = vec![at(1, sequence)];
                tokio::join!(
                    flush(&nodes[1], mark.clone()),
                    flush(&nodes[2], mark),
                    flush(&nodes[0], vec![at(2, sequence)])
                );
            }
            // What is still on its way arrives.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = nodes[1].handle.refresh().await.unwrap();
            assert_eq!(held(&now), each_once(&[1, 2], 2), "{fate:?} {told:?}");
            let on_disk = now
                .files
                .iter()
                .all(|file| now.root.join(&file.path).exists());
            assert!(on_disk, "{fate:?} {told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stale_is_told_to_its_writer_and_its_files_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new(1);
    let nodes = start(dir.path(), &net, Duration::from_millis(5)).await;
    let early = prepare(&nodes[1].handle, vec![at(1, 4)]).await.addition;
    let file = nodes[1].handle.root.join(&early.files[0].file.path);
    flush(&nodes[2], vec![at(1, 2)]).await;
    let stale = nodes[1]
        .commits
        .commit(&nodes[1].handle, early)
        .await
        .unwrap();
    assert_eq!(stale.outcome, Outcome::Stale);
    assert_eq!(stale.snapshot.version, 1);
    assert!(!file.exists());
    // A file that is not there is refused by the holder, and so is a hand-over that is none.
    let gone = prepare(&nodes[1].handle, vec![at(1, 4)]).await.addition;
    std::fs::remove_file(nodes[1].handle.root.join(&gone.files[0].file.path)).unwrap();
    let request = super::HandOver::write(TABLE, &gone);
    let answer = super::Answer::read(nodes[0].commits.take(request).await.unwrap()).unwrap();
    assert!(answer.outcome().is_err());
    let mut outside = prepare(&nodes[1].handle, vec![at(1, 4)]).await.addition;
    outside.files[0].file.path = "../spans/day=2026-01-01/a.parquet".to_owned();
    let request = super::HandOver::write(TABLE, &outside);
    assert!(nodes[0].commits.take(request).await.is_err());
    assert!(
        nodes[0]
            .commits
            .take(Bytes::from_static(b"\xff"))
            .await
            .is_err()
    );
    assert_eq!(nodes[0].handle.refresh().await.unwrap().version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_what_is_fenced_is_refused_whoever_commits_it() {
    for told in [Told::Node("n1"), Told::Node("n2"), Told::Own, Told::Nothing] {
        let dir = tempfile::tempdir().unwrap();
        let net = Net::new(1);
        let nodes = start(dir.path(), &net, Duration::from_millis(5)).await;
        net.set(Some(Fate::Answered), told);
        flush(&nodes[1], vec![at(1, 2)]).await;
        let late = prepare(&nodes[1].handle, vec![at(1, 4)]).await.addition;
        let file = nodes[1].handle.root.join(&late.files[0].file.path);
        let stream = at(1, 0).stream;
        nodes[2].handle.fence(stream, 2).await.unwrap();
        let (handle, commits) = (&nodes[1].handle, &nodes[1].commits);
        let fenced = commits.commit(handle, late).await.unwrap();
        assert_eq!(fenced.outcome, Outcome::Fenced, "{told:?}");
        assert_eq!(fenced.snapshot.standing(stream).epoch, 2);
        assert!(!file.exists(), "{told:?}");
        // What is written at the epoch is taken, by way of whichever node.
        let (handle, commits) = (&nodes[2].handle, &nodes[2].commits);
        let flush = prepare_at(handle, vec![at(1, 3)], 2).await.addition;
        let held_now = commits.commit(handle, flush).await.unwrap();
        assert_eq!(held_now.outcome, Outcome::Held, "{told:?}");
        assert_eq!(held(&held_now.snapshot), each_once(&[1], 3), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i3_i9_leases_that_move_and_answers_that_are_lost_double_and_lose_nothing() {
    let seed = std::env::var("OTLAKE_TEST_SEED").map_or(1, |seed| seed.parse::<u64>().unwrap());
    println!("OTLAKE_TEST_SEED={seed}");
    const LAST: u64 = 8;
    for round in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let net = Net::new(seed * 100 + round);
        let nodes = Arc::new(start(dir.path(), &net, Duration::from_millis(10)).await);
        net.set(None, Told::Random);
        let writers: Vec<_> = (0..3_usize)
            .map(|number| {
                let (nodes, net) = (Arc::clone(&nodes), Arc::clone(&net));
                tokio::spawn(async move {
                    let node = &nodes[number];
                    // A stream of its own, and one that all of them write.
                    let own = number as u64 + 2;
                    for sequence in 1..=LAST {
                        if net.below(4) == 0 {
                            let told = [Told::Random, Told::Own, Told::Node("n3"), Told::Nothing];
                            *net.told.lock() = told[net.below(4) as usize];
                        }
                        flush(node, vec![at(1, sequence), at(own, sequence)]).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = nodes[0].handle.refresh().await.unwrap();
        assert_eq!(held(&now), each_once(&[1, 2, 3, 4], LAST), "round {round}");
    }
}
