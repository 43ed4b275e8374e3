//! How a node's part in its cluster is put together, and what goes on beside the calls.

use std::sync::{Arc, Weak};
use std::time::Duration;

use otlake_base::{Clock, Code, Error, FIRST_EPOCH, Metrics, Result, Signal, Table};
use otlake_consensus::state::{State, StreamState};
use otlake_consensus::{Doors, MetadataConfig, MetadataGroup};
use otlake_files::{FILES, FilesLink, FilesService};
use otlake_log::Appender;
use otlake_peer::{PeerConfig, Peers, Services, StreamService};
use otlake_processor::Processor;
use otlake_reads::{Patience, Reads};
use otlake_receive::Ingest;
use otlake_replicate::drive::{Recoverer, ReplicaService, Replicator, ReplicatorConfig};
use otlake_replicate::journal::JournalConfig;
use otlake_route::{Gateway, INGEST, IngestService, SLICES};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::claims::{CLAIM, Claims};
use crate::cluster::Cluster;
use crate::commits::{COMMIT, HandOvers, gather};
use crate::config::ClusterConfig;
use crate::copies::Copies;
use crate::local::Local;
use crate::moved::{Moved, STORED, Stored};
use crate::presence::{PRESENCE, Presence};
use crate::recover::Recoveries;
use crate::registry::{Register, was_kept};
use crate::services::{LIVE, Lives, REPLICA, REPLICATE, Replicas, Wires};
use crate::view::ClusterView;

/// How soon a table is opened anew again that could not be.
const REOPEN_EVERY: Duration = Duration::from_millis(250);
/// How often earlier streams of this node are looked after.
const SETTLE_EVERY: Duration = Duration::from_secs(2);

impl Cluster {
    /// Puts the open store `processor`, which has stored nothing since its start, into a cluster:
    /// it admits nothing from here on before its stream is registered (`ready`). Other nodes are
    /// offered `offered` beside the cluster's own services. Needs a tokio runtime with time and I/O
    /// enabled.
    ///
    /// # Errors
    /// `CONFIG_INVALID`, `NODE_PORT_TAKEN`, `LOG_…` of the journal, `METADATA_…`, `NODE_STATE`.
    pub async fn start(
        config: ClusterConfig,
        processor: Arc<Processor>,
        reads: Arc<Reads>,
        offered: Vec<(&'static str, Arc<dyn StreamService>)>,
        (clock, metrics): (Arc<dyn Clock>, Arc<Metrics>),
    ) -> Result<Arc<Cluster>> {
        config.quorums.check()?;
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
        let moved = Arc::new(Moved::new(Arc::clone(&config.name), Arc::clone(&clock)));
        let local = Local::among(Arc::clone(&processor), Arc::clone(&moved));
        let local: Arc<dyn Ingest> = Arc::new(local);
        let mut services = Services::new();
        let ingest = IngestService::new(Arc::clone(&local));
        services.register(INGEST, Arc::clone(&ingest) as _);
        services.register_stream(SLICES, ingest);
        doors.register(&mut services);
        services.register(REPLICA, Arc::new(Replicas(Arc::clone(&replicas))));
        services.register_stream(REPLICATE, Arc::new(Replicas(Arc::clone(&replicas))));
        services.register_stream(LIVE, Arc::new(Lives(reads.server())));
        services.register(CLAIM, Arc::new(Claims(Arc::downgrade(&processor))));
        let hand_overs = Arc::new(HandOvers::default());
        services.register(COMMIT, Arc::clone(&hand_overs) as _);
        let stored = Stored {
            processor: Arc::downgrade(&processor),
            moved: Arc::clone(&moved),
        };
        services.register(STORED, Arc::new(stored));
        let view: Arc<RwLock<Arc<ClusterView>>> = Arc::default();
        let presence = Presence {
            name: Arc::clone(&config.name),
            view: Arc::clone(&view),
            processor: Arc::downgrade(&processor),
        };
        services.register(PRESENCE, Arc::new(presence));
        for (name, service) in offered {
            services.register_stream(name, service);
        }
        if let Some(files) = &config.files {
            services.register(FILES, Arc::new(FilesService::new(files)));
        }
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
        moved.over(&peers);
        let wires = Wires {
            peers: Arc::clone(&peers),
            view,
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
        if let Some(files) = &config.files {
            files.join(FilesLink {
                name: Arc::clone(&config.name),
                wire: Arc::new(wires.clone()),
                group: group.clone(),
                copies: [Signal::Traces, Signal::Metrics, Signal::Logs]
                    .map(|signal| config.quorums.copies(signal)),
                allow_degraded: config.allow_degraded,
            });
        }
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
                    quorums: config.quorums.clone(),
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
        let copies = Arc::new(Copies(Arc::downgrade(&processor)));
        let observed = Arc::clone(&replicas);
        tokio::task::spawn_blocking(move || observed.observe(copies))
            .await
            .map_err(|error| Error::new(Code::Internal, format!("a thread ended: {error}")))??;
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
            (&peers, &replicator),
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
            moved,
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
        let told = Arc::downgrade(self);
        let fences = tokio::spawn(async move {
            loop {
                // Held for no longer: whoever applies the next state waits for it.
                let state = Arc::clone(&states.borrow_and_update());
                if let Some(record) = state.streams.get(&stream)
                    && record.epoch > FIRST_EPOCH
                {
                    replicator.fence(record.epoch);
                }
                if let Some(processor) = told.upgrade().and_then(|this| this.processor().ok()) {
                    settle_sealed(&processor, &state);
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
        if let Some(files) = &self.config.files {
            let (joined, this) = (files.joined(), Arc::downgrade(self));
            let reopened = tokio::spawn(reopen(joined, this));
            self.tasks.lock().push(reopened);
        }
    }
}

/// Opens the tables anew once this node has what the others have of them: until then it had its own
/// part, or nothing.
async fn reopen(mut joined: watch::Receiver<bool>, this: Weak<Cluster>) {
    if joined.wait_for(|joined| *joined).await.is_err() {
        return;
    }
    for table in Table::ALL {
        loop {
            let Some(processor) = this.upgrade().and_then(|this| this.processor().ok()) else {
                return;
            };
            let handle = Arc::clone(processor.tables().handle(table));
            drop(processor);
            match handle.reopen().await {
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(target: "otlake::cluster", "not opened anew yet: {error}");
                    tokio::time::sleep(REOPEN_EVERY).await;
                }
            }
        }
    }
}

/// Settles the records of streams whose recovery is over. A stream that is gone again was sealed, and
/// what was kept of it is not known any more: a resend is stored, and compaction drops it where it is a
/// span. One that this node's log still holds was never known to the group: that is to come.
fn settle_sealed(processor: &Processor, state: &State) {
    let held = processor.earlier_streams();
    for stream in processor.recovering() {
        match state.streams.get(&stream).map(|record| &record.state) {
            Some(StreamState::Sealed {
                ranges, released, ..
            }) => processor.settle_recovered(stream, |signal, position| {
                was_kept(ranges, released, signal, position)
            }),
            None if !held.contains(&stream) => processor.settle_recovered(stream, |_, _| false),
            Some(_) | None => {}
        }
    }
}
