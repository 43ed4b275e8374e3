//! What other nodes are offered, and the ways to them: every port of this node's parts, over the one
//! connection for each pair of nodes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use otlake_base::{Error, Result};
use otlake_peer::{Incoming, Outgoing, Peers, Service, StreamService};
use otlake_reads::{LivePort, LiveServer, Messages};
use otlake_replicate::drive::{self, Link, ReplicaService};
use parking_lot::RwLock;

use crate::view::ClusterView;

/// Records on their way to a follower.
pub(crate) const REPLICATE: &str = "replicate";
/// Questions of recoveries.
pub(crate) const REPLICA: &str = "replica";
/// Live batches, for queries.
pub(crate) const LIVE: &str = "live";

/// Other nodes, as all parts reach them.
#[derive(Clone)]
pub(crate) struct Wires {
    pub(crate) peers: Arc<Peers>,
    pub(crate) view: Arc<RwLock<Arc<ClusterView>>>,
}

#[async_trait]
impl otlake_consensus::Wire for Wires {
    async fn call(
        &self,
        to: &str,
        service: &'static str,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes> {
        self.peers.call(to, service, request, timeout).await
    }
}

#[async_trait]
impl drive::Wire for Wires {
    async fn open(&self, to: &Arc<str>) -> Result<Link> {
        let (outgoing, incoming) = self.peers.open(to, REPLICATE, Bytes::new()).await?;
        Ok(Link {
            outgoing: Box::new(Sending(outgoing)),
            incoming: Box::new(Receiving(incoming)),
        })
    }

    async fn call(&self, to: &Arc<str>, request: Bytes, timeout: Duration) -> Result<Bytes> {
        self.peers.call(to, REPLICA, request, timeout).await
    }
}

#[async_trait]
impl LivePort for Wires {
    fn others(&self) -> Vec<Arc<str>> {
        self.view.read().others(self.peers.name())
    }

    async fn live(&self, node: &str, request: Bytes) -> Result<Messages> {
        let (outgoing, incoming) = self.peers.open(node, LIVE, request).await?;
        // The sending half stays: without it the other side takes the exchange for given up.
        let messages = stream::try_unfold((outgoing, incoming), |(outgoing, mut incoming)| async {
            let next = incoming.next().await?;
            Ok::<_, Error>(next.map(|next| (next, (outgoing, incoming))))
        });
        Ok(messages.boxed())
    }
}

struct Sending(Outgoing);

#[async_trait]
impl drive::Outgoing for Sending {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        self.0.send(message).await
    }

    async fn send_parts(&mut self, parts: Vec<Bytes>) -> Result<()> {
        self.0.send_parts(parts).await
    }
}

struct Receiving(Incoming);

#[async_trait]
impl drive::Incoming for Receiving {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.0.next().await
    }
}

/// The journal of other nodes' records.
pub(crate) struct Replicas(pub(crate) Arc<ReplicaService>);

#[async_trait]
impl Service for Replicas {
    async fn call(&self, _: Arc<str>, request: Bytes) -> Result<Bytes> {
        self.0.call(request).await
    }
}

#[async_trait]
impl StreamService for Replicas {
    async fn serve(
        &self,
        from: Arc<str>,
        _: Bytes,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> Result<()> {
        let (incoming, outgoing) = (Box::new(Receiving(incoming)), Box::new(Sending(outgoing)));
        self.0.serve(&from, incoming, outgoing).await;
        Ok(())
    }
}

/// Live batches.
pub(crate) struct Lives(pub(crate) LiveServer);

#[async_trait]
impl StreamService for Lives {
    async fn serve(
        &self,
        _: Arc<str>,
        head: Bytes,
        mut incoming: Incoming,
        mut outgoing: Outgoing,
    ) -> Result<()> {
        let mut messages = self.0.serve(head)?;
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => outgoing.send(message?).await?,
                    None => return Ok(()),
                },
                // Nothing is sent this way: it is the sign that nobody listens any more.
                _ = incoming.next() => return Ok(()),
            }
        }
    }
}
