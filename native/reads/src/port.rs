//! What the rest of the cluster gives to reads.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use otlake_base::{Result, StreamId};

/// Who answers for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// Its owner writes it.
    Open,
    /// Its owner was taken for dead: another node gathers what its followers hold.
    Fenced {
        /// That node.
        by: Arc<str>,
    },
    /// That is done; the rows are in that node's memory, and on their way into files.
    Sealed {
        /// That node.
        by: Arc<str>,
        /// The last record that there is.
        last: u64,
    },
}

/// A stream that may have acknowledged records that are in no file yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenStream {
    /// The stream.
    pub stream: StreamId,
    /// The node that wrote it.
    pub owner: Arc<str>,
    /// Who answers for it now.
    pub state: StreamState,
}

impl OpenStream {
    /// The node whose live rows are the stream's.
    pub fn holder(&self) -> &Arc<str> {
        match &self.state {
            StreamState::Open => &self.owner,
            StreamState::Fenced { by } | StreamState::Sealed { by, .. } => by,
        }
    }
}

/// The list of streams, which the metadata group keeps.
#[async_trait]
pub trait Streams: Send + Sync + 'static {
    /// Every stream that may have acknowledged records that are in no file. The read is
    /// linearizable: a stream that was registered before the call is among them, and one is
    /// missing only if every record of it is in files whose commits are durable.
    ///
    /// # Errors
    /// What keeps the list from being read; retryable.
    async fn open(&self) -> Result<Vec<OpenStream>>;
}

/// The messages of an answer, in their order.
pub type Messages = BoxStream<'static, Result<Bytes>>;

/// The way to the other nodes.
#[async_trait]
pub trait LivePort: Send + Sync + 'static {
    /// The other nodes that are alive, as far as this one knows.
    fn others(&self) -> Vec<Arc<str>>;

    /// Sends a request to a node's [`LiveServer`](crate::LiveServer), and gives what that answers.
    /// Dropping the messages ends the exchange.
    ///
    /// # Errors
    /// What keeps the node from being reached; retryable.
    async fn live(&self, node: &str, request: Bytes) -> Result<Messages>;
}
