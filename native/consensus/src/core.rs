//! What the parts of this node's membership share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::error::Fatal;
use otlake_base::{Clock, Error, Metrics};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Timing;
use crate::raft::lead::{GroupTime, Lead};
use crate::raft::log::LogStore;
use crate::raft::machine::Machine;
use crate::raft::members::Wishes;
use crate::raft::network::Link;
use crate::raft::types::{Identity, Member, NodeId, Raft, RaftMetrics, Vote, unavailable};
use crate::writer::Writer;

use std::collections::BTreeMap;

pub(crate) struct Core {
    pub identity: Arc<Identity>,
    pub timing: Timing,
    pub raft: Raft,
    pub raft_metrics: watch::Receiver<RaftMetrics>,
    pub log: LogStore,
    pub machine: Machine,
    pub writer: Arc<Writer>,
    pub link: Arc<Link>,
    pub lead: Lead,
    pub time: GroupTime,
    pub wishes: watch::Receiver<Option<Wishes>>,
    /// Nodes that are wished for and cannot be members, with the reason.
    pub refused: Mutex<BTreeMap<Arc<str>, String>>,
    /// When a leader was heard last, in ms of the monotonic clock.
    pub heard_ms: AtomicU64,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub closing: watch::Sender<bool>,
    pub tasks: Mutex<JoinSet<()>>,
}

impl Core {
    /// Milliseconds of the monotonic clock.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// For how long no leader was heard, in milliseconds.
    pub(crate) fn silent_ms(&self) -> u64 {
        self.now_ms()
            .saturating_sub(self.heard_ms.load(Ordering::Acquire))
    }

    /// Notes that a leader was heard.
    pub(crate) fn heard(&self, vote: &Vote) {
        if vote.committed {
            self.heard_ms.store(self.now_ms(), Ordering::Release);
        }
    }

    /// Whether this node leads, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        let metrics = self.raft_metrics.borrow();
        metrics.state == ServerState::Leader && metrics.running_state.is_ok()
    }

    /// Who leads, as far as this node knows.
    pub(crate) fn leader(&self) -> Option<Member> {
        let metrics = self.raft_metrics.borrow();
        let leader = metrics.current_leader?;
        let members = metrics.membership_config.membership();
        members.get_node(&leader).cloned()
    }

    /// The member that comes `turn`s after the first, of those that are neither this node nor lead.
    pub(crate) fn other(&self, turn: usize) -> Option<Member> {
        let metrics = self.raft_metrics.borrow();
        let members = metrics.membership_config.membership().nodes();
        let others: Vec<&Member> = members
            .filter(|(id, member)| {
                metrics.current_leader != Some(**id) && member.name != self.identity.name
            })
            .map(|(_, member)| member)
            .collect();
        let turn = turn.checked_rem(others.len())?;
        others.get(turn).map(|member| (*member).clone())
    }

    /// Whether a majority answered this leader lately.
    pub(crate) fn followed(&self) -> bool {
        let metrics = self.raft_metrics.borrow();
        let lately = metrics
            .millis_since_quorum_ack
            .is_some_and(|silent| silent < 2 * self.timing.hold_ms());
        lately || metrics.membership_config.voter_ids().count() == 1
    }

    /// The term that this node is in.
    pub(crate) fn term(&self) -> u64 {
        self.raft_metrics.borrow().current_term
    }

    /// As an error why the group's core stopped.
    pub(crate) fn stopped(&self, fatal: &Fatal<NodeId>) -> Error {
        self.machine.failure().unwrap_or_else(|| {
            unavailable(format!(
                "this node's part of the metadata group stopped: {fatal}"
            ))
        })
    }

    /// Runs a task until it ends or the group is closed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut closing = self.closing.subscribe();
        self.tasks.lock().spawn(async move {
            tokio::select! {
                () = task => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
        });
    }

    /// Waits; false where the group is closed.
    pub(crate) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => !*self.closing.borrow(),
            () = self.closed() => false,
        }
    }

    /// Returns when the group is closed.
    pub(crate) async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        // Where the sender is gone, so is the group.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}
