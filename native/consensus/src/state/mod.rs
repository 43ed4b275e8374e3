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
//! - `files.rs`: logs of tables whose files the nodes keep.
//! - `sessions.rs`: which proposals were answered, and how.

mod files;
mod leases;
mod registry;
mod sessions;
mod streams;

#[cfg(test)]
mod files_test;
#[cfg(test)]
mod state_test;

use std::collections::BTreeMap;
use std::sync::Arc;

use otlake_base::{Code, Error, Result, StreamId};
use serde::{Deserialize, Serialize};

pub use files::{FileLog, LogFile, checkpoint_version, commit_version, version_of};
pub(crate) use leases::Ungranted;
pub use leases::{Lease, Leases};
pub use registry::{Instance, Setting};
pub(crate) use sessions::Before;
pub use sessions::{Number, Session, Sessions};
pub use streams::{Ensemble, Followers, StreamRecord, StreamState};

use crate::command::{Answer, Batch, Command, Refusal, STATE_VERSION};
use crate::limits::{MAX_LEASES, MAX_SESSIONS};

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
    /// Streams by id.
    #[serde(with = "streams::as_list")]
    pub streams: Arc<BTreeMap<StreamId, Arc<StreamRecord>>>,
    /// The cluster's configuration by key.
    pub settings: Arc<BTreeMap<String, Setting>>,
    /// Instances of services, by service and instance.
    pub services: Arc<BTreeMap<String, Arc<BTreeMap<String, Instance>>>>,
    /// Logs of tables whose files the nodes keep, by their folders.
    #[serde(skip_serializing_if = "files_are_nowhere")]
    pub files: Arc<BTreeMap<String, Arc<FileLog>>>,
    /// Leases that are held.
    pub leases: Leases,
    /// Sessions of proposers.
    pub sessions: Sessions<Answer>,
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
        let answers = batch.proposals.iter().map(|proposal| {
            match self.sessions.before(&proposal.number) {
                Before::New => {}
                Before::Answer(answer) => return answer,
                Before::Gone => return Answer::Refused(Refusal::Answered),
                Before::Full => {
                    return Answer::Refused(full("sessions of proposers", MAX_SESSIONS));
                }
            }
            let answer = self
                .command(&proposal.command)
                .unwrap_or_else(Answer::Refused);
            let expires = self
                .sessions
                .remember(&proposal.number, &answer, self.time_ms);
            if let Some(expires_ms) = expires {
                self.expires_at(expires_ms);
            }
            answer
        });
        Ok(answers.collect())
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
            Command::ReleaseLease { name, token } => {
                self.leases.release(name, *token);
                Ok(Answer::Done)
            }
            Command::PublishFile {
                folder,
                name,
                file,
                replace,
            } => self.publish_file(folder, name, file, *replace),
            Command::UnpublishFile { folder, name } => self.unpublish_file(folder, name),
            Command::Tick => Ok(Answer::Done),
        }
    }

    /// When something can expire next, in the group's time; it may be that nothing does then.
    pub(crate) fn due(&self) -> Option<u64> {
        self.next.0.or_else(|| self.next_expiry())
    }

    fn next_expiry(&self) -> Option<u64> {
        let instances = self
            .services
            .values()
            .flat_map(|instances| instances.values().map(|instance| instance.expires_ms));
        let others = [self.leases.next_expiry(), self.sessions.next_expiry()];
        instances.chain(others.into_iter().flatten()).min()
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
        self.leases.expire(now);
        self.sessions.expire(now);
        self.expire_instances();
        self.next.0 = None;
    }

    fn acquire(&mut self, name: &str, holder: &str, ttl_ms: u64) -> Result<Answer, Refusal> {
        let expires_ms = self.time_ms + ttl_ms;
        match self.leases.acquire(name, holder, expires_ms) {
            Ok(token) => {
                self.expires_at(expires_ms);
                Ok(Answer::Leased { token, expires_ms })
            }
            Err(Ungranted::Full) => Err(full("leases", MAX_LEASES)),
            Err(Ungranted::Held(lease)) => Err(Refusal::Held {
                holder: lease.holder,
                token: lease.token,
                expires_ms: lease.expires_ms,
            }),
        }
    }

    fn renew(&mut self, name: &str, token: u64, ttl_ms: u64) -> Result<Answer, Refusal> {
        let expires_ms = self.time_ms + ttl_ms;
        if !self.leases.renew(name, token, expires_ms) {
            return Err(Refusal::NotHeld);
        }
        self.expires_at(expires_ms);
        Ok(Answer::Leased { token, expires_ms })
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

/// Clusters that keep no files write snapshots as they did before there were any.
fn files_are_nowhere(files: &BTreeMap<String, Arc<FileLog>>) -> bool {
    files.is_empty()
}

/// As an error that a limit of the state was reached.
fn full(what: &str, limit: usize) -> Refusal {
    Refusal::Full {
        what: what.to_owned(),
        limit: limit as u64,
    }
}
