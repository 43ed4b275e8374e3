//! Who has answered, and whether it is enough.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::Signal;

use super::{Call, Recovery};
use crate::ensemble::Ensemble;
use crate::message::{Holder, Message};

impl Recovery {
    /// Fences every member that has not answered yet.
    pub(super) fn ask(&mut self, now: Duration) {
        for (name, member) in &mut self.members {
            if member.held.is_none() && !member.called && now >= member.retry_at {
                member.called = true;
                self.calls.push(Call {
                    to: Arc::clone(name),
                    message: Message::Fence {
                        stream: self.config.stream,
                        epoch: self.config.epoch,
                    },
                });
            }
        }
    }

    /// Looks anew at what the answers amount to.
    pub(super) fn look(&mut self) {
        self.passed = Signal::ALL.map(|signal| self.told_passed(signal));
        let is_whole = self.is_lossy || self.owner_is_whole();
        self.complete =
            Signal::ALL.map(|signal| is_whole || self.incomplete(signal).next().is_none());
    }

    /// Whether everything of the signal that was acknowledged is among what was told.
    pub(super) fn is_complete(&self, signal: Signal) -> bool {
        self.complete[signal.index()]
    }

    /// The tables hold everything of the signal up to here.
    pub(super) fn passed(&self, signal: Signal) -> u64 {
        self.passed[signal.index()]
    }

    /// The owner's log has each record that was ever acknowledged: its fsync comes first.
    fn owner_is_whole(&self) -> bool {
        self.members.values().any(|member| {
            member.failed.is_empty()
                && member
                    .held
                    .as_ref()
                    .is_some_and(|held| held.holder == Holder::Owner { whole: true })
        })
    }

    fn told_passed(&self, signal: Signal) -> u64 {
        let told = self
            .members
            .values()
            .filter_map(|member| member.held.as_ref());
        let told = told.map(|held| held.released[signal.index()]).max();
        told.unwrap_or(0).max(self.config.watermark[signal.index()])
    }

    /// Ensembles of which too few have answered.
    fn incomplete(&self, signal: Signal) -> impl Iterator<Item = &Ensemble> {
        let ensembles = &self.config.ensembles.0;
        let passed = self.passed(signal);
        ensembles
            .iter()
            .enumerate()
            .filter(move |(index, ensemble)| {
                let end = ensembles.get(index + 1).map(|next| next.first_sequence);
                let is_passed = end.is_some_and(|end| end <= passed.saturating_add(1));
                let copies = ensemble.of(signal);
                // With fewer followers than an acknowledgement needs none was given.
                let none_acknowledged = copies.followers.len() + 1 < copies.acks;
                !is_passed
                    && !none_acknowledged
                    && self.answers(ensemble, signal) < copies.answers_needed()
            })
            .map(|(_, ensemble)| ensemble)
    }

    /// Followers of the ensemble that have answered with the journal that it names.
    fn answers(&self, ensemble: &Ensemble, signal: Signal) -> usize {
        let has_answered = |member: &&crate::Member| {
            let held = self.members.get(&member.name).and_then(|m| m.held.as_ref());
            held.is_some_and(|held| held.holder == Holder::Journal(member.journal))
        };
        ensemble
            .of(signal)
            .followers
            .iter()
            .filter(has_answered)
            .count()
    }

    /// Members whose answer is needed, or that alone hold a record.
    pub(super) fn missing(&self) -> Vec<Arc<str>> {
        let mut missing = BTreeSet::new();
        for signal in Signal::ALL {
            if self.is_complete(signal) {
                continue;
            }
            missing.insert(Arc::clone(&self.config.owner));
            for ensemble in self.incomplete(signal) {
                for member in &ensemble.of(signal).followers {
                    let held = self.members.get(&member.name).and_then(|m| m.held.as_ref());
                    let counts =
                        held.is_some_and(|held| held.holder == Holder::Journal(member.journal));
                    if !counts {
                        missing.insert(Arc::clone(&member.name));
                    }
                }
            }
        }
        for signal in Signal::ALL {
            if let Some(sequence) = self.next(signal)
                && !self.fetched.contains_key(&sequence)
            {
                let holders = self.members.iter().filter(|(_, member)| {
                    let held = member.held.as_ref();
                    held.is_some_and(|held| held.ranges[signal.index()].contains(sequence))
                });
                for (name, member) in holders {
                    if member.away || member.failed.contains(sequence) {
                        missing.insert(Arc::clone(name));
                    }
                }
            }
        }
        missing.into_iter().collect()
    }
}
