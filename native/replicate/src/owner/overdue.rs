//! Records whose quorum is late. Records become readable in the order of the sequence, so one whose
//! tenant asks for three copies where two nodes are left would hold up those of every other tenant. Where
//! it has as many copies as the tenant that asks for the fewest, it waits for its time-out, as its client
//! does, and is overdue from then on: readable, and not acknowledged. That comes with its own quorum; or
//! when the tables have it, which is what copies are kept for, and from when on nobody is sent any.
//!
//! An ensemble that takes over from its sequence on keeps as many copies of it as it is readable with.
//! While it is not acknowledged no recovery owes it to anybody.

use std::time::Duration;

use otlake_base::Signal;

use super::{Kept, Output, Owner};
use crate::ensemble::Ensemble;

impl Owner {
    /// Everything up to here is acknowledged: others may tell a resend of it as stored.
    pub(super) fn acknowledged(&self) -> u64 {
        let before = |first: &u64| first - 1;
        self.overdue.first().map_or(self.done, before)
    }

    /// Whether a record that lacks its quorum lets those behind it pass.
    pub(super) fn lets_pass(&self, sequence: u64, kept: &Kept, now: Duration) -> bool {
        let is_late = kept.appended + kept.quorum.timeout < now;
        is_late
            && self
                .deciding(sequence)
                .all(|ensemble| self.has_fewest(ensemble, sequence, kept, now))
    }

    /// The ensembles that a recovery may read of a record: the one that it belongs to, and one that is
    /// proposed.
    pub(super) fn deciding(&self, sequence: u64) -> impl Iterator<Item = &Ensemble> {
        let proposed = self.proposed.as_ref().map(|proposal| &proposal.ensemble);
        let proposed = proposed.filter(|ensemble| ensemble.first_sequence <= sequence);
        self.ensemble_of(sequence).into_iter().chain(proposed)
    }

    /// Acknowledges those that have their quorum by now.
    pub(super) fn complete_overdue(&mut self) {
        let has_its_own = |sequence: &u64| {
            self.kept(*sequence).is_some_and(|kept| {
                self.deciding(*sequence).all(|ensemble| {
                    let copies = ensemble.of(kept.signal);
                    self.confirmed(copies, *sequence) + 1 >= self.needed(&kept.quorum, copies)
                })
            })
        };
        let done: Vec<u64> = self.overdue.iter().copied().filter(has_its_own).collect();
        for sequence in done {
            if let Some((signal, quorum)) =
                self.kept(sequence).map(|kept| (kept.signal, kept.quorum))
            {
                self.count_degraded(signal, &quorum);
            }
            self.acknowledge_overdue(sequence);
        }
    }

    /// Acknowledges those of the signal that the tables have by now.
    pub(super) fn complete_released(&mut self, signal: Signal) {
        let upto = self.released[signal.index()];
        let is_held = |sequence: &&u64| {
            self.kept(**sequence)
                .is_none_or(|kept| kept.signal == signal)
        };
        let overdue = self.overdue.range(..=upto);
        let done: Vec<u64> = overdue.filter(is_held).copied().collect();
        for sequence in done {
            self.acknowledge_overdue(sequence);
        }
    }

    fn acknowledge_overdue(&mut self, sequence: u64) {
        self.overdue.remove(&sequence);
        self.outputs.push(Output::Done {
            sequence,
            outcome: Ok(()),
        });
    }

    /// Another has fenced the stream.
    pub(super) fn refuse_overdue(&mut self, epoch: u64) {
        for sequence in std::mem::take(&mut self.overdue) {
            self.refuse(sequence, epoch);
        }
    }
}
