//! The port to what is agreed on in Paxos: distributed locks, and transactions over several tables.
//! What is behind it (`paxos/`) can be replaced; nothing else names omnipaxos.
//!
//! - `command.rs`: what can be asked, and what is answered.
//! - `state.rs`: the state machine; `transactions.rs`: its two-phase commits.

mod command;
mod state;
#[cfg(test)]
mod state_test;
mod transactions;

use std::sync::Arc;

use async_trait::async_trait;
use otlake_base::Result;
use tokio::sync::watch;

pub(crate) use command::{AGREEMENT_VERSION, AgreementBatch, AgreementProposal};
pub use command::{AgreementAnswer, AgreementCommand, AgreementRefusal};
pub use state::Agreement;
pub use transactions::{Decision, Transaction};

/// Locks with fencing tokens, and transactions that all participants carry out or none does.
#[async_trait]
pub trait AgreementPort: Send + Sync + 'static {
    /// Has a command applied, once, however often it must be sent. When this returns, a majority has
    /// it on stable storage.
    ///
    /// # Errors
    /// `METADATA_INVALID` where the command can never be; `METADATA_UNAVAILABLE` where no leader
    /// answered in time: then it may be applied, or not. What the state machine refuses is an answer.
    async fn propose(&self, command: AgreementCommand) -> Result<AgreementAnswer>;

    /// The state, with all in it that was proposed and answered anywhere before this was called.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE` where no leader answered in time.
    async fn read(&self) -> Result<Arc<Agreement>>;

    /// The state as this node has it: what it was when this node last heard of it.
    fn local(&self) -> Arc<Agreement>;

    /// The state as this node has it, whenever it changes.
    fn watch(&self) -> watch::Receiver<Arc<Agreement>>;
}

impl dyn AgreementPort {
    /// Takes a lock, or renews one's own; the answer is its fencing token, greater than any given
    /// before. Another start of a node is another holder.
    ///
    /// # Errors
    /// `METADATA_REFUSED` where another holds it; those of `propose`.
    pub async fn lock(&self, name: &str, holder: &str, ttl_ms: u64) -> Result<u64> {
        let command = AgreementCommand::Lock {
            name: name.to_owned(),
            holder: holder.to_owned(),
            ttl_ms,
        };
        match self.propose(command).await? {
            AgreementAnswer::Locked { token, .. } => Ok(token),
            answer => Err(answer.refusal()),
        }
    }

    /// Gives a lock back. Where it is not held under this token any more, nothing changes.
    ///
    /// # Errors
    /// Those of `propose`.
    pub async fn unlock(&self, name: &str, token: u64) -> Result<()> {
        let command = AgreementCommand::Unlock {
            name: name.to_owned(),
            token,
        };
        match self.propose(command).await? {
            AgreementAnswer::Done => Ok(()),
            answer => Err(answer.refusal()),
        }
    }
}
