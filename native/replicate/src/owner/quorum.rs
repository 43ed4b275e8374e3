//! When a record is done: fsynced on as many nodes as its signal needs, and all before it are.

use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Code, Error, Result, Signal};

use super::{Kept, Output, Owner};
use crate::Ranges;
use crate::ensemble::{Copies, Ensemble, Quorum};

impl Owner {
    /// Fsyncs that a record of this quorum needs in an ensemble. Where fewer are allowed it is as many as
    /// there are nodes, and never fewer than the ensemble says: a recovery counts on those.
    pub(super) fn needed(&self, quorum: &Quorum, copies: &Copies) -> usize {
        let acks = match self.config.allow_degraded {
            true => quorum.acks.min(copies.followers.len() + 1),
            false => quorum.acks,
        };
        acks.max(copies.acks)
    }

    /// Whether a tenant's record of the signal is taken now. One that could not be acknowledged is not
    /// begun: it would fill the memory and the log.
    ///
    /// # Errors
    /// `CLUSTER_QUORUM`, `CLUSTER_FENCED`.
    pub fn admit(&self, signal: Signal, tenant: &str, now: Duration) -> Result<()> {
        if let Some(epoch) = self.fenced {
            let text = format!("the stream is fenced at epoch {epoch}");
            return Err(Error::new(Code::ClusterFenced, text));
        }
        let Some(ensemble) = self.ensembles.current() else {
            let text = "the node's stream is not registered yet";
            return Err(Error::new(Code::ClusterQuorum, text));
        };
        let copies = ensemble.of(signal);
        let quorum = self.config.quorums.of(signal, tenant);
        let acks = self.needed(&quorum, copies);
        let connected = copies
            .followers
            .iter()
            .filter(|member| {
                self.cursors.get(&member.name).is_some_and(|cursor| {
                    cursor.greeted
                        && cursor.journal == Some(member.journal)
                        && now >= cursor.backs_off_until
                })
            })
            .count();
        let alone_is_enough = acks == 1
            && (copies.followers.is_empty()
                || connected > 0
                || self.is_heard(copies, quorum.timeout, now));
        if alone_is_enough || (acks > 1 && connected + 1 >= acks) {
            return Ok(());
        }
        let text = format!(
            "{} of tenant `{tenant}` need {} copies, and {} of {} nodes can hold one",
            signal.records(),
            acks.max(2),
            connected + 1,
            copies.followers.len() + 1
        );
        Err(Error::new(Code::ClusterQuorum, text))
    }

    /// Answers every record from the first on that has its quorum.
    pub(super) fn complete(&mut self, now: Duration) {
        if self.fenced.is_some() {
            return;
        }
        self.look_at_alone();
        let before = self.done;
        self.complete_in_order(now);
        if self.done > before {
            self.settle_frames(&Ranges::of(before + 1, self.done));
        }
    }

    fn complete_in_order(&mut self, now: Duration) {
        while self.done < self.last() {
            let sequence = self.done + 1;
            let Some(kept) = self.kept(sequence) else {
                return;
            };
            if self.ensembles.current().is_none() {
                return;
            }
            // While an ensemble is proposed nobody knows which of the two a recoverer reads.
            let is_done = self
                .deciding(sequence)
                .all(|ensemble| self.has_quorum(ensemble, sequence, kept, now));
            let is_overdue = !is_done && !kept.lost && self.lets_pass(sequence, kept, now);
            if !is_done && !is_overdue && !kept.lost {
                return;
            }
            let (signal, bytes, quorum) = (kept.signal, kept.bytes, kept.quorum);
            if is_done && self.is_alone(sequence, signal) && quorum.copies > 1 {
                self.alone[signal.index()].push_back(sequence);
            }
            if is_done {
                self.count_degraded(signal, &quorum);
            }
            self.done = sequence;
            self.pending_bytes -= bytes;
            if is_overdue {
                self.overdue.insert(sequence);
                let labels = otlake_base::metrics::by_signal(signal);
                self.metrics.replica_overdue.get_or_create(&labels).inc();
                self.outputs.push(Output::Overdue { sequence });
                continue;
            }
            // One that the log cannot give back for those who lack it holds up none behind it.
            let outcome = match is_done {
                true => Ok(()),
                false => {
                    let text = format!("record {sequence} was damaged before it had its copies");
                    Err(Error::new(Code::ClusterQuorum, text))
                }
            };
            self.outputs.push(Output::Done { sequence, outcome });
        }
    }

    /// Followers of the ensemble that hold the record.
    pub(super) fn confirmed(&self, copies: &Copies, sequence: u64) -> usize {
        let holds = |member: &&crate::Member| {
            self.cursors.get(&member.name).is_some_and(|cursor| {
                cursor.journal == Some(member.journal) && cursor.held.contains(sequence)
            })
        };
        copies.followers.iter().filter(holds).count()
    }

    /// Whether the record has its tenant's quorum in the ensemble.
    fn has_quorum(&self, ensemble: &Ensemble, sequence: u64, kept: &Kept, now: Duration) -> bool {
        let acks = self.needed(&kept.quorum, ensemble.of(kept.signal));
        self.has_copies(ensemble, acks, sequence, kept, now)
    }

    /// Whether it has as many copies as whoever asks for the fewest.
    pub(super) fn has_fewest(
        &self,
        ensemble: &Ensemble,
        sequence: u64,
        kept: &Kept,
        now: Duration,
    ) -> bool {
        let acks = ensemble.of(kept.signal).acks;
        self.has_copies(ensemble, acks, sequence, kept, now)
    }

    fn has_copies(
        &self,
        ensemble: &Ensemble,
        acks: usize,
        sequence: u64,
        kept: &Kept,
        now: Duration,
    ) -> bool {
        let copies = ensemble.of(kept.signal);
        let confirmed = self.confirmed(copies, sequence);
        if confirmed + 1 >= acks.max(2) {
            return true;
        }
        acks == 1
            && (copies.followers.is_empty()
                || (self.is_heard(copies, kept.quorum.timeout, now) && self.keeps_up(kept, now)))
    }

    /// Whether no follower has a record that followers shall have.
    fn is_alone(&self, sequence: u64, signal: Signal) -> bool {
        let current = self.ensembles.current();
        current.is_some_and(|ensemble| {
            let copies = ensemble.of(signal);
            !copies.followers.is_empty() && self.confirmed(copies, sequence) == 0
        })
    }

    /// Whether a follower of the ensemble was heard within the lease. An owner that acknowledges alone
    /// stops when it is cut off: it may have been fenced.
    fn is_heard(&self, copies: &Copies, lease: Duration, now: Duration) -> bool {
        copies.followers.iter().any(|member| {
            self.cursors.get(&member.name).is_some_and(|cursor| {
                cursor.journal == Some(member.journal)
                    && cursor.contact.is_some_and(|contact| contact + lease >= now)
            })
        })
    }

    /// Whether a follower has answered a beat that was sent at `since` or later. Where nobody follows
    /// nobody is waited for, and where the stream is fenced nothing more comes.
    pub fn is_in_touch(&self, since: Duration) -> bool {
        let Some(ensemble) = self.ensembles.current() else {
            return true;
        };
        let members = || {
            Signal::ALL
                .into_iter()
                .flat_map(|of| &ensemble.of(of).followers)
        };
        let is_heard = |name: &Arc<str>| {
            let cursor = self.cursors.get(name);
            cursor.is_some_and(|cursor| cursor.contact.is_some_and(|contact| contact >= since))
        };
        self.fenced.is_some()
            || members().next().is_none()
            || members().any(|member| is_heard(&member.name))
    }

    /// Whether the second copies of what was acknowledged alone come in the time that is set for the
    /// record. A tenant that asks for no second copy waits for nobody's.
    fn keeps_up(&self, record: &Kept, now: Duration) -> bool {
        let oldest = self.alone[record.signal.index()].front();
        let oldest = oldest.and_then(|sequence| self.kept(*sequence));
        record.quorum.copies == 1
            || oldest.is_none_or(|kept| kept.appended + record.quorum.timeout >= now)
    }

    /// Forgets those acknowledged alone that have a second copy by now.
    pub(super) fn look_at_alone(&mut self) {
        for signal in Signal::ALL {
            while let Some(sequence) = self.alone[signal.index()].front().copied() {
                let is_gone = self.kept(sequence).is_none();
                let current = self.ensembles.current();
                let has_copy = current.is_some_and(|ensemble| {
                    let copies = ensemble.of(signal);
                    copies.followers.is_empty() || self.confirmed(copies, sequence) > 0
                });
                if !is_gone && !has_copy {
                    break;
                }
                self.alone[signal.index()].pop_front();
            }
        }
    }

    /// Counts an acknowledgement with fewer copies than its tenant asks for.
    pub(super) fn count_degraded(&self, signal: Signal, quorum: &Quorum) {
        if self.is_below(signal, quorum.acks) {
            let labels = otlake_base::metrics::by_signal(signal);
            self.metrics.replica_degraded.get_or_create(&labels).inc();
        }
    }

    /// Whether anyone's records of the signal are acknowledged with fewer copies than is set.
    pub(super) fn is_degraded(&self, signal: Signal) -> bool {
        self.is_below(signal, self.config.quorums.most_acks(signal))
    }

    /// Whether records for which so many acknowledgements are set are acknowledged with fewer.
    fn is_below(&self, signal: Signal, acks: usize) -> bool {
        let current = self.ensembles.current();
        current.is_some_and(|ensemble| {
            let copies = ensemble.of(signal);
            let there = copies.followers.len() + 1;
            copies.acks < acks && self.config.allow_degraded && there < acks
        })
    }
}
