//! Queries that are shared among nodes, over the connections of the cluster.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::{Code, Error, Result};
use otlake_cluster::Cluster;
use otlake_peer::{Incoming, Outgoing, StreamService};
use otlake_query::{QueryEngine, Wire, Workers};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The service's name among nodes.
pub const QUERY: &str = "query";

/// Tasks of other nodes' queries, done where this node's own queries are.
pub struct Tasks {
    pub queries: Arc<QueryEngine>,
    pub asking: Handle,
}

#[async_trait]
impl StreamService for Tasks {
    async fn serve(
        &self,
        _: Arc<str>,
        head: Bytes,
        incoming: Incoming,
        outgoing: Outgoing,
    ) -> Result<()> {
        let queries = Arc::clone(&self.queries);
        let wire = wire(outgoing, incoming);
        let serving = async move { queries.serve(head, wire).await };
        let mut serving = Ending(self.asking.spawn(serving));
        let served = (&mut serving.0).await;
        served.map_err(|error| Error::new(Code::Internal, format!("a task ended: {error}")))?
    }
}

/// Ends what runs when nobody waits for it any more.
struct Ending(JoinHandle<Result<()>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The other nodes, as queries reach them. The cluster's part has the service, and that the queries.
pub struct Others {
    pub own: Arc<str>,
    pub cluster: Weak<Cluster>,
}

#[async_trait]
impl Workers for Others {
    fn own(&self) -> Arc<str> {
        Arc::clone(&self.own)
    }

    fn others(&self) -> Vec<Arc<str>> {
        let cluster = self.cluster.upgrade();
        cluster.map_or_else(Vec::new, |cluster| cluster.queried())
    }

    async fn open(&self, node: &str, head: Bytes) -> Result<Wire> {
        let cluster = self.cluster.upgrade();
        let cluster =
            cluster.ok_or_else(|| Error::new(Code::HandleClosed, "the node's part has ended"))?;
        let (outgoing, incoming) = cluster.open(node, QUERY, head).await?;
        Ok(wire(outgoing, incoming))
    }
}

fn wire(outgoing: Outgoing, incoming: Incoming) -> Wire {
    Wire {
        outgoing: Box::new(Sending(outgoing)),
        incoming: Box::new(Receiving(incoming)),
    }
}

struct Sending(Outgoing);

#[async_trait]
impl otlake_query::Outgoing for Sending {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        self.0.send(message).await
    }
}

struct Receiving(Incoming);

#[async_trait]
impl otlake_query::Incoming for Receiving {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.0.next().await
    }
}
