//! Snapshots, the log's end, what has expired, and counters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;

use crate::command::{Command, Proposal};
use crate::core::Core;
use crate::limits::MAX_LOG_ENTRIES;
use crate::raft::lead;
use crate::raft::types::{NodeId, RaftMetrics};
use crate::session::NAMELESS;

/// How often the leader looks for what has expired, and everybody for what is due, in milliseconds.
const LOOK_MS: u64 = 200;
/// Marks of the log that the time it is kept is measured by.
const MARKS: u64 = 60;

/// Looks after the group until it is closed.
pub(crate) async fn run(core: Arc<Core>) {
    let timing = core.timing;
    let mark_every = (timing.log_kept_ms / MARKS).max(LOOK_MS);
    let mut marks: VecDeque<(u64, u64)> = VecDeque::new();
    let mut snapshot_at = core.now_ms();
    while core.pause(Duration::from_millis(LOOK_MS)).await {
        let now = core.now_ms();
        let metrics = core.raft_metrics.borrow().clone();
        expire(&core).await;

        let applied = metrics.last_applied.map_or(0, |id| id.index);
        let in_snapshot = metrics.snapshot.map_or(0, |id| id.index);
        let length = core.log.length();
        core.metrics.metadata.log_entries.set(signed(length));
        let due = now.saturating_sub(snapshot_at) >= timing.snapshot_every_ms;
        let crowded = length > MAX_LOG_ENTRIES && applied - in_snapshot.min(applied) > length / 2;
        if due || crowded {
            snapshot_at = now;
            if applied > in_snapshot {
                report(core.raft.trigger().snapshot().await);
            }
        }

        if marks.back().is_none_or(|(at, _)| now - at >= mark_every) {
            marks.push_back((now, applied));
        }
        let mut cut = 0;
        while let Some((_, index)) = marks
            .front()
            .filter(|(at, _)| now - at >= timing.log_kept_ms)
        {
            cut = *index;
            marks.pop_front();
        }
        if length > MAX_LOG_ENTRIES {
            cut = cut.max(in_snapshot);
        }
        let purged = metrics.purged.map_or(0, |id| id.index);
        if cut.min(in_snapshot) > purged {
            report(core.raft.trigger().purge_log(cut.min(in_snapshot)).await);
        }
    }
}

fn report(result: Result<(), openraft::error::Fatal<NodeId>>) {
    if let Err(error) = result {
        tracing::debug!(target: "otlake::metadata", %error, "no upkeep of the log");
    }
}

/// Has the group's time go on where something waits for it.
async fn expire(core: &Core) {
    if !core.leads() {
        return;
    }
    let state = core.machine.state();
    let now = core.time.now_ms(state.time_ms, core.term(), &*core.clock);
    if state.due().is_some_and(|due| due <= now) {
        let tick = Proposal {
            number: NAMELESS,
            command: Command::Tick,
        };
        // Where it fails, the next look or the next leader does it.
        if let Err(error) = lead::write(core, vec![tick]).await {
            tracing::debug!(target: "otlake::metadata", %error, "the group's time stands");
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Keeps the counters until the group is closed.
pub(crate) async fn count(core: Arc<Core>) {
    let mut receiver = core.raft_metrics.clone();
    let mut leader = None;
    loop {
        let metrics = receiver.borrow_and_update().clone();
        if metrics.current_leader.is_some() && metrics.current_leader != leader {
            leader = metrics.current_leader;
            core.metrics.metadata.leader_changes.inc();
        }
        told(&core, &metrics);
        tokio::select! {
            changed = receiver.changed() => if changed.is_err() { break },
            () = core.closed() => break,
        }
    }
    core.metrics.metadata.leading.set(0);
}

fn told(core: &Core, metrics: &RaftMetrics) {
    let counters = &core.metrics.metadata;
    counters
        .leading
        .set(i64::from(metrics.state == ServerState::Leader));
    counters.term.set(signed(metrics.current_term));
    let membership = metrics.membership_config.membership();
    counters
        .voters
        .set(signed(membership.voter_ids().count() as u64));
    counters
        .learners
        .set(signed(membership.learner_ids().count() as u64));
    let last = metrics.last_log_index.unwrap_or(0);
    let lag = metrics.replication.as_ref().map_or(0, |replication| {
        let matched = replication
            .values()
            .map(|matched| matched.map_or(0, |id| id.index));
        last.saturating_sub(matched.min().unwrap_or(last))
    });
    counters.lag.set(signed(lag));
}
