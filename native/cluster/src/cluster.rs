//! The handle of a cluster's node.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otlake_base::{Code, Error, FIRST_EPOCH, Result, StreamId};
use otlake_catalog::Direct;
use otlake_consensus::state::StreamState;
use otlake_consensus::{Answer, Command, MetadataGroup, Refusal};
use otlake_files::Files;
use otlake_peer::{Incoming, Outgoing, Peers};
use otlake_processor::Processor;
use otlake_reads::Reads;
use otlake_receive::Ingest;
use otlake_replicate::drive::{ReplicaService, Replicator};
use otlake_route::{Gateway, View};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::config::ClusterConfig;
use crate::moved::Moved;
use crate::recover::{Recoveries, RecoveryReport};
use crate::registry::Register;
use crate::services::Wires;
use crate::view::ClusterView;

/// How long a stream's last records wait for their copies when the node drains.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether they have them.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// A node's part in its cluster.
pub struct Cluster {
    pub(crate) config: ClusterConfig,
    pub(crate) processor: Mutex<Option<Arc<Processor>>>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) wires: Wires,
    pub(crate) group: Arc<MetadataGroup>,
    pub(crate) replicator: Arc<Replicator>,
    pub(crate) replicas: Arc<ReplicaService>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) moved: Arc<Moved>,
    pub(crate) register: Register,
    pub(crate) recoveries: Recoveries,
    pub(crate) tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Cluster {
    pub(crate) fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// The node's name.
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// The other nodes that take tasks of queries now; none once this one's part has ended.
    pub fn queried(&self) -> Vec<Arc<str>> {
        match self.processor() {
            Ok(_) => self.wires.view.read().queried(self.name()),
            Err(_) => Vec::new(),
        }
    }

    /// Opens a stream to a service that another node offers; `head` is its first message.
    ///
    /// # Errors
    /// `PEER_…`, as connections give them.
    pub async fn open(
        &self,
        node: &str,
        service: &str,
        head: Bytes,
    ) -> Result<(Outgoing, Incoming)> {
        self.wires.peers.open(node, service, head).await
    }

    /// The tables' files, where the nodes keep them.
    ///
    /// # Errors
    /// `NODE_STATE` where they are in one place for all.
    pub fn files(&self) -> Result<&Arc<Files>> {
        self.config.files.as_ref().ok_or_else(|| {
            let what = "the tables of this cluster are in one place for all nodes, and not on \
                        their own disks";
            Error::new(Code::NodeState, what)
        })
    }

    pub(crate) fn group(&self) -> &Arc<MetadataGroup> {
        &self.group
    }

    pub(crate) fn peers(&self) -> &Arc<Peers> {
        &self.wires.peers
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
        let view = Arc::new(view);
        if let Some(files) = &self.config.files {
            files.place(view.of_files());
        }
        self.moved.place(&view);
        self.gateway.place(View { owners, alive });
        self.replicator.follow(view.followers.clone());
        *self.wires.view.write() = view;
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

    /// Waits until this node has all of the metadata group's state that was answered anywhere before
    /// this was called: so what `metadata` tells next is linearizable.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` where no leader answered in time.
    pub async fn catch_up(&self) -> Result<()> {
        self.group.read().await.map(|_| ())
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
        // Of that some may wait for its copies still, and is acknowledged when it is in files.
        self.replicator.end(FIRST_EPOCH + 1);
        processor.flush().await?;
        let Some(record) = record.filter(|record| record.state == StreamState::Open) else {
            return Ok(());
        };
        let seal = Command::SealStream {
            stream,
            epoch: FIRST_EPOCH,
            by: Arc::clone(self.name()),
            ranges: Vec::new(),
            // What was acknowledged is in files; what its log has behind that never was.
            released: [processor.session().sequence; 3],
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
        if let Some(files) = &self.config.files {
            files.leave();
        }
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
