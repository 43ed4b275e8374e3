//! Halves of edges that wait for the other, in the order in which their batches came.
//!
//! The log keeps the record of a half that waits, so none of this has to be stored: after a crash the
//! records come again, and so do the halves. How much it may forget is a cut through every stream:
//!
//! ```text
//!  record      1    2    3    4    5    6          a waits for its server: the cut is before 3
//!  halves           S    a    C                    S and C are an edge: forgotten without C, which a
//!              |-cut-|                             holds up, S would leave it alone after a crash,
//!                                                  and C become a virtual node beside the edge
//! ```
//!
//! So the cut leaves behind it no half that waits, and no server whose client is not behind it, too.
//! What has waited for long enough becomes a virtual node, or nothing, once it is behind the cut: the
//! commit that writes the node has the cut in it, and what is behind a table's cut never waits again.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use otlake_base::{Position, StreamId};

use crate::half::{Call, Half, Side};

/// See the module.
#[derive(Default)]
pub(crate) struct Waiting {
    halves: HashMap<Call, Vec<Half>>,
    /// Batches with halves, first come first, each with its deadline.
    batches: VecDeque<(Position, Duration, Vec<Call>)>,
    /// Those whose deadline has passed and that are not behind the cut yet. Whoever comes still finds
    /// their halves.
    overdue: Vec<(Position, Vec<Call>)>,
    /// By batch that is not overdue: how many of its halves wait still.
    left: BTreeMap<Position, usize>,
    /// Batches with the server of an edge, and with its client, which is not behind the cut yet.
    edges: BTreeSet<(Position, Position)>,
    /// By stream: the last batch that was looked at.
    seen: HashMap<StreamId, u64>,
    len: usize,
    /// Batches that are not behind the cut, with their bytes: what the log keeps for those that wait.
    kept: Vec<(Position, usize)>,
}

/// How much may wait (I5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// Halves and edges that are not behind the cut.
    pub(crate) halves: usize,
    /// Bytes of batches that are not behind the cut.
    pub(crate) bytes: usize,
}

/// The two halves of an edge: the client's, and the server's.
pub(crate) type Pair = (Half, Half);

/// By stream: the last batch behind the cut.
pub(crate) type Cut = HashMap<StreamId, u64>;

fn is_behind(cut: &Cut, position: Position) -> bool {
    cut.get(&position.stream)
        .is_some_and(|last| position.sequence <= *last)
}

impl Waiting {
    /// Halves that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether a batch's halves were taken in before.
    pub(crate) fn has_seen(&self, position: Position) -> bool {
        is_behind(&self.seen, position)
    }

    /// Takes in the halves of one batch, which wait until the deadline; gives those that found each
    /// other.
    pub(crate) fn feed(
        &mut self,
        position: Position,
        halves: Vec<Half>,
        deadline: Duration,
        pairs: &mut Vec<Pair>,
    ) {
        let seen = self.seen.entry(position.stream).or_insert(0);
        *seen = (*seen).max(position.sequence);
        let mut calls = Vec::new();
        for half in halves {
            let Some(other) = self.partner(&half) else {
                calls.push(half.call.clone());
                *self.left.entry(position).or_insert(0) += 1;
                self.len += 1;
                self.halves.entry(half.call.clone()).or_default().push(half);
                continue;
            };
            let (client, server) = match half.side {
                Side::Client => (half, other),
                Side::Server => (other, half),
            };
            let (ours, theirs) = (server.position, client.position);
            // A cut that has the server behind it has a client before it in its stream there, too.
            if ours.stream != theirs.stream || ours.sequence < theirs.sequence {
                self.edges.insert((ours, theirs));
            }
            pairs.push((client, server));
        }
        if !calls.is_empty() {
            self.batches.push_back((position, deadline, calls));
        }
    }

    /// Takes out the half that a new one belongs to. Those that wait for one call are all of one
    /// side, for they would have found each other.
    fn partner(&mut self, half: &Half) -> Option<Half> {
        let waiting = self.halves.get_mut(&half.call)?;
        let at = waiting.iter().position(|other| other.side != half.side)?;
        let other = waiting.remove(at);
        if waiting.is_empty() {
            self.halves.remove(&half.call);
        }
        self.len -= 1;
        if let Some(left) = self.left.get_mut(&other.position) {
            *left -= 1;
            if *left == 0 {
                self.left.remove(&other.position);
            }
        }
        Some(other)
    }

    /// A batch that is fed is of so many bytes.
    pub(crate) fn keep(&mut self, position: Position, bytes: usize) {
        self.kept.push((position, bytes));
    }

    /// Looks which batches have waited long enough and, where more is held here than may be, which have
    /// waited the longest; all of them, where the log has to keep too much. Then moves the cut. Gives
    /// it, and the halves of those batches behind it that nobody came for.
    pub(crate) fn settle(&mut self, now: Duration, most: Most) -> (Cut, Vec<Half>) {
        let mut held = self.len + self.edges.len();
        let kept: usize = self.kept.iter().map(|(_, bytes)| bytes).sum();
        let max = if kept > most.bytes { 0 } else { most.halves };
        while let Some((position, deadline, _)) = self.batches.front() {
            let left = self.left.get(position).copied();
            if left.is_some() && *deadline > now && held <= max {
                break;
            }
            held = held.saturating_sub(left.unwrap_or(0));
            let Some((position, _, calls)) = self.batches.pop_front() else {
                break;
            };
            if self.left.remove(&position).is_some() {
                self.overdue.push((position, calls));
            }
        }
        let cut = self.cut();
        self.kept
            .retain(|(position, _)| !is_behind(&cut, *position));
        self.edges.retain(|(_, client)| !is_behind(&cut, *client));
        let (behind, before): (Vec<_>, Vec<_>) = std::mem::take(&mut self.overdue)
            .into_iter()
            .partition(|(position, _)| is_behind(&cut, *position));
        self.overdue = before;
        let mut alone = Vec::new();
        for (position, calls) in behind {
            for call in calls {
                self.take(&call, position, &mut alone);
            }
        }
        (cut, alone)
    }

    /// Takes out the halves of a call that are in a batch.
    fn take(&mut self, call: &Call, position: Position, taken: &mut Vec<Half>) {
        let Some(waiting) = self.halves.get_mut(call) else {
            return;
        };
        let of_batch = |half: &mut Half| half.position == position;
        let before = taken.len();
        taken.extend(waiting.extract_if(.., of_batch));
        self.len -= taken.len() - before;
        if waiting.is_empty() {
            self.halves.remove(call);
        }
    }

    fn cut(&self) -> Cut {
        let of_stream = |(stream, seen): (&StreamId, &u64)| {
            let at = |sequence| Position {
                stream: *stream,
                sequence,
            };
            let mut left = self.left.range(at(0)..=at(u64::MAX));
            let last = left.next().map_or(*seen, |(first, _)| first.sequence - 1);
            (*stream, last)
        };
        let mut cut: Cut = self.seen.iter().map(of_stream).collect();
        // From the last to the first, once is enough for edges within a stream.
        let mut is_moved = true;
        while is_moved {
            is_moved = false;
            for (server, client) in self.edges.iter().rev() {
                if is_behind(&cut, *server) && !is_behind(&cut, *client) {
                    cut.insert(server.stream, server.sequence - 1);
                    is_moved = true;
                }
            }
        }
        cut
    }

    /// When the next ones have waited long enough.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let mut batches = self.batches.iter();
        let waits = batches.find(|(position, _, _)| self.left.contains_key(position));
        waits.map(|(_, deadline, _)| *deadline)
    }

    /// Another node has taken a stream over: what waits of it is not this one's.
    pub(crate) fn forget(&mut self, stream: StreamId) {
        self.seen.remove(&stream);
        let is_other = |position: &Position| position.stream != stream;
        self.left.retain(|position, _| is_other(position));
        self.kept.retain(|(position, _)| is_other(position));
        self.edges
            .retain(|(server, client)| is_other(server) && is_other(client));
        self.batches.retain(|(position, _, _)| is_other(position));
        self.overdue.retain(|(position, _)| is_other(position));
        self.halves.retain(|_, waiting| {
            waiting.retain(|half| is_other(&half.position));
            !waiting.is_empty()
        });
        self.len = self.halves.values().map(Vec::len).sum();
    }
}
