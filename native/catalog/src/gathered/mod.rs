//! Commits that one node makes for all: fewer versions, and no two nodes that meet at one.
//!
//! ```text
//!  flusher --addition--> Gathered --who has the lease?--> this node --> queue --+
//!                             |                                                 v
//!                             |                             one commit with all marks --> answers
//!                             `--another node--> hand-over --> its queue --'      |
//!                                   |                                             v
//!                                   `- no answer, refused: this node commits by itself
//! ```
//!
//! A lease only saves work. A hand-over whose answer is lost can have landed, can land later or not
//! at all, and two nodes may believe that they have the lease: each commit is a compare-and-swap on
//! the watermarks that its files were written against, so of all of them one lands.
//!
//! - `lease`: who commits a table.
//! - `queue`: additions that wait for their commit.
//! - `wire`: hand-overs as bytes.

mod lease;
mod queue;
mod wire;

#[cfg(test)]
mod gathered_test;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::limits::{COMMIT_ANSWER_MS, COMMIT_GATHER_MS};
use otlake_base::{Clock, Code, Error, Leases, Metrics, Result, Table};
use parking_lot::RwLock;

use crate::commit::{Addition, Committed, Outcome};
use crate::handle::DeltaTableHandle;
use crate::rule::{Verdict, judge};
use lease::{Holder, Holders};
use queue::Queue;
use wire::{Answer, HandOver};

/// The way that additions go to their table.
#[async_trait]
pub trait Commits: Send + Sync + 'static {
    /// As [`DeltaTableHandle::commit_one`].
    ///
    /// # Errors
    /// As `commit_one`.
    async fn commit(&self, table: &Arc<DeltaTableHandle>, addition: Addition) -> Result<Committed>;
}

/// Each node commits what it has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

#[async_trait]
impl Commits for Direct {
    async fn commit(&self, table: &Arc<DeltaTableHandle>, addition: Addition) -> Result<Committed> {
        table.commit_one(addition).await
    }
}

/// A way that can be changed while it is used: a node that joins others hands over from then on.
pub struct Switch(RwLock<Arc<dyn Commits>>);

impl Default for Switch {
    fn default() -> Self {
        Switch(RwLock::new(Arc::new(Direct)))
    }
}

impl Switch {
    /// Additions go this way from now on.
    pub fn set(&self, commits: Arc<dyn Commits>) {
        *self.0.write() = commits;
    }
}

#[async_trait]
impl Commits for Switch {
    async fn commit(&self, table: &Arc<DeltaTableHandle>, addition: Addition) -> Result<Committed> {
        let commits = Arc::clone(&*self.0.read());
        commits.commit(table, addition).await
    }
}

/// The way to the node that commits for all.
#[async_trait]
pub trait CommitPort: Send + Sync + 'static {
    /// Has a node's [`Gathered::take`] answer a request.
    ///
    /// # Errors
    /// What keeps the answer from coming within the time, whatever has become of the request.
    async fn hand_over(&self, node: &str, request: Bytes, time: Duration) -> Result<Bytes>;
}

/// How long is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// For further additions, by the node that commits.
    pub gather: Duration,
    /// For its answer, beyond that.
    pub answer: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Waits {
            gather: Duration::from_millis(COMMIT_GATHER_MS),
            answer: Duration::from_millis(COMMIT_ANSWER_MS),
        }
    }
}

/// The node that has a table's lease commits for all.
pub struct Gathered {
    node: Arc<str>,
    holders: Holders,
    queues: Vec<Arc<Queue>>,
    port: Arc<dyn CommitPort>,
    metrics: Arc<Metrics>,
    waits: Waits,
}

impl Gathered {
    /// For these tables, one of each in the order of [`Table::ALL`]. Needs a tokio runtime with
    /// time enabled when it is used.
    pub fn new(
        node: Arc<str>,
        tables: Vec<Arc<DeltaTableHandle>>,
        leases: Arc<dyn Leases>,
        port: Arc<dyn CommitPort>,
        (clock, metrics): (Arc<dyn Clock>, Arc<Metrics>),
        waits: Waits,
    ) -> Arc<Gathered> {
        let queue = |table| Queue::new(table, Arc::clone(&clock), waits.gather);
        Arc::new(Gathered {
            node,
            queues: tables.into_iter().map(queue).collect(),
            holders: Holders::new(leases, clock, waits),
            port,
            metrics,
            waits,
        })
    }

    fn queue(&self, table: Table) -> Result<&Arc<Queue>> {
        let queue = self.queues.iter().find(|queue| queue.table() == table);
        queue.ok_or_else(|| Error::new(Code::Internal, "a table that is not committed here"))
    }

    /// Answers what another node has handed over.
    ///
    /// # Errors
    /// `TABLE_IO` for a request that is none.
    pub async fn take(&self, request: Bytes) -> Result<Bytes> {
        let HandOver { table, addition } = HandOver::read(request)?;
        let answer = match self.holders.is_own(table).await {
            false => Answer::refused("this node does not have the lease"),
            true => match self.queue(table)?.add(addition, true, &self.holders).await {
                Ok((snapshot, outcome)) => Answer::settled(snapshot.version, outcome),
                Err(error) => Answer::refused(&error.message),
            },
        };
        Ok(answer.write())
    }

    /// Hands an addition over; none where it is not known what became of it, or it was refused.
    async fn hand_over(
        &self,
        node: &str,
        table: &Arc<DeltaTableHandle>,
        addition: &Addition,
    ) -> Option<Committed> {
        let request = HandOver::write(table.table(), addition);
        let time = self.waits.gather + self.waits.answer;
        let answered = self.port.hand_over(node, request, time).await;
        let answer = answered.and_then(Answer::read);
        let settled = match answer {
            Ok(answer) => answer.outcome(),
            Err(error) => Err(error),
        };
        let (version, outcome) = settled
            .inspect_err(|error| {
                tracing::debug!(
                    target: "otlake::catalog", node, table = table.table().name(),
                    "files that were handed over are committed here: {error}"
                );
            })
            .ok()?;
        // What it says is believed for what the table holds.
        let snapshot = table.refresh_to(version).await.ok()?;
        let verdict = judge(&addition.marks, |stream| snapshot.standing(stream));
        match (outcome, verdict) {
            (Outcome::Held, Verdict::Covered) => {}
            // By now it may be fenced: then nobody but this node's own look says so.
            (Outcome::Held, _) => return None,
            (Outcome::Fenced, Verdict::Fenced) | (Outcome::Stale, _) => match addition.tried {
                // Nobody has committed them, and nobody will.
                false => table.discard(&snapshot, &addition.files).await.ok()?,
                true => table.forget(&addition.files),
            },
            (Outcome::Fenced, _) => return None,
        }
        Some(Committed { snapshot, outcome })
    }

    fn count(&self, outcome: &'static str) {
        let labels = vec![("outcome", outcome)];
        self.metrics.hand_overs.get_or_create(&labels).inc();
    }
}

#[async_trait]
impl Commits for Gathered {
    async fn commit(
        &self,
        table: &Arc<DeltaTableHandle>,
        mut addition: Addition,
    ) -> Result<Committed> {
        let holder = match addition.marks.is_empty() {
            // What has no mark cannot be told from what was committed before.
            true => None,
            false => self.holders.of(table.table()).await,
        };
        match holder {
            Some(Holder::Own) => {
                let queue = self.queue(table.table())?;
                let (snapshot, outcome) = queue.add(addition, false, &self.holders).await?;
                Ok(Committed { snapshot, outcome })
            }
            Some(Holder::Other(holder)) if holder != self.node => {
                let handed = self.hand_over(&holder, table, &addition).await;
                if let Some(committed) = handed {
                    self.count(match committed.outcome {
                        Outcome::Held => "held",
                        Outcome::Stale => "stale",
                        Outcome::Fenced => "fenced",
                    });
                    return Ok(committed);
                }
                self.count("failed");
                self.holders.forget(table.table());
                // It may have landed, or may yet: the watermarks tell.
                addition.tried = true;
                table.commit_one(addition).await
            }
            _ => table.commit_one(addition).await,
        }
    }
}
