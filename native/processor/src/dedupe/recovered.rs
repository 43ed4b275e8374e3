//! What a window knows of records that are recovered, of earlier starts, and of copies.

use std::collections::hash_map::Entry as Slot;

use otlake_base::{Position, ShardSet, StreamId};

use super::WindowLimits;
use super::claim::{RESERVED_NANOS, SETTLING_NANOS, Stage};
use super::content::{Content, ContentHash};
use super::state::{Entry, State};

/// A record that is recovered.
pub(super) struct Claimed {
    pub(super) position: Position,
    pub(super) shards: ShardSet,
    pub(super) stage: Stage,
    /// Whether these are the shards that its recovery left of it.
    pub(super) is_cut: bool,
    /// When it was told; of one that is reserved, the last time.
    pub(super) at: u64,
}

/// A record of an earlier start, in this node's log, whose stream is not settled.
pub(super) struct Earlier {
    pub(super) position: Position,
    pub(super) shards: ShardSet,
    pub(super) received: u64,
}

impl State {
    pub(super) fn doubt(
        &mut self,
        content: Content,
        received: u64,
        position: Position,
        limits: WindowLimits,
    ) {
        if limits.nanos == 0 {
            return;
        }
        // Where the window's file knows it, that was before it was in doubt.
        if let Some(entry) = self.entries.get_mut(&content.hash) {
            let rest = entry.stored().minus(&content.shards);
            if rest.is_empty() {
                self.entries.remove(&content.hash);
            } else {
                *entry = Entry::of(rest);
            }
        }
        self.earlier.entry(content.hash).or_default().push(Earlier {
            position,
            shards: content.shards,
            received,
        });
        self.doubts.push_back((received, content.hash));
        self.forget(received, limits);
    }

    pub(super) fn settle(
        &mut self,
        stream: StreamId,
        limits: WindowLimits,
        was_kept: impl Fn(Position) -> bool,
    ) {
        let mut kept = Vec::new();
        for (hash, earlier) in &mut self.earlier {
            for each in earlier.extract_if(.., |each| each.position.stream == stream) {
                if was_kept(each.position) {
                    kept.push((*hash, each.shards, each.received));
                }
            }
        }
        self.earlier.retain(|_, earlier| !earlier.is_empty());
        let is_left = |hash: &ContentHash| self.earlier.contains_key(hash);
        self.doubts.retain(|(_, hash)| is_left(hash));
        for claimed in self.claimed.values_mut() {
            claimed.retain_mut(|each| {
                if each.position.stream != stream {
                    return true;
                }
                match each.stage {
                    Stage::Reserved | Stage::Stored => true,
                    Stage::Recovering => {
                        each.stage = Stage::Stored;
                        was_kept(each.position)
                    }
                    Stage::Cut => {
                        each.stage = Stage::Stored;
                        !each.shards.is_empty()
                    }
                }
            });
        }
        for (position, copy) in self.copies.remove(stream, u64::MAX) {
            if was_kept(position) {
                kept.push((copy.content.hash, copy.content.shards, copy.received));
            }
        }
        // In the order in which the window forgets.
        kept.sort_by_key(|(_, _, received)| *received);
        for (hash, shards, received) in kept {
            self.take_in(Content { hash, shards }, received, limits);
        }
    }

    /// Remembers a content that is stored, beside what may be being stored of the same request.
    pub(super) fn take_in(&mut self, content: Content, received: u64, limits: WindowLimits) {
        match self.entries.get_mut(&content.hash) {
            Some(Entry::InFlight(flight)) if flight.stored.is_empty() => {
                flight.stored = content.shards;
                self.order.push_back((received, content.hash));
            }
            Some(Entry::InFlight(flight)) => {
                flight.stored = flight.stored.either(&content.shards);
            }
            _ => self.remember(content, received, limits),
        }
    }

    /// From here on these are told as stored. As long as the tables do not have them they can be recovered, and
    /// are not beside themselves.
    pub(super) fn acknowledge(&mut self, stream: StreamId, upto: u64) {
        for (position, copy) in self.copies.acknowledge(stream, upto) {
            self.claim_for(copy.content, (position, Stage::Stored), copy.received);
        }
    }

    /// The tables have these: nobody recovers them any more.
    pub(super) fn release_copies(&mut self, stream: StreamId, upto: u64, limits: WindowLimits) {
        for (position, copy) in self.copies.remove(stream, upto) {
            if let Slot::Occupied(mut claimed) = self.claimed.entry(copy.content.hash) {
                claimed.get_mut().retain(|each| each.position != position);
                if claimed.get().is_empty() {
                    claimed.remove();
                }
            }
            self.take_in(copy.content, copy.received, limits);
        }
    }

    /// Whether it is not known yet what will be there of some of these shards.
    pub(super) fn is_reserved(&self, content: Content, now: u64) -> bool {
        let claimed = self.claimed.get(&content.hash).into_iter().flatten();
        let reserved = claimed.filter(|each| match each.stage {
            Stage::Reserved => now < each.at.saturating_add(RESERVED_NANOS),
            Stage::Recovering | Stage::Cut => true,
            Stage::Stored => false,
        });
        let earlier = self.earlier.get(&content.hash).into_iter().flatten();
        let mut shards = reserved
            .map(|each| &each.shards)
            .chain(earlier.map(|each| &each.shards));
        shards.any(|shards| !shards.both(&content.shards).is_empty())
    }

    /// The shards of a request that are stored here, but for what a record at this position is itself. One
    /// that is to be appended anew stands where it was in as far as its recovery brought it.
    pub(super) fn beside(
        &self,
        hash: ContentHash,
        (position, stage): (Position, Stage),
        own: StreamId,
    ) -> ShardSet {
        let entry = self.entries.get(&hash).filter(|_| position.stream != own);
        let stored = entry.map_or(ShardSet::EMPTY, Entry::stored);
        let claimed = self.claimed.get(&hash).into_iter().flatten();
        let others = claimed.filter(|each| match each.position == position {
            true => stage == Stage::Reserved && each.is_cut,
            false => each.stage == Stage::Stored,
        });
        others.fold(stored, |known, each| known.either(&each.shards))
    }

    /// Whether a record that is recovered, and of which these shards are stored beside it, has to wait
    /// until another of the same content is settled: only then it is known whether it is there twice.
    /// Of two in doubt the one of the higher stream waits, so that never both do. What is reserved is
    /// not kept of its stream, and so is waited for by another that is reserved alone.
    pub(super) fn must_wait(
        &self,
        content: Content,
        known: ShardSet,
        (position, stage): (Position, Stage),
        now: u64,
    ) -> bool {
        let rest = content.shards.minus(&known);
        let overlaps = |shards: &ShardSet| !shards.both(&rest).is_empty();
        let mut claimed = self.claimed.get(&content.hash).into_iter().flatten();
        let mut earlier = self.earlier.get(&content.hash).into_iter().flatten();
        let waits_for = |other: Position| match stage {
            Stage::Reserved => true,
            Stage::Recovering => other.stream < position.stream,
            Stage::Stored | Stage::Cut => false,
        };
        earlier.any(|other| {
            other.position.stream != position.stream
                && overlaps(&other.shards)
                && waits_for(other.position)
        }) || claimed.any(|other| {
            let is_waited_for = match (stage, other.stage) {
                (Stage::Stored | Stage::Cut, _)
                | (_, Stage::Stored)
                | (Stage::Recovering, Stage::Reserved) => false,
                (Stage::Reserved, Stage::Reserved) => {
                    other.position.stream < position.stream
                        && now < other.at.saturating_add(RESERVED_NANOS)
                }
                (_, Stage::Recovering | Stage::Cut) => {
                    waits_for(other.position) || now < other.at.saturating_add(SETTLING_NANOS)
                }
            };
            other.position != position && overlaps(&other.shards) && is_waited_for
        })
    }

    pub(super) fn claim_for(
        &mut self,
        content: Content,
        (position, stage): (Position, Stage),
        now: u64,
    ) {
        let claimed = self.claimed.entry(content.hash).or_default();
        if let Some(known) = claimed.iter_mut().find(|each| each.position == position) {
            if matches!(stage, Stage::Stored | Stage::Cut) {
                known.shards = content.shards;
                known.is_cut = stage == Stage::Cut;
            }
            // What is stored stays so, whoever tries it once more.
            if known.stage != Stage::Stored {
                if stage == Stage::Reserved {
                    known.at = now;
                }
                known.stage = stage;
            }
            return;
        }
        claimed.push(Claimed {
            position,
            shards: content.shards,
            stage,
            is_cut: stage == Stage::Cut,
            at: now,
        });
        self.claims.push_back((now, content.hash));
    }
}
