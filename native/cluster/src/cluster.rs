//! The handle of a cluster's node.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Clock, Code, Error, Metrics, Result, Signal, StreamId};
use otlake_catalog::Direct;
use otlake_consensus::state::{State, StreamState};
use otlake_consensus::{Answer, Command, Doors, MetadataConfig, MetadataGroup, Refusal};
use otlake_log::Appender;
use otlake_peer::{PeerConfig, Peers, Services};
use otlake_processor::Processor;
use otlake_reads::{Patience, Reads};
use otlake_receive::Ingest;
use otlake_replicate::drive::{Recoverer, ReplicaService, Replicator, ReplicatorConfig};
use otlake_replicate::journal::JournalConfig;
use otlake_replicate::owner::FIRST_EPOCH;
use otlake_route::{Gateway, INGEST, IngestService, View};
use parking_lot::{Mutex, RwLock};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use crate::claims::{CLAIM, Claims};
use crate::commits::{COMMIT, HandOvers, gather};
use crate::config::ClusterConfig;
use crate::local::Local;
use crate::recover::{Recoveries, RecoveryReport};
use crate::registry::Register;
use crate::services::{LIVE, Lives, REPLICA, REPLICATE, Replicas, Wires};
use crate::view::ClusterView;

/// How often earlier streams of this node are looked after.
const SETTLE_EVERY: Duration = Duration::from_secs(2);
/// How long a stream's last records wait for their copies when the node drains.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether they have them.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// A node's part in its cluster.
pub struct Cluster {
    config: ClusterConfig,
    processor: Mutex<Option<Arc<Processor>>>,
    reads: Arc<Reads>,
    wires: Wires,
    group: Arc<MetadataGroup>,
    replicator: Arc<Replicator>,
    replicas: Arc<ReplicaService>,
    gateway: Arc<Gateway>,
    register: Register,
    recoveries: Recoveries,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Cluster {
    /// Puts the open store `processor`, which has stored nothing since its start, into a cluster:
    /// it admits nothing from here on before its stream is registered (`ready`). Needs a tokio
    /// runtime with time and I/O enabled.
    ///
    /// # Errors
    /// `CONFIG_INVALID`, `NODE_PORT_TAKEN`, `LOG_…` of the journal, `METADATA_…`, `NODE_STATE`.
    pub async fn start(
        config: ClusterConfig,
        processor: Arc<Processor>,
        reads: Arc<Reads>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Cluster>> {
        for quorum in &config.quorum {
            quorum.check()?;
        }
        let (journal, log_dir) = (JournalConfig::new(config.replicas_dir()), config.log_dir());
        let (disk, journal_clock) = (Arc::clone(&config.disk), Arc::clone(&clock));
        let journal_metrics = Arc::clone(&metrics);
        let replicas = tokio::task::spawn_blocking(move || {
            ReplicaService::open(disk, journal, log_dir, journal_clock, journal_metrics)
        });
        let replicas = replicas
            .await
            .map_err(|error| Error::new(Code::Internal, format!("a thread ended: {error}")))??;
        let doors = Doors::default();
        let local: Arc<dyn Ingest> = Arc::new(Local(Arc::clone(&processor)));
        let mut services = Services::new();
        services.register(INGEST, IngestService::new(Arc::clone(&local)));
        doors.register(&mut services);
        services.register(REPLICA, Arc::new(Replicas(Arc::clone(&replicas))));
        services.register_stream(REPLICATE, Arc::new(Replicas(Arc::clone(&replicas))));
        services.register_stream(LIVE, Arc::new(Lives(reads.server())));
        services.register(CLAIM, Arc::new(Claims(Arc::downgrade(&processor))));
        let hand_overs = Arc::new(HandOvers::default());
        services.register(COMMIT, Arc::clone(&hand_overs) as _);
        let peers = Peers::start(
            PeerConfig {
                name: Arc::clone(&config.name),
                cluster: Arc::clone(&config.cluster),
                listen: config.listen,
                secret: config.secret,
            },
            services,
            Arc::clone(&clock),
            Arc::clone(&metrics),
        )
        .await?;
        let wires = Wires {
            peers: Arc::clone(&peers),
            view: Arc::new(RwLock::default()),
        };
        let metadata = MetadataConfig::new(Arc::clone(&config.name), config.metadata_dir());
        let group = MetadataGroup::start(
            metadata,
            Arc::new(wires.clone()),
            &doors,
            Arc::clone(&clock),
            Arc::clone(&metrics),
        )
        .await;
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                peers.close().await;
                return Err(error);
            }
        };
        let register = Register {
            group: Arc::clone(&group),
            name: Arc::clone(&config.name),
            processor: Arc::downgrade(&processor),
        };
        let mut replicator = Err(Error::new(Code::Internal, "the log was not wrapped"));
        processor.append_through(|log| {
            let plain = Arc::clone(&log);
            replicator = Replicator::start(
                ReplicatorConfig {
                    quorum: config.quorum,
                    allow_degraded: config.allow_degraded,
                    ..ReplicatorConfig::default()
                },
                log,
                Arc::new(wires.clone()),
                Arc::new(register.clone()),
                Arc::clone(&clock),
                Arc::clone(&metrics),
            );
            match &replicator {
                Ok(replicator) => Arc::clone(replicator) as Arc<dyn Appender>,
                // Nothing is stored through it: the node does not start.
                Err(_) => plain,
            }
        })?;
        let replicator = replicator?;
        replicas.own(Arc::clone(&replicator));
        let gateway = Gateway::new(
            local,
            Arc::clone(&peers),
            Arc::clone(&clock),
            Arc::clone(&metrics),
        )?;
        gather(
            &processor,
            (&config.name, processor.session().stream),
            &group,
            &peers,
            &hand_overs,
            (Arc::clone(&clock), Arc::clone(&metrics)),
        );
        reads.join(otlake_reads::Cluster {
            node: Arc::clone(&config.name),
            port: Arc::new(wires.clone()),
            streams: Arc::new(register.clone()),
            patience: Patience::default(),
        });
        let recoverer = Recoverer::new(
            Arc::clone(&config.name),
            Arc::clone(&replicas),
            Arc::new(wires.clone()),
            Arc::clone(&clock),
            Arc::clone(&metrics),
        );
        let recoveries = Recoveries {
            register: register.clone(),
            recoverer,
            wires: wires.clone(),
            clock,
            open: Default::default(),
        };
        let cluster = Arc::new(Cluster {
            config,
            processor: Mutex::new(Some(processor)),
            reads,
            wires,
            group,
            replicator,
            replicas,
            gateway,
            register,
            recoveries,
            tasks: Mutex::default(),
        });
        cluster.watch();
        Ok(cluster)
    }

    /// What goes on beside the calls: fences of this node's stream are heard, and its earlier
    /// streams are settled.
    fn watch(self: &Arc<Self>) {
        let (replicator, stream) = (Arc::clone(&self.replicator), self.stream());
        let mut states = self.group.watch();
        let fences = tokio::spawn(async move {
            loop {
                let epoch = {
                    let state = states.borrow_and_update();
                    let record = state.streams.get(&stream);
                    record
                        .filter(|record| record.epoch > FIRST_EPOCH)
                        .map(|record| record.epoch)
                };
                if let Some(epoch) = epoch {
                    replicator.fence(epoch);
                }
                if states.changed().await.is_err() {
                    return;
                }
            }
        });
        let this = Arc::downgrade(self);
        let settles = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SETTLE_EVERY).await;
                let Some(this) = this.upgrade() else { return };
                if let Err(error) = this.settle().await {
                    tracing::debug!(
                        target: "otlake::cluster", "earlier streams are not settled yet: {error}"
                    );
                }
            }
        });
        self.tasks.lock().extend([fences, settles]);
    }

    pub(crate) fn config(&self) -> &ClusterConfig {
        &self.config
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    pub(crate) fn group(&self) -> &Arc<MetadataGroup> {
        &self.group
    }

    pub(crate) fn peers(&self) -> &Arc<Peers> {
        &self.wires.peers
    }

    /// The other nodes that are there.
    pub(crate) fn others(&self) -> Vec<Arc<str>> {
        self.wires.view.read().others(self.name())
    }

    pub(crate) fn processor(&self) -> Result<Arc<Processor>> {
        let processor = self.processor.lock().clone();
        processor.ok_or_else(|| Error::new(Code::HandleClosed, "the cluster's handle is closed"))
    }

    /// The stream of this start.
    pub fn stream(&self) -> StreamId {
        self.register
            .processor
            .upgrade()
            .map_or(StreamId(0), |processor| processor.session().stream)
    }

    /// Where other nodes' connections are taken.
    pub fn address(&self) -> std::net::SocketAddr {
        self.wires.peers.address()
    }

    /// Has `on_lost` told the name of each node with which a connection breaks. Only the first call
    /// of this counts.
    pub fn on_lost(&self, on_lost: impl Fn(&str) + Send + Sync + 'static) {
        self.wires.peers.on_lost(Box::new(on_lost));
    }

    /// What requests go through: to their owners.
    pub fn gateway(&self) -> Arc<dyn Ingest> {
        Arc::clone(&self.gateway) as Arc<dyn Ingest>
    }

    /// Takes over where everything belongs. The same again changes nothing.
    ///
    /// # Errors
    /// `CONFIG_INVALID`, `METADATA_INVALID`: nothing has changed then.
    pub fn place(&self, view: ClusterView) -> Result<()> {
        if **self.wires.view.read() == view {
            return Ok(());
        }
        let owners = view.placed(self.name())?;
        if !view.voters.is_empty() {
            let learners: Vec<Arc<str>> = view
                .members
                .iter()
                .map(|member| Arc::clone(&member.name))
                .filter(|name| !view.voters.contains(name))
                .collect();
            self.group.set_voters(&view.voters, Some(&learners))?;
        }
        let others = view.members.iter();
        let others = others.filter(|member| member.name != *self.name());
        self.wires.peers.set_members(
            others
                .map(|member| (Arc::clone(&member.name), member.address))
                .collect(),
        );
        let mut alive: HashSet<Arc<str>> = view.others(self.name()).into_iter().collect();
        alive.insert(Arc::clone(self.name()));
        self.gateway.place(View { owners, alive });
        self.replicator.follow(view.followers.clone());
        *self.wires.view.write() = Arc::new(view);
        Ok(())
    }

    /// Makes the metadata group, of this node alone.
    ///
    /// # Errors
    /// `METADATA_…`.
    pub async fn bootstrap(&self) -> Result<()> {
        self.group.bootstrap().await
    }

    /// Resolves when the node's stream is registered: it acknowledges from then on.
    ///
    /// # Errors
    /// `HANDLE_CLOSED` where the node is closed before.
    pub async fn ready(&self) -> Result<()> {
        let mut ready = self.replicator.ready();
        let waited = ready.wait_for(|ready| *ready).await;
        waited
            .map(|_| ())
            .map_err(|_| Error::new(Code::HandleClosed, "the node was closed"))
    }

    /// Recovers a stream as far as can be done now.
    ///
    /// # Errors
    /// `CONFIG_INVALID` for this start's own stream; `METADATA_…`, `CLUSTER_FENCED`, and what
    /// storing the records came to: all but the first can be tried again.
    pub async fn recover(&self, stream: StreamId) -> Result<RecoveryReport> {
        if stream == self.stream() {
            let what = "a node does not recover the stream that it writes";
            return Err(Error::new(Code::ConfigInvalid, what));
        }
        let processor = self.processor()?;
        self.recoveries.recover(&processor, stream).await
    }

    /// Sets a key of the cluster's configuration; `null` removes it.
    ///
    /// # Errors
    /// `METADATA_…`.
    pub async fn configure(&self, key: String, value: String) -> Result<()> {
        let value = (value.trim() != "null").then_some(value);
        let configure = Command::Configure {
            key,
            value,
            expect: None,
        };
        granted(self.group.propose(configure).await?).map(|_| ())
    }

    /// Takes a lock over the cluster, for so long unless it is given back; its fencing token.
    ///
    /// # Errors
    /// `METADATA_REFUSED` where another holds it; `METADATA_…`.
    pub async fn lock(&self, name: String, ttl_ms: u64) -> Result<u64> {
        let holder = format!("{}/{}", self.name(), self.stream());
        self.group.agreement().lock(&name, &holder, ttl_ms).await
    }

    /// Gives a lock back.
    ///
    /// # Errors
    /// `METADATA_…`.
    pub async fn unlock(&self, name: String, token: u64) -> Result<()> {
        self.group.agreement().unlock(&name, token).await
    }

    /// Ends this node's stream in good order: what was stored is written to files, and nobody has to
    /// recover it. The node takes nothing more. Receivers should have stopped.
    ///
    /// # Errors
    /// What flushing came to, `METADATA_…`; then the stream is left for a recovery.
    pub async fn drain(&self) -> Result<()> {
        let processor = self.processor()?;
        let deadline = tokio::time::Instant::now() + DRAIN_WAIT;
        while self.replicator.status().pending > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        let state = self.group.local();
        let stream = self.stream();
        let record = state.streams.get(&stream).cloned();
        // From here on nothing is acknowledged: what is in the live rows now is all there will be.
        self.replicator.fence(FIRST_EPOCH + 1);
        processor.flush().await?;
        let Some(record) = record.filter(|record| record.state == StreamState::Open) else {
            return Ok(());
        };
        let seal = Command::SealStream {
            stream,
            epoch: FIRST_EPOCH,
            by: Arc::clone(self.name()),
            ranges: Vec::new(),
            // Nothing but what is in files was acknowledged.
            released: [u64::MAX; 3],
        };
        match self.register.propose(seal).await? {
            Ok(_) | Err(Refusal::Sealed) => {}
            Err(refusal) => return Err(refusal.into()),
        }
        let members = crate::registry::ensembles(&record)?.members();
        let members: Vec<Arc<str>> = members.into_iter().map(|member| member.name).collect();
        self.recoveries.recoverer.forget(&members, stream).await;
        Ok(())
    }

    /// What the metadata group knows, as far as this node has heard, as JSON.
    pub fn metadata(&self) -> Value {
        let (status, state) = (self.group.status(), self.group.local());
        json!({
            "group": status.group.unwrap_or_default(),
            "leader": status.leader.as_deref().unwrap_or_default(),
            "term": status.term,
            "voters": status.voters,
            "learners": status.learners,
            "refused": status.refused,
            "failure": status.failure,
            "applied": status.applied,
            "streams": streams(&state),
            "config": settings(&state),
            "services": services(&state),
        })
    }

    /// How the replication of this node's stream stands, as JSON.
    pub fn status(&self) -> Value {
        let status = self.replicator.status();
        let followers = status.followers.iter().flat_map(|follower| {
            follower.signals.iter().map(move |signal| {
                json!({
                    "name": follower.name,
                    "signal": shards_name(*signal),
                    "lagRecords": follower.lag_records,
                    "lagBytes": follower.lag_bytes,
                    "connected": follower.connected,
                })
            })
        });
        let (journal_bytes, journal_records) = self.replicas.figures();
        json!({
            "stream": self.stream().to_string(),
            "followers": followers.collect::<Vec<_>>(),
            "degraded": status.degraded,
            "pending": status.pending,
            "fenced": status.fenced,
            "journal": { "bytes": journal_bytes, "records": journal_records },
        })
    }

    /// Ends this node's part; what is under way fails. The store is left open, and takes nothing.
    ///
    /// # Errors
    /// `LOG_IO` where the journal did not end well.
    pub async fn close(&self) -> Result<()> {
        let processor = self.processor.lock().take();
        if let Some(processor) = processor {
            processor.commit_through(Arc::new(Direct));
        }
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        self.reads.leave();
        self.replicator.close();
        self.wires.peers.close().await;
        self.group.close().await;
        let replicas = Arc::clone(&self.replicas);
        tokio::task::spawn_blocking(move || replicas.close())
            .await
            .map_err(|error| Error::new(Code::Internal, format!("a thread ended: {error}")))?
    }
}

fn granted(answer: Answer) -> Result<Answer> {
    match answer {
        Answer::Refused(refusal) => Err(refusal.into()),
        answer => Ok(answer),
    }
}

/// A signal as shards and TypeScript name it.
fn shards_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "spans",
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
    }
}

fn streams(state: &State) -> Vec<Value> {
    let name = |member: &Arc<str>| member.split('#').next().unwrap_or_default().to_owned();
    let names = |members: &[Arc<str>]| members.iter().map(name).collect::<Vec<_>>();
    let streams = state.streams.values();
    let streams = streams.map(|record| {
        let (standing, by) = match &record.state {
            StreamState::Open => ("open", ""),
            StreamState::Fenced { by } => ("fenced", &**by),
            StreamState::Sealed { by, .. } => ("sealed", &**by),
        };
        let followers = record.ensembles.last().map(|last| &last.followers);
        json!({
            "stream": record.stream.to_string(),
            "owner": record.owner,
            "epoch": record.epoch,
            "state": standing,
            "by": by,
            "followers": followers.map(|followers| json!({
                "spans": names(&followers.spans),
                "metrics": names(&followers.metrics),
                "logs": names(&followers.logs),
            })),
        })
    });
    streams.collect()
}

fn settings(state: &State) -> Map<String, Value> {
    let settings = state.settings.iter();
    settings
        .map(|(key, setting)| {
            let value = serde_json::from_str(&setting.value).unwrap_or(Value::Null);
            (key.clone(), value)
        })
        .collect()
}

fn services(state: &State) -> Map<String, Value> {
    let services = state.services.iter();
    services
        .map(|(name, instances)| {
            let instances: Map<String, Value> = instances
                .iter()
                .map(|(instance, known)| {
                    let value = serde_json::from_str(&known.value).unwrap_or(Value::Null);
                    (instance.clone(), value)
                })
                .collect();
            (name.clone(), Value::Object(instances))
        })
        .collect()
}
