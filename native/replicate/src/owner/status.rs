//! To whom links are wanted, and how replication stands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::Signal;

use super::cursor::Cursor;
use super::{Output, Owner};
use crate::ensemble::Ensembles;

/// A follower that has answered no beat that was sent since is not there, though its connection may look
/// open.
const SILENT: Duration = Duration::from_secs(2);

/// How far one follower is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The node.
    pub name: Arc<str>,
    /// The signals that it is sent.
    pub signals: Vec<Signal>,
    /// Records that it has not confirmed.
    pub lag_records: u64,
    /// Their bytes.
    pub lag_bytes: u64,
    /// Whether it answers: a beat of the last `SILENT`.
    pub connected: bool,
}

/// How replication stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerStatus {
    /// Each follower.
    pub followers: Vec<FollowerStatus>,
    /// Whether anyone's records are acknowledged with fewer copies than is set.
    pub degraded: bool,
    /// Records that wait for their quorum.
    pub pending: u64,
    /// Records that are readable meanwhile, because their quorum is late.
    pub overdue: u64,
    /// The epoch at which another has fenced the stream.
    pub fenced: Option<u64>,
    /// The committed ensembles.
    pub ensembles: Ensembles,
}

impl Owner {
    /// Opens links to those who hold copies or shall, and closes the others.
    pub(super) fn link(&mut self, _: Duration) {
        let mut wanted: BTreeSet<Arc<str>> = BTreeSet::new();
        if self.fenced.is_none() {
            wanted.extend(self.desired.iter().flatten().cloned());
            wanted.extend(
                self.ensembles
                    .members()
                    .into_iter()
                    .map(|member| member.name),
            );
            if let Some(proposal) = &self.proposed {
                let members = proposal.ensemble.members().into_iter();
                wanted.extend(members.map(|member| member.name));
            }
            // A former one keeps its copies until it is told that the tables hold them.
            let (base, released) = (self.base, self.released);
            let holding = self.cursors.iter();
            let holding = holding.filter(|(_, cursor)| cursor.may_hold(base, released));
            wanted.extend(holding.map(|(name, _)| Arc::clone(name)));
        }
        for name in &wanted {
            if !self.cursors.contains_key(name) {
                self.cursors.insert(Arc::clone(name), Cursor::default());
                self.outputs.push(Output::Connect(Arc::clone(name)));
            }
        }
        let unwanted: Vec<Arc<str>> = self
            .cursors
            .keys()
            .filter(|name| !wanted.contains(*name))
            .cloned()
            .collect();
        for name in unwanted {
            self.cursors.remove(&name);
            self.outputs.push(Output::Disconnect(name));
        }
    }

    /// How replication stands.
    pub fn status(&self, now: Duration) -> OwnerStatus {
        let followers = self.cursors.iter().map(|(name, cursor)| {
            let follows = self.follows(name);
            let (mut lag_records, mut lag_bytes) = (0, 0);
            for (sequence, kept) in (self.base..).zip(&self.kept) {
                if follows[kept.signal.index()] && !cursor.held.contains(sequence) {
                    lag_records += 1;
                    lag_bytes += kept.bytes as u64;
                }
            }
            FollowerStatus {
                name: Arc::clone(name),
                signals: Signal::ALL
                    .into_iter()
                    .filter(|signal| follows[signal.index()])
                    .collect(),
                lag_records,
                lag_bytes,
                connected: cursor.greeted
                    && cursor.contact.is_some_and(|contact| now < contact + SILENT),
            }
        });
        OwnerStatus {
            followers: followers.collect(),
            degraded: Signal::ALL
                .into_iter()
                .any(|signal| self.is_degraded(signal)),
            pending: self.last() - self.done,
            overdue: self.overdue.len() as u64,
            fenced: self.fenced,
            ensembles: self.ensembles.clone(),
        }
    }
}
