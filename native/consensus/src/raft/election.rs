//! When this node asks to lead.
//!
//! openraft itself starts an election as soon as it has heard of no leader for long enough. On a
//! busy machine that is needless most of the time: the node itself was not running, or the leader was
//! waiting for its disk. And a node that nobody hears raises its term until it is heard, and then
//! deposes a leader that all others follow. So elections are started from here (openraft's own are
//! off), and others are asked first (the pre-vote of Ongaro 2014, section 9.6): an election begins
//! only where a majority would vote for this node and no leader says that it leads. While this node
//! was itself not running, its leader was not silent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::ServerState;
use tokio::task::JoinSet;

use crate::core::Core;
use crate::raft::network::{ASK, Ask, Asked};
use crate::raft::types::{Membership, NodeId};

/// Draws of an election's time-out; SplitMix64.
pub(crate) struct Chance(pub u64);

impl Chance {
    /// A number below `end`; 0 where that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(end).unwrap_or(0)
    }
}

/// Watches the leader until the group is closed.
pub(crate) async fn run(core: Arc<Core>, mut chance: Chance) {
    let timing = core.timing;
    // As often as a leader says that it is there; sooner only where its time ends before.
    let step = timing.heartbeat_ms;
    let mut pause = step;
    let draw = |chance: &mut Chance| timing.hold_ms() + chance.below(timing.spread_ms());
    let mut timeout = draw(&mut chance);
    let mut quiet_until = 0u64;
    let mut last = core.now_ms();
    core.heard_ms.store(last, Ordering::Release);
    while core.pause(Duration::from_millis(pause)).await {
        let now = core.now_ms();
        let late = now.saturating_sub(last + pause);
        last = now;
        pause = step;
        if late > timing.heartbeat_ms {
            let heard = core.heard_ms.load(Ordering::Acquire);
            core.heard_ms
                .store((heard + late).min(now), Ordering::Release);
        }
        let (state, membership) = {
            let metrics = core.raft_metrics.borrow();
            (metrics.state, Arc::clone(&metrics.membership_config))
        };
        let membership = membership.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        if state == ServerState::Leader || !voters.contains(&core.identity.id) {
            core.heard_ms.store(now, Ordering::Release);
            continue;
        }
        let silence = if voters.len() > 1 { timeout } else { 0 };
        let left = silence.saturating_sub(core.silent_ms());
        let left = left.max(quiet_until.saturating_sub(now));
        if left > 0 {
            pause = left.min(step);
            continue;
        }
        let outcome = ask(&core, membership).await;
        core.metrics.metadata.asked(outcome);
        let now = core.now_ms();
        timeout = draw(&mut chance);
        match outcome {
            "elected" => {
                if let Err(error) = core.raft.trigger().elect().await {
                    tracing::error!(target: "otlake::metadata", %error, "no election");
                }
                quiet_until = now + timeout;
            }
            "led" => core.heard_ms.store(now, Ordering::Release),
            _ => quiet_until = now + timing.hold_ms() / 2 + chance.below(timing.hold_ms()),
        }
        last = core.now_ms();
    }
}

/// Asks the other voters.
async fn ask(core: &Arc<Core>, membership: &Membership) -> &'static str {
    let configs = membership.get_joint_config();
    let mut willing = BTreeSet::from([core.identity.id]);
    let majority = |willing: &BTreeSet<NodeId>| {
        configs
            .iter()
            .all(|voters| voters.intersection(willing).count() * 2 > voters.len())
    };
    if majority(&willing) {
        return "elected";
    }
    let timeout = Duration::from_millis(core.timing.hold_ms());
    let mut rounds = JoinSet::new();
    for (id, member) in membership.nodes() {
        if *id == core.identity.id || !configs.iter().any(|voters| voters.contains(id)) {
            continue;
        }
        let (id, member, core) = (*id, member.clone(), Arc::clone(core));
        rounds.spawn(async move {
            let ask = Ask {
                last: core.log.last(),
            };
            let asked = core.link.call::<Asked>(&member, ASK, &ask, &[], timeout);
            (id, asked.await)
        });
    }
    // One that leads has the last word, so all answers that come in time are waited for, unless it
    // is long since there is a majority.
    let deadline = tokio::time::sleep(timeout);
    tokio::pin!(deadline);
    let mut grace = false;
    loop {
        tokio::select! {
            biased;
            answer = rounds.join_next() => match answer {
                Some(Ok((_, Ok(asked)))) if asked.leads => return "led",
                Some(Ok((id, Ok(asked)))) if asked.would => {
                    willing.insert(id);
                    if !grace && majority(&willing) {
                        grace = true;
                        let wait = Duration::from_millis(core.timing.heartbeat_ms / 2);
                        deadline.as_mut().reset(tokio::time::Instant::now() + wait);
                    }
                }
                Some(_) => {}
                None => break,
            },
            () = &mut deadline => break,
        }
    }
    if majority(&willing) {
        "elected"
    } else {
        "alone"
    }
}

/// Sends heartbeats while this node leads: openraft's own come only every one and a half times as
/// often as they are asked for, and share their interval with the time-out of every request.
pub(crate) async fn beat(core: Arc<Core>) {
    while core
        .pause(Duration::from_millis(core.timing.heartbeat_ms))
        .await
    {
        if core.leads()
            && let Err(error) = core.raft.trigger().heartbeat().await
        {
            tracing::debug!(target: "otlake::metadata", %error, "no heartbeat");
        }
    }
}
