//! The group as one node sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::part::Part;

/// The group as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// This node's name.
    pub name: Arc<str>,
    /// The group's id, 32 hexadecimal digits; none where the node is in none.
    pub group: Option<String>,
    /// The leader's name; none where none is known.
    pub leader: Option<Arc<str>>,
    /// Whether this node leads.
    pub leads: bool,
    /// The term.
    pub term: u64,
    /// The names of the voters.
    pub voters: Vec<Arc<str>>,
    /// The names of the learners.
    pub learners: Vec<Arc<str>>,
    /// The last entry in this node's log.
    pub last: u64,
    /// The last entry in its state.
    pub applied: u64,
    /// The last entry in its snapshot.
    pub snapshot: u64,
    /// Nodes that should be members and cannot be, with the reason.
    pub refused: BTreeMap<Arc<str>, String>,
    /// Nodes that could not be reached last, with the reason.
    pub unreached: BTreeMap<Arc<str>, String>,
    /// The number of the Paxos group's configuration; 0 where none is known.
    pub paxos_configuration: u32,
    /// The names of the Paxos group's members.
    pub paxos_members: Vec<Arc<str>>,
    /// Its leader's name; none where none is known.
    pub paxos_leader: Option<Arc<str>>,
    /// Why this node's part has stopped; none where it has not. It is tried again by itself, unless
    /// the store is damaged or of another version.
    pub failure: Option<String>,
}

impl Status {
    /// What a part sees.
    pub(crate) fn of(part: &Part) -> Status {
        let core = &part.core;
        let metrics = core.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let name = |id| {
            let member = membership.get_node(&id);
            member.map(|member| Arc::clone(&member.name))
        };
        let (paxos_configuration, paxos_members, paxos_leader) = part.paxos.told();
        Status {
            name: Arc::clone(&core.identity.name),
            group: core.identity.group.get().map(|id| format!("{id:032x}")),
            leader: metrics.current_leader.and_then(name),
            leads: core.leads(),
            term: metrics.current_term,
            voters: membership.voter_ids().filter_map(name).collect(),
            learners: membership.learner_ids().filter_map(name).collect(),
            last: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |id| id.index),
            snapshot: metrics.snapshot.map_or(0, |id| id.index),
            refused: core.refused.lock().clone(),
            unreached: core.link.faults.lock().clone(),
            paxos_configuration,
            paxos_members,
            paxos_leader,
            failure: part.failure().map(|error| error.to_string()),
        }
    }
}
