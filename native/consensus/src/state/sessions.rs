//! Sessions: a proposal that is sent again, because its answer was lost or its leader died, is
//! applied once and answered the same (Ongaro 2014, "Consensus: bridging theory and practice",
//! section 6.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{State, full};
use crate::command::{Answer, Proposal, Refusal};
use crate::limits::{MAX_SESSIONS, SESSION_MS};

/// One start of one proposer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// When it proposed last, in the group's time, in milliseconds.
    pub used_ms: u64,
    /// Its proposals below this number have their answers.
    pub answered: u64,
    /// Answers of the others, by number.
    pub answers: BTreeMap<u64, Answer>,
}

impl Session {
    /// When it is forgotten unless it proposes, in the group's time, in milliseconds.
    pub fn expires_ms(&self) -> u64 {
        self.used_ms + SESSION_MS
    }
}

impl State {
    /// The answer that this proposal got before.
    pub(super) fn answered(&self, proposal: &Proposal) -> Option<Answer> {
        if proposal.session == 0 {
            return None;
        }
        let Some(session) = self.sessions.get(&proposal.session) else {
            return (self.sessions.len() >= MAX_SESSIONS)
                .then(|| Answer::Refused(full("sessions of proposers", MAX_SESSIONS)));
        };
        if let Some(answer) = session.answers.get(&proposal.sequence) {
            return Some(answer.clone());
        }
        (proposal.sequence < session.answered).then_some(Answer::Refused(Refusal::Answered))
    }

    /// Keeps an answer until the proposer says that it has it.
    pub(super) fn remember(&mut self, proposal: &Proposal, answer: &Answer) {
        if proposal.session == 0 {
            return;
        }
        let now = self.time_ms;
        let session = Arc::make_mut(
            Arc::make_mut(&mut self.sessions)
                .entry(proposal.session)
                .or_default(),
        );
        session.used_ms = now;
        if proposal.answered > session.answered {
            session.answered = proposal.answered;
            session.answers = session.answers.split_off(&proposal.answered);
        }
        session.answers.insert(proposal.sequence, answer.clone());
        self.expires_at(now + SESSION_MS);
    }

    pub(super) fn expire_sessions(&mut self) {
        let now = self.time_ms;
        if self
            .sessions
            .values()
            .any(|session| session.expires_ms() <= now)
        {
            Arc::make_mut(&mut self.sessions).retain(|_, session| session.expires_ms() > now);
        }
    }
}
