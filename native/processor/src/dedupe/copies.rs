//! Records of other nodes' streams of which this node holds copies, as far as the tables do not have them:
//! a part of the windows of resends.
//!
//! ```text
//! took --> [undecided] --acknowledged--> told as stored --released--> the window's own
//!               |
//!               `-- another owner gets it again --> are the tables fenced for its stream?
//!                      no: not now    yes, and they have it: stored    yes, and they do not: new
//! ```
//!
//! A record that may be acknowledged or not is not stored a second time while its owner could still bring it
//! to files. Once the tables are fenced, whoever recovers its stream leaves it out where it was stored anew.

use std::collections::{BTreeMap, HashMap};

use otlake_base::{Position, StreamId};

use super::content::{Content, ContentHash};

/// A record of another node.
#[derive(Clone, Copy)]
pub(super) struct Copy {
    pub(super) content: Content,
    pub(super) received: u64,
    stands: Stands,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Undecided,
    Acknowledged,
    /// The tables are fenced without it.
    Recoverable,
}

/// The copies of one signal.
#[derive(Default)]
pub(super) struct Copies {
    by_position: BTreeMap<Position, Copy>,
    undecided: HashMap<ContentHash, Vec<Position>>,
}

impl Copies {
    pub(super) fn len(&self) -> usize {
        self.by_position.len()
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = StreamId> {
        self.by_position.keys().map(|position| position.stream)
    }

    /// Takes one in that is undecided; one that is known stays as it is.
    pub(super) fn take(&mut self, position: Position, content: Content, received: u64) {
        self.by_position.entry(position).or_insert_with(|| {
            let of = self.undecided.entry(content.hash).or_default();
            of.push(position);
            Copy {
                content,
                received,
                stands: Stands::Undecided,
            }
        });
    }

    /// Everything of a stream up to here is acknowledged; gives those that were not before.
    pub(super) fn acknowledge(&mut self, stream: StreamId, upto: u64) -> Vec<(Position, Copy)> {
        let at = |sequence| Position { stream, sequence };
        let mut told = Vec::new();
        for (position, copy) in self.by_position.range_mut(at(0)..=at(upto)) {
            if copy.stands != Stands::Acknowledged {
                copy.stands = Stands::Acknowledged;
                told.push((*position, *copy));
            }
        }
        for (position, _) in &told {
            self.decide(*position);
        }
        told
    }

    /// The tables are fenced without this one: from now on it is held against what is stored anew.
    pub(super) fn pass(&mut self, position: Position) {
        self.decide(position);
        if let Some(copy) = self.by_position.get_mut(&position) {
            copy.stands = Stands::Recoverable;
        }
    }

    /// Takes those of a stream out up to here.
    pub(super) fn remove(&mut self, stream: StreamId, upto: u64) -> Vec<(Position, Copy)> {
        let positions = self.of(stream, upto).into_iter();
        positions
            .filter_map(|position| {
                self.decide(position);
                Some((position, self.by_position.remove(&position)?))
            })
            .collect()
    }

    /// Those of which it is not known whether they are acknowledged, and that have a shard of this content.
    pub(super) fn undecided(&self, content: Content) -> Vec<Position> {
        let Some(positions) = self.undecided.get(&content.hash) else {
            return Vec::new();
        };
        let overlaps = |position: &&Position| {
            let copy = self.by_position.get(position);
            copy.is_some_and(|copy| !copy.content.shards.both(&content.shards).is_empty())
        };
        positions.iter().filter(overlaps).copied().collect()
    }

    fn of(&self, stream: StreamId, upto: u64) -> Vec<Position> {
        let at = |sequence| Position { stream, sequence };
        let of = self.by_position.range(at(0)..=at(upto));
        of.map(|(position, _)| *position).collect()
    }

    fn decide(&mut self, position: Position) {
        let Some(copy) = self.by_position.get(&position) else {
            return;
        };
        let hash = copy.content.hash;
        if let Some(positions) = self.undecided.get_mut(&hash) {
            positions.retain(|each| *each != position);
            if positions.is_empty() {
                self.undecided.remove(&hash);
            }
        }
    }
}
