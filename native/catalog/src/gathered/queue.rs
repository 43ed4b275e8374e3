//! Additions to one table that wait for their commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::disk::Disk;
use otlake_base::limits::COMMIT_GATHER_WRITERS;
use otlake_base::{Clock, Code, Error, Result, Table};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::lease::Holders;
use crate::commit::{Addition, Outcome};
use crate::handle::{DeltaTableHandle, storage};
use crate::snapshot::Snapshot;

/// Commits' worth of additions that may wait (I5); a further one is refused, and its node commits
/// it by itself.
const QUEUE_COMMITS: usize = 4;
/// After so long without a hand-over this node takes itself for the only one that writes, and
/// waits for nobody.
const ALONE_AFTER: Duration = Duration::from_secs(60);

/// What became of an addition, and the version that tells it.
pub(super) type Settled = (Arc<Snapshot>, Outcome);

struct Waiting {
    addition: Addition,
    /// Whether another node wrote it.
    is_others: bool,
    answer: oneshot::Sender<Result<Settled>>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// When the first of them came.
    since: Duration,
    /// Whether a task commits them.
    is_driven: bool,
    /// When another node last handed something over.
    handed: Option<Duration>,
}

pub(super) struct Queue {
    handle: Arc<DeltaTableHandle>,
    clock: Arc<dyn Clock>,
    gather: Duration,
    state: Mutex<State>,
    full: Notify,
}

impl Queue {
    pub(super) fn new(
        handle: Arc<DeltaTableHandle>,
        clock: Arc<dyn Clock>,
        gather: Duration,
    ) -> Arc<Queue> {
        Arc::new(Queue {
            handle,
            clock,
            gather,
            state: Mutex::default(),
            full: Notify::new(),
        })
    }

    pub(super) fn table(&self) -> Table {
        self.handle.table()
    }

    /// Has an addition committed with those that come at the same time.
    ///
    /// # Errors
    /// What the commit came to, after which it may have landed; `TABLE_CONFLICT` where too many
    /// wait.
    pub(super) async fn add(
        self: &Arc<Self>,
        mut addition: Addition,
        is_others: bool,
        holders: &Holders,
    ) -> Result<Settled> {
        if is_others {
            self.check_files(&addition).await?;
            // Its files are for the node that wrote them to delete.
            addition.tried = true;
        }
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            addition,
            is_others,
            answer,
        };
        let drives = {
            let mut state = self.state.lock();
            if state.waiting.len() >= QUEUE_COMMITS * COMMIT_GATHER_WRITERS {
                let message = "too many writers wait for their commit";
                return Err(Error::new(Code::TableConflict, message));
            }
            let now = self.clock.monotonic();
            if is_others {
                state.handed = Some(now);
            }
            if state.waiting.is_empty() {
                state.since = now;
            }
            state.waiting.push(waiting);
            if state.waiting.len() >= COMMIT_GATHER_WRITERS {
                self.full.notify_one();
            }
            !std::mem::replace(&mut state.is_driven, true)
        };
        if drives {
            // On its own, so that whoever gives up its addition does not give up the others'.
            let queue = Arc::clone(self);
            tokio::spawn(async move { queue.drive().await });
        }
        let settled = answered.await.unwrap_or_else(|_| {
            let message = "the commit was given up";
            Err(Error::new(Code::TableIo, message))
        });
        if settled.is_err() {
            holders.forget(self.table());
        }
        settled
    }

    /// Commits what waits until nothing does.
    async fn drive(&self) {
        loop {
            let wait = {
                let mut state = self.state.lock();
                if state.waiting.is_empty() {
                    state.is_driven = false;
                    return;
                }
                let now = self.clock.monotonic();
                let is_alone = state
                    .handed
                    .is_none_or(|handed| now.saturating_sub(handed) > ALONE_AFTER);
                match is_alone || state.waiting.len() >= COMMIT_GATHER_WRITERS {
                    true => Duration::ZERO,
                    false => (state.since + self.gather).saturating_sub(now),
                }
            };
            if !wait.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.full.notified() => {}
                }
            }
            let taken: Vec<Waiting> = {
                let mut state = self.state.lock();
                let count = state.waiting.len().min(COMMIT_GATHER_WRITERS);
                state.since = self.clock.monotonic();
                state.waiting.drain(..count).collect()
            };
            self.commit(taken).await;
        }
    }

    async fn commit(&self, taken: Vec<Waiting>) {
        let additions = taken.iter().map(|waiting| waiting.addition.clone());
        let committed = self.handle.commit_all(additions.collect()).await;
        match committed {
            Ok((snapshot, outcomes)) => {
                for (waiting, outcome) in taken.into_iter().zip(outcomes) {
                    // Whoever waited may have given up.
                    let _ = waiting.answer.send(Ok((Arc::clone(&snapshot), outcome)));
                }
            }
            Err(error) => {
                let others = taken.iter().filter(|waiting| waiting.is_others).count();
                tracing::debug!(
                    target: "otlake::catalog", table = self.table().name(), others,
                    "a commit for several writers failed: {error}"
                );
                for waiting in taken {
                    let _ = waiting.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Files that another node has written are looked at before a commit names them: their names
    /// can be late to show here.
    async fn check_files(&self, addition: &Addition) -> Result<()> {
        let files = addition.files.iter();
        let files: Vec<(PathBuf, u64)> = files
            .map(|written| (self.handle.root.join(&written.file.path), written.file.size))
            .collect();
        let disk: Arc<dyn Disk> = Arc::clone(&self.handle.disk);
        let table = self.table();
        let look = move || {
            for (path, size) in files {
                let status = disk
                    .status(&path)
                    .map_err(|error| storage(table, "a file that was handed over", error))?;
                if status.bytes != size {
                    let what = format!("{} bytes instead of {size}", status.bytes);
                    return Err(storage(table, "a file that was handed over has", what));
                }
            }
            Ok(())
        };
        tokio::task::spawn_blocking(look)
            .await
            .map_err(|error| storage(table, "cannot look at files", error))?
    }
}
