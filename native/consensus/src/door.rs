//! Where others' requests arrive: doors exist before the group does, for what listens is started
//! first.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::{Code, Error, Result};
use parking_lot::RwLock;

use crate::wire::Handler;

/// The doors of a node: `raft` and `paxos` are the services that they are registered as.
#[derive(Clone, Default)]
pub struct Doors {
    /// Raft's.
    pub raft: Door,
    /// Paxos's.
    pub paxos: Door,
}

/// A door of one service. Clones are the same door. Closed, it answers that the node is not ready.
#[derive(Clone, Default)]
pub struct Door {
    handler: Arc<RwLock<Option<Arc<dyn Handler>>>>,
}

impl Door {
    pub(crate) fn open(&self, handler: Arc<dyn Handler>) {
        *self.handler.write() = Some(handler);
    }

    pub(crate) fn close(&self) {
        *self.handler.write() = None;
    }
}

#[async_trait]
impl Handler for Door {
    async fn call(&self, from: Arc<str>, request: Bytes) -> Result<Bytes> {
        let handler = self.handler.read().clone();
        match handler {
            Some(handler) => handler.call(from, request).await,
            None => Err(Error::new(
                Code::MetadataUnavailable,
                "this node's part of the metadata group does not run now",
            )),
        }
    }
}
