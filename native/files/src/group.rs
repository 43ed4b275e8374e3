//! What the nodes agree on, as far as files need it: a port. The metadata group is behind it.

use std::sync::Arc;

use async_trait::async_trait;
use otlake_base::Result;
use otlake_consensus::{Answer, Command, MetadataGroup, State};
use tokio::sync::watch;

/// A group of nodes that agrees on which content a name of a table's log stands for.
#[async_trait]
pub trait Group: Send + Sync + 'static {
    /// How many nodes it has, voters and others.
    fn members(&self) -> usize;

    /// Has a command applied once. When this returns, a majority has it on stable storage.
    ///
    /// # Errors
    /// `METADATA_INVALID`; `METADATA_UNAVAILABLE` where it may be applied, or not.
    async fn propose(&self, command: Command) -> Result<Answer>;

    /// The state, with all in it that was proposed and answered anywhere before this was called.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE`.
    async fn read(&self) -> Result<Arc<State>>;

    /// The state as this node has it, which may lack what others know already.
    fn local(&self) -> Arc<State>;

    /// The same, whenever it changes.
    fn watch(&self) -> watch::Receiver<Arc<State>>;
}

#[async_trait]
impl Group for MetadataGroup {
    fn members(&self) -> usize {
        let status = self.status();
        status.voters.len() + status.learners.len()
    }

    async fn propose(&self, command: Command) -> Result<Answer> {
        MetadataGroup::propose(self, command).await
    }

    async fn read(&self) -> Result<Arc<State>> {
        MetadataGroup::read(self).await
    }

    fn local(&self) -> Arc<State> {
        MetadataGroup::local(self)
    }

    fn watch(&self) -> watch::Receiver<Arc<State>> {
        MetadataGroup::watch(self)
    }
}
