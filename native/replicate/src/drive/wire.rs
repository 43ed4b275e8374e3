//! The port to the network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::Result;

/// A network of named nodes.
#[async_trait]
pub trait Wire: Send + Sync + 'static {
    /// Opens a link to a node: messages both ways, in order, until either end goes.
    ///
    /// # Errors
    /// A code to try again upon.
    async fn open(&self, to: &Arc<str>) -> Result<Link>;

    /// Asks a node something and gives its answer.
    ///
    /// # Errors
    /// A code to try again upon, where it cannot be reached or does not answer in time.
    async fn call(&self, to: &Arc<str>, request: Bytes, timeout: Duration) -> Result<Bytes>;
}

/// An open link.
pub struct Link {
    /// What is sent.
    pub outgoing: Box<dyn Outgoing>,
    /// What comes.
    pub incoming: Box<dyn Incoming>,
}

/// The sending half of a link.
#[async_trait]
pub trait Outgoing: Send {
    /// Sends a message; waits while the other end takes none.
    ///
    /// # Errors
    /// Where the link is broken.
    async fn send(&mut self, message: Bytes) -> Result<()>;

    /// The same for a message that is these parts one behind the other, which a wire that can does not
    /// copy.
    ///
    /// # Errors
    /// The same.
    async fn send_parts(&mut self, parts: Vec<Bytes>) -> Result<()> {
        self.send(Bytes::from(parts.concat())).await
    }
}

/// The receiving half of a link.
#[async_trait]
pub trait Incoming: Send {
    /// The next message; none at the link's end.
    ///
    /// # Errors
    /// Where the link broke.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}
