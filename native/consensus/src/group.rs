//! This node's part of the metadata group: the handle that everything else uses.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::SnapshotPolicy;
use openraft::error::{InitializeError, RaftError};
use otlake_base::{Clock, Code, Disk, Error, Metrics, RealDisk, Result};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::agreement::AgreementPort;
use crate::command::{Answer, Command, Proposal, check_name};
use crate::config::{MetadataConfig, Timing};
use crate::core::Core;
use crate::door::Doors;
use crate::limits::{
    MAX_APPEND_ENTRIES, MAX_MEMBERS, MAX_PENDING, RETRY_FIRST, RETRY_LAST, SNAPSHOT_CHUNK_BYTES,
};
use crate::paxos::{Paxos, Port};
use crate::raft::election::{self, Chance};
use crate::raft::lead::{self, Lead};
use crate::raft::log::LogStore;
use crate::raft::machine::Machine;
use crate::raft::members::{self, Wishes};
use crate::raft::network::{Link, Network, PROPOSE, READ};
use crate::raft::service::RaftService;
use crate::raft::types::{Identity, Member, Raft, node_id, unavailable};
use crate::raft::upkeep;
use crate::session::Proposer;
use crate::state::State;
use crate::store::Store;
use crate::wire::{Handler, Wire};
use crate::writer::Writer;

/// How long one attempt at the leader may take before its place is looked up again.
const ATTEMPT: Duration = Duration::from_secs(1);
/// How long the end of what runs is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Threads of the group's own runtime: one may wait for the disk while the other sends heartbeats.
const THREADS: usize = 2;

/// This node's part of the metadata group.
pub struct MetadataGroup {
    core: Arc<Core>,
    paxos: Arc<Paxos>,
    proposer: Proposer,
    pending: Semaphore,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

/// The group as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// This node's name.
    pub name: Arc<str>,
    /// The group's id, 32 hexadecimal digits; none where the node is in none.
    pub group: Option<String>,
    /// The leader's name; none where none is known.
    pub leader: Option<Arc<str>>,
    /// Whether this node leads.
    pub leads: bool,
    /// The term.
    pub term: u64,
    /// The names of the voters.
    pub voters: Vec<Arc<str>>,
    /// The names of the learners.
    pub learners: Vec<Arc<str>>,
    /// The last entry in this node's log.
    pub last: u64,
    /// The last entry in its state.
    pub applied: u64,
    /// The last entry in its snapshot.
    pub snapshot: u64,
    /// Nodes that should be members and cannot be, with the reason.
    pub refused: BTreeMap<Arc<str>, String>,
    /// Nodes that could not be reached last, with the reason.
    pub unreached: BTreeMap<Arc<str>, String>,
    /// The number of the Paxos group's configuration; 0 where none is known.
    pub paxos_configuration: u32,
    /// The names of the Paxos group's members.
    pub paxos_members: Vec<Arc<str>>,
    /// Its leader's name; none where none is known.
    pub paxos_leader: Option<Arc<str>>,
    /// Why this node's part has stopped; none where it has not.
    pub failure: Option<String>,
}

impl MetadataGroup {
    /// Opens the store and takes part in the group that it is of, or waits to be added to one.
    /// `doors` are where others' requests arrive: they can be registered with what listens beforehand,
    /// and are opened here.
    ///
    /// # Errors
    /// `METADATA_FOREIGN` where the store is of another node or group than the configuration says;
    /// `METADATA_CORRUPT`, `METADATA_VERSION`, `METADATA_IO`, `NODE_DIRECTORY_LOCKED`,
    /// `CONFIG_INVALID`.
    pub async fn start(
        config: MetadataConfig,
        wire: Arc<dyn Wire>,
        doors: &Doors,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<MetadataGroup>> {
        config.check()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("otlake-meta")
            .enable_time()
            .build()
            .map_err(|error| Error::new(Code::MetadataIo, format!("no threads: {error}")))?;
        let handle = runtime.handle().clone();
        let seed = RealDisk.unique(&config.folder);
        let opened = handle
            .spawn(open(config, wire, clock, metrics, seed as u64))
            .await
            .unwrap_or_else(|error| Err(Error::new(Code::Internal, error)));
        let core = match opened {
            Ok(core) => core,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let started = Paxos::start(Arc::clone(&core), handle.clone(), seed as u64);
        let paxos = match started {
            Ok(paxos) => paxos,
            Err(error) => {
                core.closing.send_replace(true);
                core.writer.close();
                runtime.shutdown_background();
                return Err(error);
            }
        };
        doors.raft.open(Arc::new(Inside {
            service: Arc::new(RaftService(Arc::clone(&core))),
            handle: handle.clone(),
        }));
        doors.paxos.open(Arc::new(Inside {
            service: Arc::new(paxos.service()),
            handle: handle.clone(),
        }));
        Ok(Arc::new(MetadataGroup {
            core,
            paxos,
            proposer: Proposer::new((seed >> 64) as u64),
            pending: Semaphore::new(MAX_PENDING),
            handle,
            runtime: Mutex::new(Some(runtime)),
        }))
    }

    /// Makes a group of this node alone. Changes nothing where the node is in one.
    ///
    /// # Errors
    /// `METADATA_IO`, `METADATA_UNAVAILABLE`.
    pub async fn bootstrap(&self) -> Result<()> {
        let (core, paxos) = (Arc::clone(&self.core), Arc::clone(&self.paxos));
        self.inside(async move { bootstrap(&core, &paxos).await })
            .await?;
        if self.local().group == 0 {
            // Where a crash came between, the next start's bootstrap does the rest.
            let group = self.core.identity.group();
            self.propose(Command::Found { group }).await?.granted()?;
        }
        Ok(())
    }

    /// Has a command applied, once, whoever leads and however often that changes meanwhile. When this
    /// returns, a majority has it on stable storage.
    ///
    /// # Errors
    /// `METADATA_INVALID` where the command can never be; `METADATA_UNAVAILABLE` where no leader
    /// answered in time: then it may be applied, or not. What the state machine refuses is an answer.
    pub async fn propose(&self, command: Command) -> Result<Answer> {
        command.check()?;
        let permit = self.pending.acquire().await;
        let counters = &self.core.metrics.metadata;
        let open = self.proposer.open();
        let result = self
            .retried(|leader| {
                let proposal = Proposal {
                    number: open.number(),
                    command: command.clone(),
                };
                let core = Arc::clone(&self.core);
                self.inside(async move {
                    let mut answers = match leader {
                        None => core.lead.propose(vec![proposal]).await?,
                        Some(leader) => {
                            core.link
                                .call(&leader, PROPOSE, &[proposal], &[], ATTEMPT)
                                .await?
                        }
                    };
                    answers
                        .pop()
                        .ok_or_else(|| unavailable("the leader gave no answer"))
                })
            })
            .await;
        drop((open, permit));
        counters.proposed(match &result {
            Ok(Answer::Refused(_)) => "refused",
            Ok(_) => "ok",
            Err(_) => "unavailable",
        });
        result
    }

    /// The state, with all in it that was proposed and answered anywhere before this was called.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` where no leader answered in time.
    pub async fn read(&self) -> Result<Arc<State>> {
        self.core.metrics.metadata.reads.inc();
        self.retried(|leader| {
            let core = Arc::clone(&self.core);
            self.inside(async move {
                let index: u64 = match leader {
                    None => core.lead.read_index().await?,
                    Some(leader) => core.link.call(&leader, READ, &(), &[], ATTEMPT).await?,
                };
                let mut states = core.machine.watch();
                let state = states.wait_for(|state| state.applied >= index).await;
                state
                    .map(|state| Arc::clone(&state))
                    .map_err(|_| unavailable("this node's part of the metadata group is closed"))
            })
        })
        .await
    }

    /// The state as this node has it, which may lack what others know already.
    pub fn local(&self) -> Arc<State> {
        self.core.machine.state()
    }

    /// The state as this node has it, whenever it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.core.machine.watch()
    }

    /// Says who should vote, and who else should be a member; `None` keeps the members that there are.
    /// Every node may say so at any time: whoever leads changes the group step by step until it is so.
    ///
    /// # Errors
    /// `METADATA_INVALID` where not 1, 3 or 5 voters, or too many members, are named.
    pub fn set_voters(&self, voters: &[Arc<str>], learners: Option<&[Arc<str>]>) -> Result<()> {
        let invalid = |what: String| Err(Error::new(Code::MetadataInvalid, what));
        let voters: BTreeSet<Arc<str>> = voters.iter().cloned().collect();
        let learners: Option<BTreeSet<Arc<str>>> =
            learners.map(|names| names.iter().cloned().collect());
        if !matches!(voters.len(), 1 | 3 | 5) {
            return invalid(format!("1, 3 or 5 nodes vote, not {}", voters.len()));
        }
        let members = voters.len() + learners.as_ref().map_or(0, BTreeSet::len);
        if members > MAX_MEMBERS {
            return invalid(format!(
                "{members} members are named; at most {MAX_MEMBERS} are taken"
            ));
        }
        for name in voters.iter().chain(learners.iter().flatten()) {
            check_name("node's name", name)?;
        }
        let wishes = Some(Wishes { voters, learners });
        self.core.wishes.send_if_modified(|last| {
            let changed = *last != wishes;
            *last = wishes;
            changed
        });
        Ok(())
    }

    /// The group as this node sees it.
    pub fn status(&self) -> Status {
        let core = &self.core;
        let metrics = core.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let name = |id| {
            membership
                .get_node(&id)
                .map(|member| Arc::clone(&member.name))
        };
        let failure = match &metrics.running_state {
            Ok(()) => core.machine.failure(),
            Err(fatal) => Some(core.stopped(fatal)),
        };
        let failure = failure.or_else(|| self.paxos.stopped());
        let (paxos_configuration, paxos_members, paxos_leader) = self.paxos.told();
        Status {
            paxos_configuration,
            paxos_members,
            paxos_leader,
            name: Arc::clone(&core.identity.name),
            group: core.identity.group.get().map(|id| format!("{id:032x}")),
            leader: metrics.current_leader.and_then(name),
            leads: core.leads(),
            term: metrics.current_term,
            voters: membership.voter_ids().filter_map(name).collect(),
            learners: membership.learner_ids().filter_map(name).collect(),
            last: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |id| id.index),
            snapshot: metrics.snapshot.map_or(0, |id| id.index),
            refused: core.refused.lock().clone(),
            unreached: core.link.faults.lock().clone(),
            failure: failure.map(|error| error.to_string()),
        }
    }

    /// Locks and transactions.
    pub fn agreement(&self) -> Arc<dyn AgreementPort> {
        Arc::new(Port(Arc::clone(&self.paxos)))
    }

    /// The id of the group; none where the node is in none.
    pub fn group(&self) -> Option<u128> {
        self.core.identity.group.get().copied()
    }

    /// How many entries the log holds on disk.
    pub fn log_length(&self) -> u64 {
        self.core.log.length()
    }

    /// Makes a snapshot now, besides the regular ones.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` where this node's part has stopped.
    pub async fn snapshot(&self) -> Result<()> {
        let core = Arc::clone(&self.core);
        self.inside(async move {
            let triggered = core.raft.trigger().snapshot().await;
            triggered.map_err(|error| core.stopped(&error))
        })
        .await
    }

    /// Removes log entries that the newest snapshot holds, now, up to an index.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` where this node's part has stopped.
    pub async fn purge(&self, index: u64) -> Result<()> {
        let core = Arc::clone(&self.core);
        self.inside(async move {
            let triggered = core.raft.trigger().purge_log(index).await;
            triggered.map_err(|error| core.stopped(&error))
        })
        .await
    }

    /// Ends this node's part. What is under way fails; the store is closed when this returns. A
    /// second call changes nothing.
    pub async fn close(&self) {
        let Some(runtime) = self.runtime.lock().take() else {
            return;
        };
        let (core, paxos) = (Arc::clone(&self.core), Arc::clone(&self.paxos));
        let ended = self
            .handle
            .spawn(async move {
                core.closing.send_replace(true);
                let mut tasks = std::mem::take(&mut *core.tasks.lock());
                let ended = tokio::time::timeout(CLOSE_TIMEOUT, async {
                    if core.raft.shutdown().await.is_err() {
                        tracing::warn!(target: "otlake::metadata", "the group ended by a panic");
                    }
                    while tasks.join_next().await.is_some() {}
                });
                if ended.await.is_err() {
                    tracing::warn!(target: "otlake::metadata", "a part of the group did not end in time");
                }
                let ended = tokio::task::spawn_blocking(move || {
                    paxos.join();
                    core.writer.close();
                });
                ended.await
            })
            .await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!(target: "otlake::metadata", "the end of the group panicked");
        }
        runtime.shutdown_background();
    }

    /// Runs something on the group's own threads.
    async fn inside<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if self.runtime.lock().is_none() {
            return Err(Error::new(
                Code::HandleClosed,
                "this node's part of the metadata group is closed",
            ));
        }
        self.handle
            .spawn(work)
            .await
            .unwrap_or_else(|error| Err(unavailable(error)))
    }

    /// Tries something at the leader (`None`: this node) until it succeeds or the time is over.
    async fn retried<T, F>(&self, attempt: impl Fn(Option<Member>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut last = unavailable("no leader of the metadata group is known");
        let tried = async {
            let mut pause = RETRY_FIRST;
            loop {
                if let Some(leader) = self.leader() {
                    let own = leader.name == self.core.identity.name;
                    match tokio::time::timeout(ATTEMPT, attempt((!own).then_some(leader))).await {
                        Ok(Ok(done)) => return Ok(done),
                        Ok(Err(error)) if lasting(&error) => return Err(error),
                        Ok(Err(error)) => last = error,
                        Err(_) => last = unavailable("the leader did not answer in time"),
                    }
                }
                if let Some(failure) = self.core.machine.failure() {
                    return Err(failure);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_LAST);
            }
        };
        let limit = Duration::from_millis(self.core.timing.request_ms);
        match tokio::time::timeout(limit, tried).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(last)),
        }
    }

    fn leader(&self) -> Option<Member> {
        let metrics = self.core.raft_metrics.borrow();
        let leader = metrics.current_leader?;
        metrics
            .membership_config
            .membership()
            .get_node(&leader)
            .cloned()
    }
}

impl Drop for MetadataGroup {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().take() {
            self.core.closing.send_replace(true);
            runtime.shutdown_background();
        }
    }
}

/// Whether trying again cannot help.
fn lasting(error: &Error) -> bool {
    matches!(
        error.code,
        Code::MetadataInvalid
            | Code::MetadataFull
            | Code::MetadataVersion
            | Code::MetadataCorrupt
            | Code::HandleClosed
    )
}

/// Others' requests are answered on the group's own threads.
struct Inside<S> {
    service: Arc<S>,
    handle: Handle,
}

#[async_trait::async_trait]
impl<S: Handler> Handler for Inside<S> {
    async fn call(&self, from: Arc<str>, request: bytes::Bytes) -> Result<bytes::Bytes> {
        let service = Arc::clone(&self.service);
        self.handle
            .spawn(async move { service.call(from, request).await })
            .await
            .unwrap_or_else(|error| Err(unavailable(error)))
    }
}

async fn open(
    config: MetadataConfig,
    wire: Arc<dyn Wire>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    seed: u64,
) -> Result<Arc<Core>> {
    let store = Store::open(&config.folder.join("metadata.redb"), &config.name)?;
    let identity = Arc::new(Identity {
        id: node_id(&config.name),
        name: Arc::clone(&config.name),
        store: store.id()?,
        group: store
            .number("group")?
            .map_or_else(Default::default, Into::into),
    });
    if let (Some(expected), Some(group)) = (config.group, identity.group.get())
        && expected != *group
    {
        return Err(identity.foreign(expected, 0));
    }
    let writer = Writer::start(store, Arc::clone(&clock), Arc::clone(&metrics))?;
    let log = LogStore::open(Arc::clone(&writer), identity.id)?;
    let machine = Machine::open(Arc::clone(&writer), Arc::clone(&metrics))?;
    let link = Arc::new(Link {
        identity: Arc::clone(&identity),
        wire,
        faults: Mutex::default(),
    });
    let raft = Raft::new(
        identity.id,
        Arc::new(raft_config(&config.timing)?),
        Network(Arc::clone(&link)),
        log.clone(),
        machine.clone(),
    )
    .await
    .map_err(|fatal| {
        let failure = machine.failure();
        failure.unwrap_or_else(|| Error::new(Code::MetadataCorrupt, fatal))
    })?;
    let (lead, queues) = Lead::new();
    let core = Arc::new(Core {
        raft_metrics: raft.metrics(),
        identity,
        timing: config.timing,
        raft,
        log,
        machine,
        writer,
        link,
        lead,
        time: Default::default(),
        wishes: watch::channel(None).0,
        refused: Mutex::default(),
        heard_ms: Default::default(),
        clock,
        metrics,
        closing: watch::channel(false).0,
        tasks: Mutex::new(JoinSet::new()),
    });
    lead::run(&core, queues);
    core.spawn(election::run(Arc::clone(&core), Chance(seed)));
    core.spawn(election::beat(Arc::clone(&core)));
    core.spawn(members::run(Arc::clone(&core)));
    core.spawn(upkeep::run(Arc::clone(&core)));
    core.spawn(upkeep::count(Arc::clone(&core)));
    Ok(core)
}

/// openraft's part of the settings. Its heartbeats' interval is what it lets a request take, and its
/// longest election time-out is how long a voter holds to its leader.
fn raft_config(timing: &Timing) -> Result<openraft::Config> {
    let hold = timing.hold_ms();
    let config = openraft::Config {
        cluster_name: "otlake".to_owned(),
        heartbeat_interval: hold - hold / 10,
        election_timeout_min: hold - hold / 20,
        election_timeout_max: hold,
        install_snapshot_timeout: (10 * hold).max(3000),
        max_payload_entries: MAX_APPEND_ENTRIES,
        replication_lag_threshold: crate::limits::CAUGHT_UP_ENTRIES,
        snapshot_policy: SnapshotPolicy::Never,
        snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_heartbeat: false,
        enable_elect: false,
        ..openraft::Config::default()
    };
    config
        .validate()
        .map_err(|error| Error::new(Code::ConfigInvalid, error))
}

async fn bootstrap(core: &Core, paxos: &Paxos) -> Result<()> {
    let initialized = core.raft.is_initialized().await;
    if initialized.map_err(|fatal| core.stopped(&fatal))? {
        return Ok(());
    }
    if core.identity.group.get().is_none() {
        core.adopt(RealDisk.unique(std::path::Path::new("")))
            .await?;
    }
    // First, so that a crash between the two leaves the second to do.
    paxos.found().await?;
    let alone = BTreeMap::from([(core.identity.id, core.identity.member())]);
    match core.raft.initialize(alone).await {
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(RaftError::APIError(error)) => Err(Error::new(Code::Internal, error)),
        Err(RaftError::Fatal(error)) => Err(core.stopped(&error)),
    }
}
