//! The wire over the connections between nodes (`otlake-peer`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::Result;
use otlake_peer::{Peers, Service, Services};
use tokio::runtime::Handle;

use crate::door::{Door, Doors};
use crate::raft::types::unavailable;
use crate::wire::{Handler, PAXOS, RAFT, Wire};

/// The wire over a node's connections.
pub struct PeerWire {
    peers: Arc<Peers>,
    handle: Handle,
}

impl PeerWire {
    /// A wire whose connections live in the runtime that this is called in. The group's own runtime is
    /// for the group alone: a connection that it dialled would carry everybody's bytes there.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(peers: Arc<Peers>) -> PeerWire {
        PeerWire {
            peers,
            handle: Handle::current(),
        }
    }
}

#[async_trait]
impl Wire for PeerWire {
    async fn call(
        &self,
        to: &str,
        service: &'static str,
        request: Bytes,
        timeout: Duration,
    ) -> Result<Bytes> {
        let (peers, to) = (Arc::clone(&self.peers), to.to_owned());
        let call = self
            .handle
            .spawn(async move { peers.call(&to, service, request, timeout).await });
        call.await.unwrap_or_else(|error| Err(unavailable(error)))
    }
}

#[async_trait]
impl Service for Door {
    async fn call(&self, from: Arc<str>, request: Bytes) -> Result<Bytes> {
        Handler::call(self, from, request).await
    }
}

impl Doors {
    /// Offers both to other nodes.
    pub fn register(&self, services: &mut Services) {
        services.register(RAFT, Arc::new(self.raft.clone()));
        services.register(PAXOS, Arc::new(self.paxos.clone()));
    }
}
