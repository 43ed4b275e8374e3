//! The state machine of locks and transactions. It knows no clock, no chance and no I/O; time is the
//! group's own, as in `state/`.

use std::collections::BTreeMap;
use std::sync::Arc;

use otlake_base::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::command::{
    AGREEMENT_VERSION, AgreementAnswer as Answer, AgreementBatch, AgreementCommand as Command,
    AgreementRefusal as Refusal,
};
use super::transactions::Transaction;
use crate::limits::{MAX_LEASES, MAX_SESSIONS};
use crate::state::{Before, Leases, Sessions, Ungranted};

/// Everything that is agreed on in Paxos, after some entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Agreement {
    /// The greatest version of an entry in it.
    pub version: u32,
    /// How many entries are in it, over all configurations of the group.
    pub applied: u64,
    /// The group's time, in milliseconds.
    pub time_ms: u64,
    /// Locks that are held.
    pub locks: Leases,
    /// Transactions that are not finished, by name.
    pub transactions: Arc<BTreeMap<String, Arc<Transaction>>>,
    /// Sessions of proposers.
    pub sessions: Sessions<Answer>,
}

impl Agreement {
    /// Applies one entry; the answers are in the order of its proposals.
    ///
    /// # Errors
    /// `METADATA_VERSION` where the entry needs a newer otlake; nothing has changed then.
    pub(crate) fn apply(&mut self, batch: &AgreementBatch) -> Result<Vec<Answer>> {
        if batch.version > AGREEMENT_VERSION {
            return Err(Error::new(
                Code::MetadataVersion,
                format!(
                    "an entry of the Paxos group's log has version {}; this node knows {AGREEMENT_VERSION}",
                    batch.version
                ),
            ));
        }
        self.version = self.version.max(batch.version);
        self.applied += 1;
        self.time_ms = self.time_ms.max(batch.time_ms);
        let now = self.time_ms;
        self.locks.expire(now);
        self.sessions.expire(now);
        self.decide_expired();
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
            self.sessions.remember(&proposal.number, &answer, now);
            answer
        });
        Ok(answers.collect())
    }

    fn command(&mut self, command: &Command) -> Result<Answer, Refusal> {
        match command {
            Command::Lock {
                name,
                holder,
                ttl_ms,
            } => self.lock(name, holder, *ttl_ms),
            Command::Renew {
                name,
                token,
                ttl_ms,
            } => {
                let expires_ms = self.time_ms + ttl_ms;
                let token = *token;
                if self.locks.renew(name, token, expires_ms) {
                    Ok(Answer::Locked { token, expires_ms })
                } else {
                    Err(Refusal::NotHeld)
                }
            }
            Command::Unlock { name, token } => {
                self.locks.release(name, *token);
                Ok(Answer::Done)
            }
            Command::Begin {
                transaction,
                coordinator,
                participants,
                ttl_ms,
            } => self.begin(transaction, coordinator, participants, *ttl_ms),
            Command::Prepare {
                transaction,
                participant,
                note,
            } => self.prepare(transaction, participant, note.as_deref()),
            Command::Decline {
                transaction,
                participant,
            } => self.decline(transaction, participant),
            Command::Commit { transaction } => self.commit(transaction),
            Command::Abort { transaction } => self.abort(transaction),
            Command::Finish {
                transaction,
                participant,
            } => self.finish(transaction, participant),
            Command::Look => Ok(Answer::Entry(self.applied)),
            Command::Tick => Ok(Answer::Done),
        }
    }

    fn lock(&mut self, name: &str, holder: &str, ttl_ms: u64) -> Result<Answer, Refusal> {
        let expires_ms = self.time_ms + ttl_ms;
        match self.locks.acquire(name, holder, expires_ms) {
            Ok(token) => Ok(Answer::Locked { token, expires_ms }),
            Err(Ungranted::Full) => Err(full("locks", MAX_LEASES)),
            Err(Ungranted::Held(lock)) => Err(Refusal::Held {
                holder: lock.holder,
                token: lock.token,
                expires_ms: lock.expires_ms,
            }),
        }
    }

    /// When something expires next, in the group's time.
    pub(crate) fn due(&self) -> Option<u64> {
        let transactions = self.transactions.values();
        let deadlines = transactions
            .filter(|transaction| transaction.decision.is_none())
            .map(|transaction| transaction.deadline_ms);
        let others = [self.locks.next_expiry(), self.sessions.next_expiry()];
        deadlines.chain(others.into_iter().flatten()).min()
    }

    /// The bytes of a snapshot.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::new(Code::Internal, format!("a state is no JSON: {error}")))
    }

    /// A state from a snapshot's bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Agreement> {
        let state: Agreement = serde_json::from_slice(bytes).map_err(|error| {
            Error::new(
                Code::MetadataCorrupt,
                format!("a snapshot of the Paxos group cannot be read: {error}"),
            )
        })?;
        if state.version > AGREEMENT_VERSION {
            return Err(Error::new(
                Code::MetadataVersion,
                format!(
                    "a snapshot of the Paxos group has version {}; this node knows {AGREEMENT_VERSION}",
                    state.version
                ),
            ));
        }
        Ok(state)
    }
}

/// As a refusal that a limit of the state was reached.
pub(super) fn full(what: &str, limit: usize) -> Refusal {
    Refusal::Full {
        what: what.to_owned(),
        limit: limit as u64,
    }
}
