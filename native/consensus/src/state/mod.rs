//! The state machine: what the metadata group agrees on. It knows no clock, no chance and no I/O;
//! equal entries in equal order give equal states.
//!
//! Time is the group's own: each entry carries the leader's, it never goes back, and it goes on only
//! with entries. A new leader goes on from the last entry's time by its own monotonic clock, so that
//! wall clocks that differ expire nothing early; without a leader, time stands.
//!
//! The maps are shared (`Arc`): a reader holds a state as long as it likes, and what an entry changes
//! is copied then, one map at a time.
//!
//! - `streams.rs`: streams, their epochs, followers and ends.
//! - `registry.rs`: the configuration and the service registry.
//! - `leases.rs`: leases and their fencing tokens.
//! - `sessions.rs`: which proposals were answered, and how.

mod leases;
mod registry;
mod sessions;
mod streams;

#[cfg(test)]
mod state_test;

use std::collections::BTreeMap;
use std::sync::Arc;

use otlake_base::{Code, Error, Result, StreamId};
use serde::{Deserialize, Serialize};

pub use leases::Lease;
pub use registry::{Instance, Setting};
pub use sessions::Session;
pub use streams::{Ensemble, Followers, StreamRecord, StreamState};

use crate::command::{Answer, Batch, Command, Refusal, STATE_VERSION};

/// Everything that the metadata group agrees on, after some entry of its log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The greatest version of an entry in it.
    pub version: u32,
    /// The group's id; 0 before it is founded.
    #[serde(with = "crate::hex")]
    pub group: u128,
    /// The index of the last entry in it.
    pub applied: u64,
    /// The group's time, in milliseconds.
    pub time_ms: u64,
    /// The greatest version that a configuration key has had.
    pub revision: u64,
    /// The greatest fencing token that was given.
    pub last_token: u64,
    /// Streams by id.
    #[serde(with = "streams::as_list")]
    pub streams: Arc<BTreeMap<StreamId, Arc<StreamRecord>>>,
    /// The cluster's configuration by key.
    pub settings: Arc<BTreeMap<String, Setting>>,
    /// Instances of services, by service and instance.
    pub services: Arc<BTreeMap<String, Arc<BTreeMap<String, Instance>>>>,
    /// Leases that are held, by name.
    pub leases: Arc<BTreeMap<String, Lease>>,
    /// Sessions of proposers.
    pub sessions: Arc<BTreeMap<u64, Arc<Session>>>,
    /// The earliest time at which anything expires; none where it must be looked up.
    #[serde(skip)]
    next: NextExpiry,
}

/// What is only remembered, and so no part of what two states are compared by.
#[derive(Clone, Debug, Default)]
struct NextExpiry(Option<u64>);

impl PartialEq for NextExpiry {
    fn eq(&self, _: &NextExpiry) -> bool {
        true
    }
}

impl State {
    /// Applies one entry of the log; the answers are in the order of its proposals.
    ///
    /// # Errors
    /// `METADATA_VERSION` where the entry needs a newer otlake; nothing has changed then.
    pub fn apply(&mut self, index: u64, batch: &Batch) -> Result<Vec<Answer>> {
        if batch.version > STATE_VERSION {
            return Err(Error::new(
                Code::MetadataVersion,
                format!(
                    "entry {index} of the metadata group's log has version {}; this node knows {STATE_VERSION}",
                    batch.version
                ),
            ));
        }
        self.version = self.version.max(batch.version);
        self.applied = index;
        self.time_ms = self.time_ms.max(batch.time_ms);
        self.expire();
        Ok(batch
            .proposals
            .iter()
            .map(|proposal| {
                if let Some(answer) = self.answered(proposal) {
                    return answer;
                }
                let answer = self
                    .command(&proposal.command)
                    .unwrap_or_else(Answer::Refused);
                self.remember(proposal, &answer);
                answer
            })
            .collect())
    }

    fn command(&mut self, command: &Command) -> Result<Answer, Refusal> {
        match command {
            Command::Found { group } => {
                if self.group != 0 && self.group != *group {
                    return Err(Refusal::Founded);
                }
                self.group = *group;
                Ok(Answer::Done)
            }
            Command::RegisterStream {
                stream,
                owner,
                followers,
                acks,
            } => self.register(*stream, owner, followers, *acks),
            Command::ChangeEnsemble {
                stream,
                epoch,
                ensemble,
                released,
            } => self.change_ensemble(*stream, *epoch, ensemble, *released),
            Command::FenceStream { stream, epoch, by } => self.fence(*stream, *epoch, by),
            Command::SealStream {
                stream,
                epoch,
                by,
                ranges,
                released,
            } => self.seal(*stream, *epoch, by, (ranges, *released)),
            Command::ForgetStream { stream } => self.forget(*stream),
            Command::Configure { key, value, expect } => {
                self.configure(key, value.as_deref(), *expect)
            }
            Command::Announce {
                service,
                instance,
                value,
                ttl_ms,
            } => self.announce(service, instance, value, *ttl_ms),
            Command::Withdraw { service, instance } => self.withdraw(service, instance),
            Command::AcquireLease {
                name,
                holder,
                ttl_ms,
            } => self.acquire(name, holder, *ttl_ms),
            Command::RenewLease {
                name,
                token,
                ttl_ms,
            } => self.renew(name, *token, *ttl_ms),
            Command::ReleaseLease { name, token } => Ok(self.release(name, *token)),
            Command::Tick => Ok(Answer::Done),
        }
    }

    /// When something can expire next, in the group's time; it may be that nothing does then.
    pub(crate) fn due(&self) -> Option<u64> {
        self.next.0.or_else(|| self.next_expiry())
    }

    fn next_expiry(&self) -> Option<u64> {
        let leases = self.leases.values().map(|lease| lease.expires_ms);
        let instances = self
            .services
            .values()
            .flat_map(|instances| instances.values().map(|instance| instance.expires_ms));
        let sessions = self.sessions.values().map(|session| session.expires_ms());
        leases.chain(instances).chain(sessions).min()
    }

    /// Removes what has expired. Looks at everything only where something can have.
    fn expire(&mut self) {
        let now = self.time_ms;
        let next = match self.next.0 {
            Some(next) => next,
            None => self.next_expiry().unwrap_or(u64::MAX),
        };
        if next > now {
            self.next.0 = Some(next);
            return;
        }
        self.expire_leases();
        self.expire_instances();
        self.expire_sessions();
        self.next.0 = None;
    }

    /// Notes that something expires then.
    fn expires_at(&mut self, time_ms: u64) {
        self.next.0 = self.next.0.map(|next| next.min(time_ms));
    }

    /// The bytes of a snapshot.
    ///
    /// # Errors
    /// `INTERNAL` where it cannot be written as JSON.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::new(Code::Internal, format!("a state is no JSON: {error}")))
    }

    /// A state from a snapshot's bytes.
    ///
    /// # Errors
    /// `METADATA_CORRUPT`; `METADATA_VERSION` where it is of a newer otlake.
    pub fn decode(bytes: &[u8]) -> Result<State> {
        let state: State = serde_json::from_slice(bytes).map_err(|error| {
            Error::new(
                Code::MetadataCorrupt,
                format!("a snapshot of the metadata group cannot be read: {error}"),
            )
        })?;
        if state.version > STATE_VERSION {
            return Err(Error::new(
                Code::MetadataVersion,
                format!(
                    "a snapshot of the metadata group has version {}; this node knows {STATE_VERSION}",
                    state.version
                ),
            ));
        }
        Ok(state)
    }
}

/// As an error that a limit of the state was reached.
fn full(what: &str, limit: usize) -> Refusal {
    Refusal::Full {
        what: what.to_owned(),
        limit: limit as u64,
    }
}
