//! The nodes of a group in one process, over a wire in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Kind, Metrics, Result, SystemClock};

use crate::config::{MetadataConfig, Timing};
use crate::door::Doors;
use crate::group::MetadataGroup;
use crate::status::Status;
use crate::testing::MemoryNetwork;
use crate::wire::{PAXOS, RAFT};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds.
///
/// # Panics
/// Where it does not hold within a minute.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "it never came: {what}");
}

/// Asks again while nobody decides, as whoever is told to try again does: a loaded machine may elect
/// leaders again and again.
///
/// # Panics
/// Where it is refused for good, or not answered within a minute.
pub async fn answered<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T>>,
{
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            match attempt().await {
                Ok(answer) => break answer,
                Err(error) if error.kind() == Kind::Unavailable => {}
                Err(error) => panic!("{what}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let answer = asked.await;
    answer.unwrap_or_else(|_| panic!("it was never answered: {what}"))
}

/// Nodes by name; those that run are in `running`.
pub struct Nodes {
    /// Their ways to each other.
    pub network: MemoryNetwork,
    /// Those that run.
    pub running: BTreeMap<Arc<str>, Arc<MetadataGroup>>,
    /// When what happens.
    pub timing: Timing,
    folder: PathBuf,
}

impl Nodes {
    /// No node yet; their stores will be in `folder`.
    pub fn new(folder: impl Into<PathBuf>, seed: u64) -> Nodes {
        Nodes {
            network: MemoryNetwork::new(seed),
            running: BTreeMap::new(),
            timing: Timing::default(),
            folder: folder.into(),
        }
    }

    /// The folder of a node's stores.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts a node, or starts it again.
    ///
    /// # Errors
    /// What `MetadataGroup::start` says.
    pub async fn start(&mut self, name: &str) -> Result<Arc<MetadataGroup>> {
        let name: Arc<str> = Arc::from(name);
        let config = MetadataConfig {
            timing: self.timing,
            ..MetadataConfig::new(Arc::clone(&name), self.folder(&name))
        };
        let doors = Doors::default();
        self.network
            .listen(&name, RAFT, Arc::new(doors.raft.clone()));
        self.network
            .listen(&name, PAXOS, Arc::new(doors.paxos.clone()));
        let group = MetadataGroup::start(
            config,
            self.network.wire(&name),
            &doors,
            Arc::new(SystemClock),
            Arc::new(Metrics::strict()),
        )
        .await?;
        self.running.insert(name, Arc::clone(&group));
        Ok(group)
    }

    /// Ends a node.
    pub async fn stop(&mut self, name: &str) {
        let name: Arc<str> = Arc::from(name);
        self.network.silence(&name);
        if let Some(group) = self.running.remove(&name) {
            group.close().await;
        }
    }

    /// Starts nodes of these names, the first of which founds the group, and waits until all vote.
    ///
    /// # Panics
    /// Where they do not come together.
    pub async fn found(&mut self, names: &[&str]) {
        for name in names {
            self.start(name).await.expect("a node starts");
        }
        self.running[names[0]].bootstrap().await.expect("a group");
        self.vote(names, names).await;
    }

    /// Wishes for these voters of these members, and waits until it is so everywhere.
    pub async fn vote(&self, voters: &[&str], members: &[&str]) {
        let own = |names: &[&str]| {
            names
                .iter()
                .map(|name| Arc::from(*name))
                .collect::<Vec<Arc<str>>>()
        };
        let (voters, members) = (own(voters), own(members));
        for group in self.running.values() {
            group
                .set_voters(&voters, Some(&members))
                .expect("a good wish");
        }
        eventually("the group is as it was wished for", || {
            self.running
                .iter()
                .filter(|(name, _)| members.contains(name))
                .all(|(_, group)| {
                    let status = group.status();
                    status.leader.is_some()
                        && set(&status.voters) == set(&voters)
                        && status.voters.len() + status.learners.len() == members.len()
                })
        })
        .await;
    }

    /// The node that leads, as most of those that run see it.
    pub fn leader(&self) -> Option<Arc<str>> {
        let running = self.running.values().map(|group| group.status());
        let leading: Vec<Status> = running.filter(|status| status.leads).collect();
        leading
            .iter()
            .max_by_key(|status| status.term)
            .map(|status| Arc::clone(&status.name))
    }

    /// The node that leads, once one does.
    pub async fn led(&self) -> Arc<str> {
        let mut leader = None;
        eventually("a node leads", || {
            leader = self.leader();
            leader.is_some()
        })
        .await;
        leader.expect("one leads")
    }

    /// Ends all.
    pub async fn close(&mut self) {
        for name in self.running.keys().cloned().collect::<Vec<_>>() {
            self.stop(&name).await;
        }
    }
}

fn set(names: &[Arc<str>]) -> std::collections::BTreeSet<&Arc<str>> {
    names.iter().collect()
}
