//! Sessions: a proposal that is sent again, because its answer was lost or its leader died, is
//! applied once and answered the same (Ongaro 2014, "Consensus: bridging theory and practice",
//! section 6.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_SESSIONS, SESSION_MS};

/// The name that a proposal is answered once by, whatever it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Number {
    /// One start of one proposer; 0 for what does no harm when it is repeated.
    pub session: u64,
    /// The number in the session, from 1.
    pub sequence: u64,
    /// Everything below this number has been answered and is not asked again.
    pub answered: u64,
}

/// One start of one proposer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session<A> {
    /// When it proposed last, in the group's time, in milliseconds.
    pub used_ms: u64,
    /// Its proposals below this number have their answers.
    pub answered: u64,
    /// Answers of the others, by number.
    pub answers: BTreeMap<u64, A>,
}

/// What was answered before.
pub(crate) enum Before<A> {
    /// Nothing: it is new.
    New,
    /// This.
    Answer(A),
    /// Something, and it is not kept any more.
    Gone,
    /// Nothing, and there are too many sessions for a new one.
    Full,
}

/// Sessions of proposers, by their ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sessions<A>(Arc<BTreeMap<u64, Arc<Session<A>>>>);

impl<A> Default for Sessions<A> {
    fn default() -> Self {
        Sessions(Arc::default())
    }
}

impl<A: Clone> Sessions<A> {
    /// The sessions.
    pub fn iter(&self) -> impl Iterator<Item = (&u64, &Session<A>)> {
        self.0.iter().map(|(id, session)| (id, &**session))
    }

    /// The answer that a proposal got before.
    pub(crate) fn before(&self, number: &Number) -> Before<A> {
        if number.session == 0 {
            return Before::New;
        }
        let Some(session) = self.0.get(&number.session) else {
            return if self.0.len() < MAX_SESSIONS {
                Before::New
            } else {
                Before::Full
            };
        };
        match session.answers.get(&number.sequence) {
            Some(answer) => Before::Answer(answer.clone()),
            None if number.sequence < session.answered => Before::Gone,
            None => Before::New,
        }
    }

    /// Keeps an answer until the proposer says that it has it; returns when it goes otherwise.
    pub(crate) fn remember(&mut self, number: &Number, answer: &A, now: u64) -> Option<u64> {
        if number.session == 0 {
            return None;
        }
        let session = Arc::make_mut(&mut self.0)
            .entry(number.session)
            .or_insert_with(|| {
                Arc::new(Session {
                    used_ms: now,
                    answered: 0,
                    answers: BTreeMap::new(),
                })
            });
        let session = Arc::make_mut(session);
        session.used_ms = now;
        if number.answered > session.answered {
            session.answered = number.answered;
            session.answers = session.answers.split_off(&number.answered);
        }
        session.answers.insert(number.sequence, answer.clone());
        Some(now + SESSION_MS)
    }

    /// When the next one is forgotten.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        let used = self.0.values().map(|session| session.used_ms);
        used.min().map(|used| used + SESSION_MS)
    }

    /// Forgets those that have proposed nothing for long.
    pub(crate) fn expire(&mut self, now: u64) {
        let expired = |session: &Session<A>| session.used_ms + SESSION_MS <= now;
        if self.0.values().any(|session| expired(session)) {
            Arc::make_mut(&mut self.0).retain(|_, session| !expired(session));
        }
    }
}
