//! One run of this node's part in the group: from opening the store to closing it. Where the disk
//! fails, the run ends and another begins (`group.rs`): nothing is known then of what the last commit
//! left, and opening the store finds out.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::SnapshotPolicy;
use openraft::error::{InitializeError, RaftError};
use otlake_base::{Clock, Code, Disk, Error, Metrics, RealDisk, Result};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agreement::Agreement;
use crate::config::{MetadataConfig, Timing};
use crate::core::Core;
use crate::door::Doors;
use crate::limits::{CAUGHT_UP_ENTRIES, MAX_APPEND_ENTRIES, SNAPSHOT_CHUNK_BYTES};
use crate::paxos::Paxos;
use crate::raft::election::{self, Chance};
use crate::raft::lead::{self, Lead};
use crate::raft::log::LogStore;
use crate::raft::machine::Machine;
use crate::raft::members::{self, Wishes};
use crate::raft::network::{Link, Network};
use crate::raft::service::RaftService;
use crate::raft::types::{Identity, Raft, node_id, unavailable};
use crate::raft::upkeep;
use crate::state::State;
use crate::store::Store;
use crate::wire::{Handler, Wire};
use crate::writer::Writer;

/// How long the end of what runs is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Threads of the group's own runtime: one may wait for the disk while the other sends heartbeats.
const THREADS: usize = 2;

/// Opens the store.
pub(crate) type Opener = Arc<dyn Fn() -> Result<Store> + Send + Sync>;

/// What every run begins with, and what outlasts it.
pub(crate) struct Start {
    pub config: MetadataConfig,
    pub wire: Arc<dyn Wire>,
    pub doors: Doors,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub store: Opener,
    pub states: watch::Sender<Arc<State>>,
    pub agreements: watch::Sender<Arc<Agreement>>,
    pub wishes: watch::Sender<Option<Wishes>>,
}

/// A run.
pub(crate) struct Part {
    pub core: Arc<Core>,
    pub paxos: Arc<Paxos>,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    doors: Doors,
}

impl Part {
    /// Opens the store and begins.
    ///
    /// # Errors
    /// Those of `MetadataGroup::start`.
    pub(crate) async fn open(start: &Arc<Start>) -> Result<Arc<Part>> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("otlake-meta")
            .enable_time()
            .build()
            .map_err(|error| Error::new(Code::MetadataIo, format!("no threads: {error}")))?;
        let handle = runtime.handle().clone();
        let (own, inner) = (Arc::clone(start), handle.clone());
        let opened = handle.spawn(async move { open(&own, inner).await }).await;
        match opened.unwrap_or_else(|error| Err(Error::new(Code::Internal, error))) {
            Ok((core, paxos)) => {
                start.doors.raft.open(Arc::new(Inside {
                    service: Arc::new(RaftService(Arc::clone(&core))),
                    handle: handle.clone(),
                }));
                start.doors.paxos.open(Arc::new(Inside {
                    service: Arc::new(paxos.service()),
                    handle: handle.clone(),
                }));
                Ok(Arc::new(Part {
                    core,
                    paxos,
                    handle,
                    runtime: Mutex::new(Some(runtime)),
                    doors: start.doors.clone(),
                }))
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Why the run has ended by itself; none where it has not.
    pub(crate) fn failure(&self) -> Option<Error> {
        let core = &self.core;
        let running = core.raft_metrics.borrow().running_state.clone();
        core.machine
            .failure()
            .or_else(|| core.writer.failure())
            .or_else(|| self.paxos.stopped())
            .or_else(|| running.err().map(|fatal| core.stopped(&fatal)))
    }

    /// Makes a group of this node alone, unless there is one.
    pub(crate) async fn bootstrap(&self) -> Result<()> {
        let (core, paxos) = (Arc::clone(&self.core), Arc::clone(&self.paxos));
        self.inside(async move { bootstrap(&core, &paxos).await })
            .await
    }

    /// Runs something on the group's own threads.
    pub(crate) async fn inside<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if self.runtime.lock().is_none() {
            return Err(unavailable(
                "this node's part of the metadata group has ended",
            ));
        }
        self.handle
            .spawn(work)
            .await
            .unwrap_or_else(|error| Err(unavailable(error)))
    }

    /// Ends the run. What is under way fails; the store is closed when this returns. A second call
    /// changes nothing.
    pub(crate) async fn close(&self) {
        let Some(runtime) = self.runtime.lock().take() else {
            return;
        };
        self.doors.raft.close();
        self.doors.paxos.close();
        let (core, paxos) = (Arc::clone(&self.core), Arc::clone(&self.paxos));
        let ending = self.handle.spawn(async move {
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
            let closing = tokio::task::spawn_blocking(move || {
                paxos.join();
                core.writer.close();
            });
            closing.await
        });
        if !matches!(ending.await, Ok(Ok(()))) {
            tracing::error!(target: "otlake::metadata", "the end of the group panicked");
        }
        runtime.shutdown_background();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().take() {
            self.core.closing.send_replace(true);
            runtime.shutdown_background();
        }
    }
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

async fn open(start: &Start, handle: Handle) -> Result<(Arc<Core>, Arc<Paxos>)> {
    let Start {
        config,
        clock,
        metrics,
        ..
    } = start;
    let store = (start.store)()?;
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
    let seed = RealDisk.unique(&config.folder);
    let writer = Writer::start(store, Arc::clone(clock), Arc::clone(metrics))?;
    let begun = begin(start, Arc::clone(&writer), identity, seed as u64).await;
    let core = match begun {
        Ok(core) => core,
        Err(error) => {
            writer.close();
            return Err(error);
        }
    };
    let agreements = start.agreements.clone();
    match Paxos::start(Arc::clone(&core), handle, agreements, (seed >> 64) as u64) {
        Ok(paxos) => Ok((core, paxos)),
        Err(error) => {
            core.closing.send_replace(true);
            // It has nothing under way yet that could fail.
            let _ = core.raft.shutdown().await;
            core.writer.close();
            Err(error)
        }
    }
}

async fn begin(
    start: &Start,
    writer: Arc<Writer>,
    identity: Arc<Identity>,
    seed: u64,
) -> Result<Arc<Core>> {
    let metrics = Arc::clone(&start.metrics);
    let log = LogStore::open(Arc::clone(&writer), identity.id)?;
    let machine = Machine::open(
        Arc::clone(&writer),
        Arc::clone(&metrics),
        start.states.clone(),
    )?;
    let link = Arc::new(Link {
        identity: Arc::clone(&identity),
        wire: Arc::clone(&start.wire),
        faults: Mutex::default(),
    });
    let raft = Raft::new(
        identity.id,
        Arc::new(raft_config(&start.config.timing)?),
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
        timing: start.config.timing,
        raft,
        log,
        machine,
        writer,
        link,
        lead,
        time: Default::default(),
        wishes: start.wishes.subscribe(),
        refused: Mutex::default(),
        heard_ms: Default::default(),
        clock: Arc::clone(&start.clock),
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
        replication_lag_threshold: CAUGHT_UP_ENTRIES,
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
        core.adopt(RealDisk.unique(Path::new(""))).await?;
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
