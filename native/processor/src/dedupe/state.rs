//! What a window knows.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};

use otlake_base::ShardSet;
use tokio::sync::watch;

use super::WindowLimits;
use super::claim::Stage;
use super::content::{Content, ContentHash};
use super::copies::Copies;
use super::recovered::{Claimed, Earlier};

#[derive(Default)]
pub(super) struct State {
    pub(super) entries: HashMap<ContentHash, Entry>,
    /// The stored ones, oldest first.
    pub(super) order: VecDeque<(u64, ContentHash)>,
    /// What is readable, and so can come into files, and is not acknowledged: the next start knows it as
    /// stored, for the log may have forgotten it by then. With when it was received.
    pub(super) readable: HashMap<ContentHash, (ShardSet, u64)>,
    /// Records of earlier starts, in this node's log, whose streams are not settled.
    pub(super) earlier: HashMap<ContentHash, Vec<Earlier>>,
    /// When they were received, oldest first.
    pub(super) doubts: VecDeque<(u64, ContentHash)>,
    /// Records of other nodes' streams that are not in the tables yet, as far as this node holds copies.
    pub(super) copies: Copies,
    /// Contents of records that are recovered, here or elsewhere, and which records.
    pub(super) claimed: HashMap<ContentHash, Vec<Claimed>>,
    /// When, oldest first.
    pub(super) claims: VecDeque<(u64, ContentHash)>,
}

/// There can be hundreds of thousands, so that what is rare is behind a pointer.
pub(super) enum Entry {
    InFlight(Box<InFlight>),
    /// The shards; none for the whole request.
    Stored(Option<Box<ShardSet>>),
}

pub(super) struct InFlight {
    pub(super) ended: watch::Sender<()>,
    /// What is being stored.
    pub(super) shards: ShardSet,
    /// What was stored before.
    pub(super) stored: ShardSet,
}

impl Entry {
    pub(super) fn of(shards: ShardSet) -> Entry {
        Entry::Stored((shards != ShardSet::ALL).then(|| Box::new(shards)))
    }

    pub(super) fn stored(&self) -> ShardSet {
        match self {
            Entry::InFlight(flight) => flight.stored,
            Entry::Stored(None) => ShardSet::ALL,
            Entry::Stored(Some(shards)) => **shards,
        }
    }
}

impl State {
    pub(super) fn remember(&mut self, content: Content, received: u64, limits: WindowLimits) {
        if limits.nanos == 0 {
            return;
        }
        match self.entries.entry(content.hash) {
            Slot::Occupied(mut slot) => {
                let before = slot.get().stored();
                slot.insert(Entry::of(before.either(&content.shards)));
                if before.is_empty() {
                    self.order.push_back((received, content.hash));
                }
            }
            Slot::Vacant(slot) => {
                slot.insert(Entry::of(content.shards));
                self.order.push_back((received, content.hash));
            }
        }
        self.forget(received, limits);
    }

    pub(super) fn forget(&mut self, now: u64, limits: WindowLimits) {
        while let Some((received, hash)) = self.order.front() {
            let expired = received.saturating_add(limits.nanos) < now;
            if !expired && self.order.len() <= limits.requests {
                break;
            }
            // What of it is being stored now is held by its ticket.
            match self.entries.get_mut(hash) {
                Some(Entry::InFlight(flight)) => flight.stored = ShardSet::EMPTY,
                _ => {
                    self.entries.remove(hash);
                }
            }
            self.order.pop_front();
        }
        while let Some((when, hash)) = self.claims.front() {
            let expired = when.saturating_add(limits.nanos) < now;
            if !expired && self.claims.len() <= limits.requests {
                break;
            }
            self.claimed.remove(hash);
            self.claims.pop_front();
        }
        while let Some((received, hash)) = self.doubts.front() {
            let expired = received.saturating_add(limits.nanos) < now;
            if !expired && self.doubts.len() <= limits.requests {
                break;
            }
            self.earlier.remove(hash);
            self.doubts.pop_front();
        }
    }

    /// The shards of a request that are stored here, or recovered.
    pub(super) fn known(&self, hash: ContentHash) -> ShardSet {
        let stored = self
            .entries
            .get(&hash)
            .map_or(ShardSet::EMPTY, Entry::stored);
        let claimed = self.claimed.get(&hash).into_iter().flatten();
        let settled = claimed.filter(|each| each.stage == Stage::Stored);
        settled.fold(stored, |known, each| known.either(&each.shards))
    }
}
