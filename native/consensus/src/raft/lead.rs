//! What the leader does with proposals and reads.
//!
//! Proposals that wait while one entry is on its way go into the next one together; reads that wait
//! share one round of heartbeats. So neither's number is bounded by the disk's syncs or by round
//! trips. What this node gets while it does not lead is refused at once: who asks finds the leader.

use std::sync::Arc;

use openraft::ServerState;
use openraft::error::RaftError;
use otlake_base::{Clock, Error, Result};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::command::{Answer, Batch, Proposal};
use crate::core::Core;
use crate::limits::{MAX_BATCH, MAX_PENDING};
use crate::raft::types::{RaftMetrics, unavailable};

struct Submission {
    proposals: Vec<Proposal>,
    done: oneshot::Sender<Result<Vec<Answer>>>,
}

/// Where proposals and reads wait.
pub(crate) struct Lead {
    submissions: mpsc::Sender<Submission>,
    reads: mpsc::Sender<oneshot::Sender<Result<u64>>>,
}

/// The other end of `Lead`.
pub(crate) struct Queues {
    submissions: mpsc::Receiver<Submission>,
    reads: mpsc::Receiver<oneshot::Sender<Result<u64>>>,
}

impl Lead {
    /// Empty queues.
    pub(crate) fn new() -> (Lead, Queues) {
        let (submissions, to_submit) = mpsc::channel(MAX_PENDING);
        let (reads, to_read) = mpsc::channel(MAX_PENDING);
        let queues = Queues {
            submissions: to_submit,
            reads: to_read,
        };
        (Lead { submissions, reads }, queues)
    }

    /// Has proposals applied, in one entry.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE`: they may be applied, or not.
    pub(crate) async fn propose(&self, proposals: Vec<Proposal>) -> Result<Vec<Answer>> {
        let (done, answers) = oneshot::channel();
        let submission = Submission { proposals, done };
        self.submissions
            .send(submission)
            .await
            .map_err(|_| closed())?;
        answers.await.unwrap_or_else(|_| Err(closed()))
    }

    /// The index of the entry that a linearizable read must see.
    ///
    /// # Errors
    /// `METADATA_UNAVAILABLE`.
    pub(crate) async fn read_index(&self) -> Result<u64> {
        let (done, index) = oneshot::channel();
        self.reads.send(done).await.map_err(|_| closed())?;
        index.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn closed() -> Error {
    unavailable("this node's part of the metadata group is closed")
}

fn not_leader() -> Error {
    unavailable("this node does not lead the metadata group")
}

fn lost(metrics: &RaftMetrics) -> bool {
    metrics.state != ServerState::Leader || metrics.running_state.is_err()
}

/// Takes both queues until the group is closed.
pub(crate) fn run(core: &Arc<Core>, queues: Queues) {
    let Queues { submissions, reads } = queues;
    core.spawn(propose(Arc::clone(core), submissions));
    core.spawn(read(Arc::clone(core), reads));
}

async fn propose(core: Arc<Core>, mut queue: mpsc::Receiver<Submission>) {
    while let Some(first) = queue.recv().await {
        let mut waiting = vec![first];
        let mut count = waiting[0].proposals.len();
        while count < MAX_BATCH {
            let Ok(next) = queue.try_recv() else { break };
            count += next.proposals.len();
            waiting.push(next);
        }
        // Who has given up waiting asks again, and need not be served twice.
        waiting.retain(|submission| !submission.done.is_closed());
        let proposals: Vec<Proposal> = waiting
            .iter_mut()
            .flat_map(|submission| submission.proposals.iter().cloned())
            .collect();
        if proposals.is_empty() {
            continue;
        }
        match write(&core, proposals).await {
            Ok(mut answers) => {
                for submission in waiting {
                    let rest = answers.split_off(submission.proposals.len().min(answers.len()));
                    let own = std::mem::replace(&mut answers, rest);
                    let _ = submission.done.send(Ok(own));
                }
            }
            Err(error) => {
                for submission in waiting {
                    let _ = submission.done.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Writes one entry and returns what the state machine answers.
pub(crate) async fn write(core: &Core, proposals: Vec<Proposal>) -> Result<Vec<Answer>> {
    if !core.leads() {
        return Err(not_leader());
    }
    let batch = Batch {
        version: Batch::version_of(&proposals),
        time_ms: core
            .time
            .now_ms(core.machine.state().time_ms, core.term(), &*core.clock),
        proposals,
    };
    let mut metrics = core.raft.metrics();
    tokio::select! {
        written = core.raft.client_write(batch) => match written {
            Ok(written) => Ok(written.data.0),
            Err(RaftError::APIError(error)) => Err(unavailable(error)),
            Err(RaftError::Fatal(error)) => Err(core.stopped(&error)),
        },
        // An entry of a leader that lost its place may never be decided: whoever proposed it asks
        // the next leader, under the same number.
        _ = metrics.wait_for(lost) => Err(not_leader()),
    }
}

async fn read(core: Arc<Core>, mut queue: mpsc::Receiver<oneshot::Sender<Result<u64>>>) {
    while let Some(first) = queue.recv().await {
        let mut waiting = vec![first];
        while let Ok(next) = queue.try_recv() {
            waiting.push(next);
        }
        waiting.retain(|done| !done.is_closed());
        if waiting.is_empty() {
            continue;
        }
        let result = match core.raft.get_read_log_id().await {
            Ok((Some(id), _)) => Ok(id.index),
            Ok((None, _)) => Err(not_leader()),
            Err(RaftError::APIError(error)) => Err(unavailable(error)),
            Err(RaftError::Fatal(error)) => Err(core.stopped(&error)),
        };
        for done in waiting {
            let _ = done.send(result.clone());
        }
    }
}

/// The group's time, as this leader tells it: from the time of the last entry before its term on, by
/// its monotonic clock.
#[derive(Default)]
pub(crate) struct GroupTime {
    since: Mutex<Option<Since>>,
}

#[derive(Clone, Copy)]
struct Since {
    term: u64,
    group_ms: u64,
    monotonic_ms: u64,
}

impl GroupTime {
    /// The time now, in milliseconds, after an entry of `last_ms`. A group that is founded begins with
    /// the wall clock's.
    pub(crate) fn now_ms(&self, last_ms: u64, term: u64, clock: &dyn Clock) -> u64 {
        let monotonic_ms = u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        let mut since = self.since.lock();
        let told = since
            .filter(|since| since.term == term)
            .map(|since| since.group_ms + monotonic_ms.saturating_sub(since.monotonic_ms));
        match told {
            Some(told) if told >= last_ms => told,
            _ => {
                let group_ms = match last_ms {
                    0 => clock.unix_nano() / 1_000_000,
                    last_ms => last_ms,
                };
                *since = Some(Since {
                    term,
                    group_ms,
                    monotonic_ms,
                });
                group_ms
            }
        }
    }
}
