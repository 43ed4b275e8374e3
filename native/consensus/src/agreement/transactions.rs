//! Two-phase commits whose log is the group's (Gray and Lamport 2006, "Consensus on transaction
//! commit"): the decision is one entry, so it is the same for all, and does not depend on the
//! coordinator's life. Once its time is over, a transaction that all participants are prepared for is
//! committed, and any other is aborted: whoever looks then, at whatever node, finds the same.
//!
//! ```text
//! begin -> prepare, for each participant -> commit (all prepared) -> finish, for each -> gone
//!    `-> decline, abort, or the deadline with one not prepared -> abort -> finish, for each -> gone
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{AgreementAnswer as Answer, AgreementRefusal as Refusal};
use super::state::{Agreement, full};
use crate::limits::MAX_TRANSACTIONS;

/// What was decided of a transaction. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// All participants carry it out.
    Committed,
    /// None does.
    Aborted,
}

/// A transaction that is not finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Who began it.
    pub coordinator: String,
    /// Who must be prepared.
    pub participants: BTreeSet<String>,
    /// Who is, with what each noted.
    pub prepared: BTreeMap<String, Option<String>>,
    /// Who has done what was decided.
    pub finished: BTreeSet<String>,
    /// What was decided; none before that.
    pub decision: Option<Decision>,
    /// When it is decided without the coordinator, in the group's time, in milliseconds.
    pub deadline_ms: u64,
}

impl Transaction {
    fn missing(&self) -> BTreeSet<String> {
        let prepared = |participant: &&String| !self.prepared.contains_key(*participant);
        self.participants.iter().filter(prepared).cloned().collect()
    }
}

impl Agreement {
    pub(super) fn begin(
        &mut self,
        name: &str,
        coordinator: &str,
        participants: &BTreeSet<String>,
        ttl_ms: u64,
    ) -> Result<Answer, Refusal> {
        if let Some(begun) = self.transactions.get(name) {
            return if begun.participants == *participants {
                Ok(Answer::Transaction(Arc::clone(begun)))
            } else {
                Err(Refusal::Begun)
            };
        }
        if self.transactions.len() >= MAX_TRANSACTIONS {
            return Err(full("transactions", MAX_TRANSACTIONS));
        }
        let begun = Transaction {
            coordinator: coordinator.to_owned(),
            participants: participants.clone(),
            prepared: BTreeMap::new(),
            finished: BTreeSet::new(),
            decision: None,
            deadline_ms: self.time_ms + ttl_ms,
        };
        Ok(self.put(name, begun))
    }

    pub(super) fn prepare(
        &mut self,
        name: &str,
        participant: &str,
        note: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let transaction = self.participated(name, participant)?;
        match transaction.decision {
            Some(Decision::Aborted) => return Err(Refusal::Decided(Decision::Aborted)),
            // It was prepared before, or this could not be.
            Some(Decision::Committed) => {
                return Ok(Answer::Transaction(Arc::clone(transaction)));
            }
            None => {}
        }
        let mut changed = Transaction::clone(transaction);
        changed
            .prepared
            .insert(participant.to_owned(), note.map(str::to_owned));
        Ok(self.put(name, changed))
    }

    pub(super) fn decline(&mut self, name: &str, participant: &str) -> Result<Answer, Refusal> {
        self.participated(name, participant)?;
        self.decide(name, Decision::Aborted)
    }

    pub(super) fn commit(&mut self, name: &str) -> Result<Answer, Refusal> {
        let missing = self.transaction(name)?.missing();
        if self.transaction(name)?.decision.is_none() && !missing.is_empty() {
            return Err(Refusal::NotPrepared { missing });
        }
        self.decide(name, Decision::Committed)
    }

    pub(super) fn abort(&mut self, name: &str) -> Result<Answer, Refusal> {
        self.decide(name, Decision::Aborted)
    }

    pub(super) fn finish(&mut self, name: &str, participant: &str) -> Result<Answer, Refusal> {
        let transaction = self.participated(name, participant)?;
        if transaction.decision.is_none() {
            return Err(Refusal::Undecided);
        }
        let mut changed = Transaction::clone(transaction);
        changed.finished.insert(participant.to_owned());
        if changed.finished != changed.participants {
            return Ok(self.put(name, changed));
        }
        Arc::make_mut(&mut self.transactions).remove(name);
        Ok(Answer::Transaction(Arc::new(changed)))
    }

    /// Decides what has waited for its coordinator long enough.
    pub(super) fn decide_expired(&mut self) {
        let now = self.time_ms;
        let expired = self.transactions.iter().filter_map(|(name, transaction)| {
            let due = transaction.decision.is_none() && transaction.deadline_ms <= now;
            due.then(|| (name.clone(), Transaction::clone(transaction)))
        });
        for (name, mut transaction) in expired.collect::<Vec<_>>() {
            transaction.decision = Some(if transaction.missing().is_empty() {
                Decision::Committed
            } else {
                Decision::Aborted
            });
            self.put(&name, transaction);
        }
    }

    fn decide(&mut self, name: &str, decision: Decision) -> Result<Answer, Refusal> {
        let transaction = self.transaction(name)?;
        match transaction.decision {
            Some(decided) if decided == decision => {
                Ok(Answer::Transaction(Arc::clone(transaction)))
            }
            Some(decided) => Err(Refusal::Decided(decided)),
            None => {
                let mut changed = Transaction::clone(transaction);
                changed.decision = Some(decision);
                Ok(self.put(name, changed))
            }
        }
    }

    fn transaction(&self, name: &str) -> Result<&Arc<Transaction>, Refusal> {
        self.transactions
            .get(name)
            .ok_or(Refusal::UnknownTransaction)
    }

    fn participated(&self, name: &str, participant: &str) -> Result<&Arc<Transaction>, Refusal> {
        let transaction = self.transaction(name)?;
        if transaction.participants.contains(participant) {
            Ok(transaction)
        } else {
            Err(Refusal::NoParticipant)
        }
    }

    fn put(&mut self, name: &str, transaction: Transaction) -> Answer {
        let transaction = Arc::new(transaction);
        Arc::make_mut(&mut self.transactions).insert(name.to_owned(), Arc::clone(&transaction));
        Answer::Transaction(transaction)
    }
}
