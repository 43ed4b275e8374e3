//! How the leader changes who is in the group: towards what the control plane wishes, one safe
//! change at a time.
//!
//! 1. A change that a leader left half done (joint consensus) is finished.
//! 2. A member whose store is a new one has forgotten what it promised: it is removed, and joins again.
//! 3. Nodes that are wished for and are no members become learners.
//! 4. A learner that should vote and has nearly everything becomes a voter.
//! 5. When all that should vote do, those that should not become learners, the leader last.
//! 6. Learners that are not wished for are removed.
//!
//! Nothing is done because a member is silent: that is the control plane's to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use otlake_base::{Code, Error, Result};
use tokio::task::JoinSet;

use crate::core::Core;
use crate::limits::CAUGHT_UP_ENTRIES;
use crate::raft::network::{HELLO, Hello};
use crate::raft::types::{Member, NodeId, RaftMetrics, node_id};

/// How often the leader looks, in milliseconds.
const LOOK_MS: u64 = 250;
/// How often it asks members who they are, in looks.
const HELLO_LOOKS: u32 = 8;
/// How long a node may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_millis(500);
/// How long one change may take before the leader looks again; the change goes on.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Who should be in the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub voters: BTreeSet<Arc<str>>,
    /// Members that should not vote; none keeps those that there are.
    pub learners: Option<BTreeSet<Arc<str>>>,
}

/// Follows the wishes while this node leads.
pub(crate) async fn run(core: Arc<Core>) {
    let mut wishes = core.wishes.clone();
    let mut looks = 0;
    loop {
        tokio::select! {
            going = core.pause(Duration::from_millis(LOOK_MS)) => if !going { return },
            changed = wishes.changed() => if changed.is_err() { return },
        }
        let wished = wishes.borrow_and_update().clone();
        let Some(wished) = wished.filter(|_| core.leads()) else {
            continue;
        };
        looks += 1;
        // A change that succeeded is followed by the next at once.
        loop {
            match step(&core, &wished, looks % HELLO_LOOKS == 0).await {
                Ok(true) if core.leads() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::info!(target: "otlake::metadata", %error, "the group's members stay");
                    break;
                }
            }
        }
    }
}

/// Makes the next change, where there is one to make.
async fn step(core: &Arc<Core>, wished: &Wishes, ask_all: bool) -> Result<bool> {
    let metrics = core.raft.metrics().borrow().clone();
    let membership = metrics.membership_config.membership();
    if membership.get_joint_config().len() > 1 {
        let target = membership.get_joint_config().last().cloned();
        return change(
            core,
            ChangeMembers::ReplaceAllVoters(target.unwrap_or_default()),
        )
        .await;
    }
    let members: BTreeMap<NodeId, Member> = membership
        .nodes()
        .map(|(id, member)| (*id, member.clone()))
        .collect();
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let learners = wished.learners.iter().flatten();
    let names: BTreeSet<&Arc<str>> = wished.voters.iter().chain(learners).collect();

    let hellos = greet(core, &names, &members, ask_all).await;
    if let Some(lost) = lost_store(&members, &hellos, core.identity.id) {
        let ids = BTreeSet::from([lost]);
        let member = &members[&lost].name;
        tracing::warn!(target: "otlake::metadata", %member, "a member has a new store and joins again");
        if voters.contains(&lost) {
            return change(core, ChangeMembers::RemoveVoters(ids)).await;
        }
        return change(core, ChangeMembers::RemoveNodes(ids)).await;
    }
    if let Some((id, member)) = newcomer(core, &names, &members, &hellos) {
        tracing::info!(target: "otlake::metadata", member = %member.name, "a node joins the group");
        return change(
            core,
            ChangeMembers::AddNodes(BTreeMap::from([(id, member)])),
        )
        .await;
    }
    let should: BTreeSet<NodeId> = wished.voters.iter().map(|name| node_id(name)).collect();
    let ready = should
        .difference(&voters)
        .find(|id| members.contains_key(id) && caught_up(&metrics, **id));
    if let Some(id) = ready {
        tracing::info!(target: "otlake::metadata", member = %members[id].name, "a member may vote");
        return change(core, ChangeMembers::AddVoterIds(BTreeSet::from([*id]))).await;
    }
    if should.is_subset(&voters) && !should.is_empty() {
        let own = core.identity.id;
        let extra = voters.difference(&should);
        if let Some(id) = extra.min_by_key(|id| (**id == own, **id)) {
            tracing::info!(target: "otlake::metadata", member = %members[id].name, "a member votes no more");
            return change(core, ChangeMembers::RemoveVoters(BTreeSet::from([*id]))).await;
        }
    }
    if wished.learners.is_some() {
        let gone = members
            .iter()
            .find(|(id, member)| !voters.contains(id) && !names.contains(&member.name));
        if let Some((id, member)) = gone {
            tracing::info!(target: "otlake::metadata", member = %member.name, "a member is removed");
            return change(core, ChangeMembers::RemoveNodes(BTreeSet::from([*id]))).await;
        }
    }
    Ok(false)
}

/// Asks nodes who they are: those that are no members, and now and then all.
async fn greet(
    core: &Arc<Core>,
    names: &BTreeSet<&Arc<str>>,
    members: &BTreeMap<NodeId, Member>,
    ask_all: bool,
) -> BTreeMap<NodeId, Hello> {
    let mut asked = JoinSet::new();
    for name in names {
        let id = node_id(name);
        if id == core.identity.id || (!ask_all && members.contains_key(&id)) {
            continue;
        }
        // Without a store's id it is for whoever has the name.
        let member = Member {
            name: Arc::clone(name),
            store: 0,
        };
        let link = Arc::clone(&core.link);
        asked.spawn(async move {
            let hello = link.call::<Hello>(&member, HELLO, &(), &[], HELLO_TIMEOUT);
            (id, hello.await.ok())
        });
    }
    let mut hellos = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        if let Ok((id, Some(hello))) = answer {
            hellos.insert(id, hello);
        }
    }
    hellos
}

/// A member that has a store of another id than it was added with.
fn lost_store(
    members: &BTreeMap<NodeId, Member>,
    hellos: &BTreeMap<NodeId, Hello>,
    own: NodeId,
) -> Option<NodeId> {
    let lost = hellos.iter().find(|(id, hello)| {
        **id != own
            && members
                .get(id)
                .is_some_and(|member| member.store != hello.store)
    });
    lost.map(|(id, _)| *id)
}

/// A node that should be a member, is none, and can be one.
fn newcomer(
    core: &Core,
    names: &BTreeSet<&Arc<str>>,
    members: &BTreeMap<NodeId, Member>,
    hellos: &BTreeMap<NodeId, Hello>,
) -> Option<(NodeId, Member)> {
    let mut refused = core.refused.lock();
    refused.retain(|name, _| names.contains(name));
    let mut found = None;
    for name in names {
        let id = node_id(name);
        if let Some(member) = members.get(&id) {
            if member.name == **name {
                refused.remove(*name);
            } else {
                let reason = format!("its number is that of the member `{}`", member.name);
                refused.insert(Arc::clone(name), reason);
            }
            continue;
        }
        let Some(hello) = hellos.get(&id) else {
            continue;
        };
        if hello.name != **name {
            refused.insert(
                Arc::clone(name),
                format!("it calls itself `{}`", hello.name),
            );
        } else if hello.group != 0 && hello.group != core.identity.group() {
            let reason = format!("it belongs to another group, {:032x}", hello.group);
            refused.insert(Arc::clone(name), reason);
        } else {
            refused.remove(*name);
            found.get_or_insert((
                id,
                Member {
                    name: Arc::clone(name),
                    store: hello.store,
                },
            ));
        }
    }
    found
}

/// Whether a learner has nearly everything.
fn caught_up(metrics: &RaftMetrics, id: NodeId) -> bool {
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|replication| replication.get(&id).copied().flatten());
    let last = metrics.last_log_index.unwrap_or(0);
    matched.is_some_and(|matched| matched.index + CAUGHT_UP_ENTRIES >= last)
}

async fn change(core: &Core, change: ChangeMembers<NodeId, Member>) -> Result<bool> {
    // A voter that goes stays a learner for now.
    let changing = core.raft.change_membership(change, true);
    match tokio::time::timeout(CHANGE_TIMEOUT, changing).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(error)) => Err(Error::new(Code::MetadataUnavailable, error)),
        Err(_) => Err(Error::new(
            Code::MetadataUnavailable,
            "a change of members is not committed yet",
        )),
    }
}
