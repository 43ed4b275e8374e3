//! The owner's side: slices that other nodes send.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::Result;
use otlake_peer::Service;
use otlake_receive::Ingest;

use crate::parcel::{open, write_answer};
use crate::shard::hash;

/// The name that slices are sent to.
pub const INGEST: &str = "ingest";

/// Stores the slices that other nodes send, whoever owns them by now.
pub struct IngestService {
    local: Arc<dyn Ingest>,
}

impl IngestService {
    /// Over the node's own storage, never a gateway: a slice is sent once.
    pub fn new(local: Arc<dyn Ingest>) -> Arc<IngestService> {
        Arc::new(IngestService { local })
    }
}

#[async_trait]
impl Service for IngestService {
    async fn call(&self, from: Arc<str>, request: Bytes) -> Result<Bytes> {
        let parcel = open(request)?;
        // Connections are numbered by each node for itself.
        let connection = hash(from.as_bytes(), parcel.connection);
        let (signal, tenant, transport) = (parcel.signal, parcel.tenant, parcel.transport);
        let stored = self
            .local
            .ingest(signal, tenant, transport, connection, parcel.body);
        Ok(write_answer(&stored.await?))
    }
}
