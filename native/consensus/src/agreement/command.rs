//! What can be asked of the agreement, and what it answers. As in `command.rs` of the crate, fields may
//! be added; anything else needs a higher `AGREEMENT_VERSION`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use otlake_base::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use crate::agreement::transactions::{Decision, Transaction};
use crate::command::{check_json, check_name, check_ttl, invalid};
use crate::limits::{MAX_NOTE_BYTES, MAX_PARTICIPANTS};
use crate::state::Number;

/// The version of the state machine: what a node must know to apply what this one proposes.
pub(crate) const AGREEMENT_VERSION: u32 = 1;

/// One request to the state machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgreementCommand {
    /// Takes a lock that nobody holds, or renews one's own.
    Lock {
        /// The lock.
        name: String,
        /// Who takes it.
        holder: String,
        /// How long it is held without renewal, in milliseconds.
        ttl_ms: u64,
    },
    /// Renews a lock that is still held under this token.
    Renew {
        /// The lock.
        name: String,
        /// Its fencing token.
        token: u64,
        /// How long it is held from now on, in milliseconds.
        ttl_ms: u64,
    },
    /// Gives a lock back.
    Unlock {
        /// The lock.
        name: String,
        /// Its fencing token.
        token: u64,
    },
    /// Begins a transaction. Begun again with the same participants it changes nothing.
    Begin {
        /// The transaction, of a name that was never used.
        transaction: String,
        /// Who leads it; for people.
        coordinator: String,
        /// Who must be prepared (tables, tiers).
        participants: BTreeSet<String>,
        /// How long until it is decided without the coordinator, in milliseconds.
        ttl_ms: u64,
    },
    /// Says that a participant has everything on stable storage that it needs to carry the
    /// transaction out whatever happens, and will do as is decided.
    Prepare {
        /// The transaction.
        transaction: String,
        /// The participant.
        participant: String,
        /// What another needs to carry it out in its place, JSON text.
        note: Option<String>,
    },
    /// Says that a participant cannot: the transaction is aborted.
    Decline {
        /// The transaction.
        transaction: String,
        /// The participant.
        participant: String,
    },
    /// Decides that it is carried out; refused unless every participant is prepared.
    Commit {
        /// The transaction.
        transaction: String,
    },
    /// Decides that it is not carried out.
    Abort {
        /// The transaction.
        transaction: String,
    },
    /// Says that a participant has done what was decided. After the last one it is forgotten.
    Finish {
        /// The transaction.
        transaction: String,
        /// The participant.
        participant: String,
    },
    /// Asks for the number of the last entry.
    Look,
    /// Lets the time go on, so that what has expired goes.
    Tick,
}

/// A command and the name that it is answered once by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AgreementProposal {
    pub number: Number,
    pub command: AgreementCommand,
}

/// What one log entry holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AgreementBatch {
    /// The least `AGREEMENT_VERSION` that can apply it.
    pub version: u32,
    /// The group's time when it was proposed, in milliseconds.
    pub time_ms: u64,
    pub proposals: Vec<AgreementProposal>,
}

/// What the state machine answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgreementAnswer {
    /// Done, or done before.
    Done,
    /// A lock that is held.
    Locked {
        /// The fencing token: greater than any given before, of any lock.
        token: u64,
        /// When it ends unless it is renewed, in the group's time, in milliseconds.
        expires_ms: u64,
    },
    /// A transaction as it is now.
    Transaction(Arc<Transaction>),
    /// The number of the last entry.
    Entry(u64),
    /// Not done, and why.
    Refused(AgreementRefusal),
}

/// Why the state machine did not do what was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgreementRefusal {
    /// Another holds the lock.
    Held {
        /// Who holds it.
        holder: String,
        /// Its fencing token.
        token: u64,
        /// When it ends unless it is renewed, in the group's time, in milliseconds.
        expires_ms: u64,
    },
    /// The lock is not held under this token any more.
    NotHeld,
    /// No such transaction: it never began, or all have finished it.
    UnknownTransaction,
    /// The transaction began with other participants.
    Begun,
    /// It is none of the transaction's participants.
    NoParticipant,
    /// Participants are not prepared.
    NotPrepared {
        /// Which.
        missing: BTreeSet<String>,
    },
    /// The transaction is decided, and not so.
    Decided(Decision),
    /// The transaction is not decided.
    Undecided,
    /// There are as many of these as there may be.
    Full {
        /// Of what.
        what: String,
        /// How many.
        limit: u64,
    },
    /// The proposal was answered before, and the answer is not kept any more.
    Answered,
}

impl fmt::Display for AgreementRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AgreementRefusal::Held { holder, token, .. } => {
                write!(f, "the lock is held by {holder} with token {token}")
            }
            AgreementRefusal::NotHeld => write!(f, "the lock is not held under this token"),
            AgreementRefusal::UnknownTransaction => write!(f, "there is no such transaction"),
            AgreementRefusal::Begun => {
                write!(f, "the transaction began with other participants")
            }
            AgreementRefusal::NoParticipant => {
                write!(f, "it is none of the transaction's participants")
            }
            AgreementRefusal::NotPrepared { missing } => {
                write!(f, "participants are not prepared: {missing:?}")
            }
            AgreementRefusal::Decided(Decision::Committed) => {
                write!(f, "the transaction is committed")
            }
            AgreementRefusal::Decided(Decision::Aborted) => {
                write!(f, "the transaction is aborted")
            }
            AgreementRefusal::Undecided => write!(f, "the transaction is not decided"),
            AgreementRefusal::Full { what, limit } => {
                write!(f, "there are {limit} {what} already")
            }
            AgreementRefusal::Answered => write!(f, "the proposal was answered before"),
        }
    }
}

impl AgreementAnswer {
    /// The answer, or the refusal as an error.
    ///
    /// # Errors
    /// `METADATA_REFUSED`, or `METADATA_FULL`.
    pub fn granted(self) -> Result<AgreementAnswer> {
        match self {
            AgreementAnswer::Refused(refusal) => {
                let code = match refusal {
                    AgreementRefusal::Full { .. } => Code::MetadataFull,
                    _ => Code::MetadataRefused,
                };
                Err(Error::new(code, refusal))
            }
            answer => Ok(answer),
        }
    }

    /// As an error: what was not answered as expected.
    pub(crate) fn refusal(self) -> Error {
        match self.granted() {
            Err(error) => error,
            Ok(answer) => Error::new(Code::Internal, format!("no such answer: {answer:?}")),
        }
    }
}

impl AgreementCommand {
    /// Checks what does not depend on the state, so that it never reaches the log.
    ///
    /// # Errors
    /// `METADATA_INVALID` with the field.
    pub fn check(&self) -> Result<()> {
        match self {
            AgreementCommand::Lock {
                name,
                holder,
                ttl_ms,
            } => {
                check_name("lock's name", name)?;
                check_name("holder's name", holder)?;
                check_ttl(*ttl_ms)
            }
            AgreementCommand::Renew { name, ttl_ms, .. } => {
                check_name("lock's name", name)?;
                check_ttl(*ttl_ms)
            }
            AgreementCommand::Unlock { name, .. } => check_name("lock's name", name),
            AgreementCommand::Begin {
                transaction,
                coordinator,
                participants,
                ttl_ms,
            } => {
                check_name("transaction's name", transaction)?;
                check_name("coordinator's name", coordinator)?;
                if participants.is_empty() || participants.len() > MAX_PARTICIPANTS {
                    return Err(invalid(format!(
                        "a transaction has 1 to {MAX_PARTICIPANTS} participants, not {}",
                        participants.len()
                    )));
                }
                for participant in participants {
                    check_name("participant's name", participant)?;
                }
                check_ttl(*ttl_ms)
            }
            AgreementCommand::Prepare {
                transaction,
                participant,
                note,
            } => {
                check_name("transaction's name", transaction)?;
                check_name("participant's name", participant)?;
                let note = note.as_deref();
                note.map_or(Ok(()), |note| check_json("note", note, MAX_NOTE_BYTES))
            }
            AgreementCommand::Decline {
                transaction,
                participant,
            }
            | AgreementCommand::Finish {
                transaction,
                participant,
            } => {
                check_name("transaction's name", transaction)?;
                check_name("participant's name", participant)
            }
            AgreementCommand::Commit { transaction } | AgreementCommand::Abort { transaction } => {
                check_name("transaction's name", transaction)
            }
            AgreementCommand::Look | AgreementCommand::Tick => Ok(()),
        }
    }
}
