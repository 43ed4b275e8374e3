//! When the ensemble changes, and how no acknowledged record falls between two of them.
//!
//! A proposal names its first sequence F: the lowest from which on every record that is done has its
//! quorum in the new ensemble. So F is never behind the first record that is not done; and from
//! the proposal until its answer a record is done only with the quorum of both. Whichever of the
//! two a recoverer reads, each acknowledged record has its quorum there.

use std::sync::Arc;
use std::time::Duration;

use otlake_base::Signal;

use super::{Kept, Output, Owner, Proposal};
use crate::ensemble::{Copies, Ensemble, Member};

/// How long a new set of followers may take to be reached before it is proposed without the rest.
const GRACE: Duration = Duration::from_secs(2);
/// How long an answer to a proposal is retried after it did not come.
const RETRY: Duration = Duration::from_millis(500);
/// How often it is looked whether earlier ensembles can be given up.
const LOOK: Duration = Duration::from_millis(500);

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It is committed.
    Committed,
    /// Another has fenced the stream at this epoch.
    Fenced(u64),
    /// It may be committed or not.
    Unknown,
}

impl Owner {
    /// Who shall follow, by signal; the controller decides it.
    pub fn follow(&mut self, desired: [Vec<Arc<str>>; 3], now: Duration) {
        if self.desired_since.is_none() || self.desired != desired {
            self.desired = desired;
            self.desired_since = Some(now);
            for cursor in self.cursors.values_mut() {
                // It may follow a signal that it was not sent before.
                cursor.next = 0;
            }
        }
        self.link(now);
        self.consider(now);
        self.send_all(now);
    }

    /// What became of the last proposal.
    pub fn settled(&mut self, proposed: Proposed, now: Duration) {
        match proposed {
            Proposed::Fenced(epoch) => self.fence(epoch),
            Proposed::Unknown => {
                if let Some(proposal) = &mut self.proposed {
                    proposal.retry_at = Some(now + RETRY);
                }
            }
            Proposed::Committed => {
                if let Some(proposal) = self.proposed.take() {
                    self.ensembles.change(proposal.ensemble);
                }
                self.complete(now);
                self.link(now);
                self.consider(now);
                self.send_all(now);
            }
        }
    }

    pub(super) fn retry_proposal(&mut self, now: Duration) {
        if let Some(proposal) = &mut self.proposed
            && proposal.retry_at.is_some_and(|at| now >= at)
        {
            proposal.retry_at = None;
            let ensemble = proposal.ensemble.clone();
            self.outputs.push(Output::Propose(ensemble));
        }
    }

    /// Proposes an ensemble where there is a better one than the current.
    pub(super) fn consider(&mut self, now: Duration) {
        if self.fenced.is_some() || self.proposed.is_some() {
            return;
        }
        let Some(signals) = self.target(now) else {
            return;
        };
        let current = self.ensembles.current();
        if current.is_some_and(|current| current.signals == signals) {
            let is_one =
                self.ensembles.0.len() == 1 && current.is_some_and(|c| c.first_sequence == 1);
            if is_one || now < self.looked_at_ensemble + LOOK {
                return;
            }
            self.looked_at_ensemble = now;
            // Earlier ensembles are given up all at once, when this one holds everything.
            if self.first_with(&signals) > 1 {
                return;
            }
        }
        let ensemble = Ensemble {
            version: current.map_or(0, |current| current.version) + 1,
            first_sequence: self.first_with(&signals),
            signals,
        };
        self.proposed = Some(Proposal {
            ensemble: ensemble.clone(),
            retry_at: None,
        });
        self.outputs.push(Output::Propose(ensemble));
    }

    /// The ensemble that the reached ones of the desired followers make; none while more of them
    /// may be reached soon.
    fn target(&self, now: Duration) -> Option<[Copies; 3]> {
        let since = self.desired_since?;
        let current = self.ensembles.current();
        let mut signals: [Copies; 3] = Default::default();
        for signal in Signal::ALL {
            // As many as the tenant needs that asks for most; what a recovery counts on is the least.
            let (copies, acks) = (
                self.config.quorums.copies(signal),
                self.config.quorums.fewest_acks(signal),
            );
            let desired = self.desired[signal.index()].iter().take(copies - 1);
            let mut followers = Vec::new();
            let mut missing = false;
            for name in desired {
                let known = current.and_then(|current| current.of(signal).named(name));
                let reached = self
                    .cursors
                    .get(name)
                    .filter(|cursor| cursor.greeted)
                    .and_then(|cursor| cursor.journal);
                match (reached, known) {
                    (Some(journal), _) => followers.push(Member {
                        name: Arc::clone(name),
                        journal,
                    }),
                    // One that is briefly away keeps its place.
                    (None, Some(known)) => followers.push(known.clone()),
                    (None, None) => missing = true,
                }
            }
            if missing && now < since + GRACE {
                return None;
            }
            followers.sort();
            // One that is named twice would be counted twice.
            followers.dedup();
            let acks = match self.config.allow_degraded {
                true => acks.min(followers.len() + 1),
                false => acks,
            };
            let copies = Copies { followers, acks };
            let too_few = copies.followers.len() + 1 < acks;
            signals[signal.index()] = match current {
                // It could acknowledge nothing, while the old one may come back.
                Some(current) if too_few => current.of(signal).clone(),
                _ => copies,
            };
        }
        Some(signals)
    }

    /// The committed ensemble that a record belongs to.
    pub(super) fn ensemble_of(&self, sequence: u64) -> Option<&Ensemble> {
        let mut of = self.ensembles.0.iter().rev();
        of.find(|ensemble| ensemble.first_sequence <= sequence)
    }

    /// The copies that a record is to have in other copies of its signal before it belongs to those: as
    /// many as it was acknowledged with, or is readable with where it is overdue.
    fn copies_to_keep(&self, sequence: u64, kept: &Kept, others: &Copies) -> usize {
        let its_own = self.ensemble_of(sequence).map(|of| of.of(kept.signal));
        let needed = |copies: &Copies| match self.overdue.contains(&sequence) {
            true => copies.acks,
            false => self.needed(&kept.quorum, copies),
        };
        // With fewer acknowledgements than it was done with, its earlier ensemble stays.
        needed(others).max(its_own.map_or(1, needed))
    }

    /// The lowest sequence from which on every record that is done has its quorum among these.
    fn first_with(&self, signals: &[Copies; 3]) -> u64 {
        let mut first = self.done + 1;
        while first > self.base {
            let sequence = first - 1;
            let Some(kept) = self.kept(sequence) else {
                break;
            };
            let copies = &signals[kept.signal.index()];
            let acks = self.copies_to_keep(sequence, kept, copies);
            let is_released = sequence <= self.released[kept.signal.index()];
            if !is_released && self.confirmed(copies, sequence) + 1 < acks {
                return first;
            }
            first = sequence;
        }
        // What lies before is in the tables.
        1
    }
}
