//! A configuration of the Paxos group, and what all parts know of the present one.

use std::sync::Arc;

use otlake_base::{Error, Result};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::agreement::{Agreement, AgreementAnswer, AgreementProposal};
use crate::raft::types::{Identity, Member, encode};
use crate::store::{Change, Log, Store};

/// Who is in the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Configuration {
    /// Its number, from 1.
    pub id: u32,
    /// Its members. omnipaxos numbers them from 1, in this order, and indexes by these numbers.
    pub members: Vec<Member>,
}

impl Configuration {
    /// The first one, of the node that founds the group.
    pub(crate) fn first(member: Member) -> Configuration {
        Configuration {
            id: 1,
            members: vec![member],
        }
    }

    /// The number of this node; none where it is no member. Under another store it is none.
    pub(crate) fn own(&self, identity: &Identity) -> Option<u64> {
        let own = identity.member();
        let at = self.members.iter().position(|member| *member == own);
        at.map(|at| at as u64 + 1)
    }

    /// The number of the node of this name.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let at = self.members.iter().position(|member| &*member.name == name);
        at.map(|at| at as u64 + 1)
    }

    /// The member of this number.
    pub(crate) fn member(&self, number: u64) -> Option<&Member> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.members.get(at)
    }
}

/// A configuration with the state that it begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Beginning {
    pub configuration: Configuration,
    pub state: Agreement,
}

impl Beginning {
    /// What the store holds of the present configuration.
    pub(crate) fn stored(store: &Store) -> Result<Option<Beginning>> {
        let Some(bytes) = store.get("paxos_configuration")? else {
            return Ok(None);
        };
        let configuration = serde_json::from_slice(&bytes)
            .map_err(|error| store.corrupt(&format!("its configuration: {error}")))?;
        let state = Agreement::decode(&store.snapshot(Log::Paxos)?)?;
        Ok(Some(Beginning {
            configuration,
            state,
        }))
    }

    /// What puts it in the place of the present one, with an empty log.
    pub(crate) fn changes(&self) -> Result<Vec<Change>> {
        let mut changes = vec![
            Change::Set("paxos_configuration", encode(&self.configuration)?),
            Change::Snapshot(Log::Paxos, Arc::from(self.state.encode()?)),
            Change::TruncateFrom(Log::Paxos, 0),
        ];
        let names = [
            "paxos_promise",
            "paxos_accepted",
            "paxos_decided",
            "paxos_stopsign",
        ];
        changes.extend(names.map(Change::Unset));
        Ok(changes)
    }
}

/// Whoever waits for the answer to a proposal.
pub(crate) type Waiting = tokio::sync::oneshot::Sender<Result<Told>>;

/// What a member answers to a proposal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// What the state machine answers.
    Answer(AgreementAnswer),
    /// That another leads, as far as it knows.
    Elsewhere(Option<Arc<str>>),
}

/// What comes to the thread.
pub(crate) enum Event {
    /// Messages of another member, of the present configuration.
    Messages {
        from: u64,
        configuration: u32,
        /// Messages before these were lost.
        gap: bool,
        messages: Vec<omnipaxos::messages::Message<super::engine::Entry>>,
    },
    /// A proposal.
    Propose(AgreementProposal, Waiting),
    /// A later configuration, from another node.
    Begin(Beginning),
}

/// What all parts know of the group.
pub(crate) struct Shared {
    pub configuration: RwLock<Option<Configuration>>,
    pub state: watch::Sender<Arc<Agreement>>,
    /// The leader's name, as far as it is known.
    pub leader: Mutex<Option<Arc<str>>>,
    pub events: std::sync::mpsc::SyncSender<Event>,
    /// Why the thread stopped, where it did.
    pub failure: Mutex<Option<Error>>,
}

impl Shared {
    /// The present configuration's number; 0 where there is none.
    pub(crate) fn configuration_id(&self) -> u32 {
        let configuration = self.configuration.read();
        configuration
            .as_ref()
            .map_or(0, |configuration| configuration.id)
    }
}
