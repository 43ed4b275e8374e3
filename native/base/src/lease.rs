//! The port for leases: one node at a time does a thing, as long as its lease has not ended.
//!
//! A lease saves work; nothing is safe because of it. A node that was paused goes on believing in
//! its lease for a moment, and two nodes may believe in theirs: what they do has to be safe all the
//! same, by the compare-and-swap of commits.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::{Result, Table};

/// The lease of the regular jobs over the shared tables.
pub const JOBS_LEASE: &str = "jobs";

/// The lease of committing what all nodes flush to a table.
pub fn commit_lease(table: Table) -> String {
    format!("commit/{}", table.name())
}

/// Who has a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lease {
    /// This node.
    Own {
        /// Higher than that of every holder before.
        token: u64,
        /// When it ends, unless it is renewed: by this node's monotonic clock.
        until: Duration,
    },
    /// Another node, by its name.
    Other(Arc<str>),
}

/// What gives leases.
pub trait Leases: Debug + Send + Sync + 'static {
    /// Takes the lease of this name if it is free, renews it if it is this node's, and tells who
    /// has it.
    ///
    /// # Errors
    /// What keeps it from being told; retryable.
    fn hold<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Lease>> + Send + 'a>>;
}
