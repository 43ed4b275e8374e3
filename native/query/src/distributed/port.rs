//! What the rest of the cluster gives to distributed queries.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::Result;

/// The nodes that answer queries, and the way to each.
#[async_trait]
pub trait Workers: Send + Sync + 'static {
    /// This node's name.
    fn own(&self) -> Arc<str>;

    /// The other nodes that answer queries now, as far as this one knows.
    fn others(&self) -> Vec<Arc<str>>;

    /// Opens an exchange with a node: its [`QueryEngine::serve`](crate::QueryEngine::serve) is given
    /// `head` and the other end.
    ///
    /// # Errors
    /// What keeps the node from being reached; retryable.
    async fn open(&self, node: &str, head: Bytes) -> Result<Wire>;
}

/// An exchange of messages; dropping it ends it.
pub struct Wire {
    /// The half that sends.
    pub outgoing: Box<dyn Outgoing>,
    /// The half that receives.
    pub incoming: Box<dyn Incoming>,
}

/// The half that sends.
#[async_trait]
pub trait Outgoing: Send {
    /// Hands a message over, once the other side has taken enough of those before it.
    ///
    /// # Errors
    /// The exchange is over.
    async fn send(&mut self, message: Bytes) -> Result<()>;
}

/// The half that receives.
#[async_trait]
pub trait Incoming: Send {
    /// The next message; none after the last. Dropped before it returns, it loses nothing.
    ///
    /// # Errors
    /// The exchange broke.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}
