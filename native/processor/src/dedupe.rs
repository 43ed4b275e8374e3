//! Requests stored a moment ago, so that a client's resend of the same bytes is stored once (I3).
//!
//! A client that did not hear the acknowledgement sends the identical request again. Each signal
//! has a window of content hashes (XXH3, 128 bits, over tenant and protobuf bytes), bounded in
//! time and in number. It survives a restart: what is in the log is hashed again by replay, and
//! what is not is in a file that is durable before the log may forget the record.
//!
//! ```text
//! <data>/dedupe/<signal>.window
//!   "OTLAKDUP" version:u32 crc32c:u32 count:u64  { hash:u128 received_unix_nano:u64 } * count
//! ```
//!
//! Numbers are little-endian; the checksum covers everything else. A window that is damaged or
//! absent costs nothing that was acknowledged: resends from before it are then stored again, and
//! compaction removes those that are spans.
//!
//! In a cluster a request is split by shard, and a resend may be split otherwise, because another
//! node is gone by then. So what is remembered of a request is which of its shards are stored here,
//! and a part of it is new only where its shards are. An entry of some shards (version 2) has
//! `kind` 1 and the set behind it; `kind` 0 is the whole request.
//!
//! A stream that is recovered (`otlake_cluster::claims`) has records that clients may have sent again:
//! the window tells which shards this node has stored beside that stream, and knows what is recovered
//! elsewhere as stored.
//!
//! A node also knows what other nodes have stored of which it holds the copies: shards move from node to node,
//! and a client that did not hear the old one sends its request to the new one.
//!
//! What this node's log has of its earlier starts is in doubt in a cluster: a record that never had its
//! quorum is not kept. Until its stream is settled a resend is neither stored nor told as stored, and of
//! two records of the same content that are both in doubt one waits until the other is settled.
//!
//! ```text
//!   version 2:  { hash:u128 received_unix_nano:u64 kind:u8 [shards, 64 bytes] } * count
//! ```

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use otlake_base::disk::{Disk, create_folders, existing_above, read};
use otlake_base::{Code, Error, Metrics, Position, Result, ShardSet, Signal, StreamId};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::copies::Copies;

const MAGIC: [u8; 8] = *b"OTLAKDUP";
/// The version without sets of shards, which is written as long as there are none.
const WHOLE_REQUESTS: u32 = 1;
const WITH_SHARDS: u32 = 2;
const HEADER_BYTES: usize = 24;
const ENTRY_BYTES: usize = 24;

/// The identity of a request's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContentHash(u128);

impl ContentHash {
    /// Of `body`, the protobuf request, as `tenant` sent it.
    pub(crate) fn of(tenant: &str, body: &[u8]) -> ContentHash {
        ContentHash(otlake_decode::slice::request_hash(tenant, body))
    }

    /// What `number` gave.
    pub(crate) fn of_request(number: u128) -> ContentHash {
        ContentHash(number)
    }

    /// What names the request.
    pub(crate) fn number(self) -> u128 {
        self.0
    }
}

/// What is stored, or about to be: a request, and which of its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) hash: ContentHash,
    pub(crate) shards: ShardSet,
}

impl Content {
    /// A request that was not split.
    pub(crate) fn whole(hash: ContentHash) -> Content {
        Content {
            hash,
            shards: ShardSet::ALL,
        }
    }

    /// Of a body as the log keeps it, or as it was received: a part of a request says so.
    pub(crate) fn of(tenant: &str, received: &Bytes) -> Content {
        match otlake_decode::slice::of(received) {
            Some((slice, _)) => Content {
                hash: ContentHash(slice.request),
                shards: slice.shards,
            },
            None => Content::whole(ContentHash::of(tenant, received)),
        }
    }
}

/// How long and how many requests are remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowLimits {
    /// Age in nanoseconds; 0 remembers nothing.
    pub(crate) nanos: u64,
    /// Requests of one signal; beyond it the oldest are forgotten (I5).
    pub(crate) requests: usize,
}

/// What a request is to the window.
pub(crate) enum Claim {
    /// The first of its content: it holds the place until it is stored or dropped.
    First(Ticket),
    /// The same content is stored.
    Stored,
    /// These of its shards are stored, and others are not.
    Partly(ShardSet),
    /// The same content is being stored; the receiver changes when that has ended.
    InFlight(watch::Receiver<()>),
    /// A record of the same content is being appended anew: whether it will be there is not known yet.
    Reserved,
    /// This node holds copies of records with the same content, of which it is not known whether they are
    /// stored.
    Undecided(Vec<Position>),
}

/// How far a record that is recovered has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// It is about to be appended anew: a resend is neither stored nor told as stored. This ends by
    /// itself when nobody says it again.
    Reserved,
    /// Its stream is being recovered. Another node may have to begin anew, and not find it: until the
    /// stream is sealed a resend is neither stored nor told as stored.
    Recovering,
    /// It is where readers find it: a resend is told as stored.
    Stored,
    /// As `Recovering`, of one that was found elsewhere in part: these shards are all that its recovery brings,
    /// and stand when its stream is sealed, whose seal does not name it.
    Cut,
}

impl Stage {
    /// All of them, in the order of their numbers.
    pub const ALL: [Stage; 4] = [
        Stage::Reserved,
        Stage::Recovering,
        Stage::Stored,
        Stage::Cut,
    ];

    /// The stage whose number this is, if there is one.
    pub fn from_u8(number: u8) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| *stage as u8 == number)
    }
}

/// What the window says of a record that is recovered.
pub(crate) enum Recovered {
    /// These of its shards are stored here beside it.
    Known(ShardSet),
    /// Something of the same request is being stored; the receiver changes when that has ended.
    InFlight(watch::Receiver<()>),
    /// Whether some of its shards are stored here will be known when another stream is settled.
    Unsettled,
}

/// How long a reservation holds without its record's end, in nanoseconds: it is made again by
/// whoever still tries, and nobody does once its node is gone.
pub(crate) const RESERVED_NANOS: u64 = 60_000_000_000;

/// How long a record that is recovered waits for one of the same content whose stream's recovery is to
/// wait for its own, in nanoseconds: that one may be further already, and be settled at any moment.
pub(crate) const SETTLING_NANOS: u64 = 3_000_000_000;

/// A record that is recovered.
struct Claimed {
    position: Position,
    shards: ShardSet,
    stage: Stage,
    /// Whether these are the shards that its recovery left of it.
    is_cut: bool,
    /// When it was told; of one that is reserved, the last time.
    at: u64,
}

/// A record of an earlier start, in this node's log, whose stream is not settled.
struct Earlier {
    position: Position,
    shards: ShardSet,
    received: u64,
}

/// The windows of all signals.
pub(crate) struct Dedupe {
    windows: [Arc<Window>; 3],
}

impl Dedupe {
    /// Reads what the last start left below `folder`.
    ///
    /// # Errors
    /// `NODE_DIRECTORY_UNUSABLE` where the folder cannot be made.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        limits: WindowLimits,
        metrics: &Metrics,
    ) -> Result<Dedupe> {
        create_folders(&*disk, existing_above(&*disk, folder), folder).map_err(|error| {
            Error::new(
                Code::NodeDirectoryUnusable,
                format!("{}: {error}", folder.display()),
            )
        })?;
        let windows = Signal::ALL.map(|signal| {
            let path = folder.join(format!("{}.window", signal.name()));
            Arc::new(Window::load(Arc::clone(&disk), path, limits, metrics))
        });
        Ok(Dedupe { windows })
    }

    /// Whether a request of this content may be stored now.
    pub(crate) fn claim(&self, signal: Signal, content: Content, now: u64) -> Claim {
        Window::claim(&self.windows[signal.index()], content, now)
    }

    /// Those shards of a request that are stored, or recovered.
    pub(crate) fn stored(&self, signal: Signal, hash: ContentHash) -> ShardSet {
        self.windows[signal.index()].state.lock().known(hash)
    }

    /// Where something of a request is being stored: the receiver changes when that has ended.
    pub(crate) fn in_flight(
        &self,
        signal: Signal,
        hash: ContentHash,
    ) -> Option<watch::Receiver<()>> {
        let state = self.windows[signal.index()].state.lock();
        match state.entries.get(&hash)? {
            Entry::InFlight(flight) => Some(flight.ended.subscribe()),
            Entry::Stored(_) => None,
        }
    }

    /// Takes in a request that replay found in the log, and in no doubt.
    pub(crate) fn replayed(&self, signal: Signal, content: Content, received: u64) {
        let window = &self.windows[signal.index()];
        let mut state = window.state.lock();
        state.remember(content, received, window.limits);
    }

    /// Takes in a record of an earlier start that the log holds, and of which the cluster is to say
    /// whether it is kept.
    pub(crate) fn unsettled(
        &self,
        signal: Signal,
        content: Content,
        received: u64,
        position: Position,
    ) {
        let window = &self.windows[signal.index()];
        window
            .state
            .lock()
            .doubt(content, received, position, window.limits);
    }

    /// Takes in a record of which this node holds a copy for another.
    pub(crate) fn followed(
        &self,
        signal: Signal,
        content: Content,
        received: u64,
        position: Position,
    ) {
        let window = &self.windows[signal.index()];
        let mut state = window.state.lock();
        // What is neither acknowledged nor sealed for long is none of the window's (I5).
        if window.limits.nanos > 0 && state.copies.len() < window.limits.requests {
            state.copies.take(position, content, received);
        }
    }

    /// Of a record of which this node holds a copy it is known that the tables have it, or that they are
    /// fenced without it.
    pub(crate) fn decided(&self, signal: Signal, position: Position, is_in_tables: bool) {
        let mut state = self.windows[signal.index()].state.lock();
        match is_in_tables {
            true => state.acknowledge(position.stream, position.sequence),
            false => state.copies.pass(position),
        }
    }

    /// Records of which this node holds copies, and that may be this content or not be stored at all.
    pub(crate) fn undecided(&self, signal: Signal, content: Content) -> Vec<Position> {
        let state = self.windows[signal.index()].state.lock();
        state.copies.undecided(content)
    }

    /// Copies of another node's stream that this node holds: they are acknowledged up to here, and by
    /// signal in the tables up to there.
    pub(crate) fn acknowledged(&self, stream: StreamId, upto: u64, released: [u64; 3]) {
        for signal in Signal::ALL {
            let window = &self.windows[signal.index()];
            let mut state = window.state.lock();
            state.acknowledge(stream, upto);
            state.release_copies(stream, released[signal.index()], window.limits);
        }
    }

    /// Takes the content of a record that is recovered for reserved, or stored, from now on, and gives
    /// those of its shards that this node has stored beside it. What this node stores goes to stream `own`:
    /// of a record of that one, it is the record itself that is stored here.
    pub(crate) fn recovered(
        &self,
        signal: Signal,
        content: Content,
        (position, stage): (Position, Stage),
        own: StreamId,
        now: u64,
    ) -> Recovered {
        let window = &self.windows[signal.index()];
        let mut state = window.state.lock();
        state.forget(now, window.limits);
        if let Some(Entry::InFlight(flight)) = state.entries.get(&content.hash) {
            return Recovered::InFlight(flight.ended.subscribe());
        }
        let known = state.beside(content.hash, (position, stage), own);
        let known = known.both(&content.shards);
        if state.must_wait(content, known, (position, stage), now) {
            return Recovered::Unsettled;
        }
        state.claim_for(content, (position, stage), now);
        Recovered::Known(known)
    }

    /// Streams with records that are not settled.
    pub(crate) fn recovering(&self) -> BTreeSet<StreamId> {
        let mut streams = BTreeSet::new();
        for window in &self.windows {
            let state = window.state.lock();
            let claimed = state.claimed.values().flatten();
            let recovering =
                claimed.filter(|each| matches!(each.stage, Stage::Recovering | Stage::Cut));
            streams.extend(recovering.map(|each| each.position.stream));
            let earlier = state.earlier.values().flatten();
            streams.extend(earlier.map(|each| each.position.stream));
            streams.extend(state.copies.streams());
        }
        streams
    }

    /// A stream is sealed: what was kept of it is stored, and what was not may be stored again.
    pub(crate) fn settle(&self, stream: StreamId, was_kept: impl Fn(Signal, Position) -> bool) {
        for signal in Signal::ALL {
            let window = &self.windows[signal.index()];
            let mut state = window.state.lock();
            state.settle(stream, window.limits, |position| was_kept(signal, position));
        }
    }

    /// A content is readable that is not acknowledged yet; see [`Ticket::readable`].
    pub(crate) fn readable(&self, signal: Signal, content: Content, received: u64) {
        self.windows[signal.index()].readable(content, received);
    }

    /// Takes in a content that was appended anew, and is durable.
    pub(crate) fn appended_again(&self, signal: Signal, content: Content, received: u64) {
        let window = &self.windows[signal.index()];
        let mut state = window.state.lock();
        state.readable.remove(&content.hash);
        state.remember(content, received, window.limits);
    }

    /// Makes the signal's window durable: after it the log may forget the records in it.
    ///
    /// # Errors
    /// `TABLE_IO`.
    pub(crate) fn persist(&self, signal: Signal) -> Result<()> {
        self.windows[signal.index()].persist()
    }
}

struct Window {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    limits: WindowLimits,
    state: Mutex<State>,
    /// One writer of the file at a time.
    writing: Mutex<()>,
}

#[derive(Default)]
struct State {
    entries: HashMap<ContentHash, Entry>,
    /// The stored ones, oldest first.
    order: VecDeque<(u64, ContentHash)>,
    /// What is readable, and so can come into files, and is not acknowledged: the next start knows it as
    /// stored, for the log may have forgotten it by then. With when it was received.
    readable: HashMap<ContentHash, (ShardSet, u64)>,
    /// Records of earlier starts, in this node's log, whose streams are not settled.
    earlier: HashMap<ContentHash, Vec<Earlier>>,
    /// When they were received, oldest first.
    doubts: VecDeque<(u64, ContentHash)>,
    /// Records of other nodes' streams that are not in the tables yet, as far as this node holds copies.
    copies: Copies,
    /// Contents of records that are recovered, here or elsewhere, and which records.
    claimed: HashMap<ContentHash, Vec<Claimed>>,
    /// When, oldest first.
    claims: VecDeque<(u64, ContentHash)>,
}

/// There can be hundreds of thousands, so that what is rare is behind a pointer.
enum Entry {
    InFlight(Box<InFlight>),
    /// The shards; none for the whole request.
    Stored(Option<Box<ShardSet>>),
}

struct InFlight {
    ended: watch::Sender<()>,
    /// What was stored before.
    stored: ShardSet,
}

impl Entry {
    fn of(shards: ShardSet) -> Entry {
        Entry::Stored((shards != ShardSet::ALL).then(|| Box::new(shards)))
    }

    fn stored(&self) -> ShardSet {
        match self {
            Entry::InFlight(flight) => flight.stored,
            Entry::Stored(None) => ShardSet::ALL,
            Entry::Stored(Some(shards)) => **shards,
        }
    }
}

impl State {
    fn remember(&mut self, content: Content, received: u64, limits: WindowLimits) {
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

    fn forget(&mut self, now: u64, limits: WindowLimits) {
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

    fn doubt(&mut self, content: Content, received: u64, position: Position, limits: WindowLimits) {
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

    fn settle(
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
    fn take_in(&mut self, content: Content, received: u64, limits: WindowLimits) {
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
    fn acknowledge(&mut self, stream: StreamId, upto: u64) {
        for (position, copy) in self.copies.acknowledge(stream, upto) {
            self.claim_for(copy.content, (position, Stage::Stored), copy.received);
        }
    }

    /// The tables have these: nobody recovers them any more.
    fn release_copies(&mut self, stream: StreamId, upto: u64, limits: WindowLimits) {
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

    /// The shards of a request that are stored here, or recovered.
    fn known(&self, hash: ContentHash) -> ShardSet {
        let stored = self
            .entries
            .get(&hash)
            .map_or(ShardSet::EMPTY, Entry::stored);
        let claimed = self.claimed.get(&hash).into_iter().flatten();
        let settled = claimed.filter(|each| each.stage == Stage::Stored);
        settled.fold(stored, |known, each| known.either(&each.shards))
    }

    /// Whether it is not known yet what will be there of some of these shards.
    fn is_reserved(&self, content: Content, now: u64) -> bool {
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
    fn beside(
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
    fn must_wait(
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

    fn claim_for(&mut self, content: Content, (position, stage): (Position, Stage), now: u64) {
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

impl Window {
    fn load(disk: Arc<dyn Disk>, path: PathBuf, limits: WindowLimits, metrics: &Metrics) -> Window {
        let mut state = State::default();
        match read(&*disk, &path) {
            Ok(bytes) => match decode(&bytes) {
                Ok(entries) => {
                    for (content, received) in entries {
                        state.remember(content, received, limits);
                    }
                }
                Err(what) => {
                    metrics.damaged("window");
                    tracing::error!(
                        target: "otlake::dedupe", path = %path.display(),
                        "the window of resends begins empty: {what}"
                    );
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(
                target: "otlake::dedupe", path = %path.display(),
                "the window of resends begins empty: {error}"
            ),
        }
        Window {
            disk,
            path,
            limits,
            state: Mutex::new(state),
            writing: Mutex::new(()),
        }
    }

    fn claim(window: &Arc<Window>, content: Content, now: u64) -> Claim {
        let mut state = window.state.lock();
        state.forget(now, window.limits);
        let stored = match state.entries.get(&content.hash) {
            Some(Entry::InFlight(flight)) => return Claim::InFlight(flight.ended.subscribe()),
            Some(entry) => entry.stored(),
            None => ShardSet::EMPTY,
        };
        let known = state.known(content.hash);
        if content.shards.is_within(&known) {
            return Claim::Stored;
        }
        if state.is_reserved(content, now) {
            return Claim::Reserved;
        }
        let undecided = state.copies.undecided(content);
        if !undecided.is_empty() {
            return Claim::Undecided(undecided);
        }
        let known = content.shards.both(&known);
        if !known.is_empty() {
            return Claim::Partly(known);
        }
        // A window of no length still makes two of the same at once into one.
        let (ended, _) = watch::channel(());
        let entry = Entry::InFlight(Box::new(InFlight { ended, stored }));
        state.entries.insert(content.hash, entry);
        Claim::First(Ticket {
            window: Arc::clone(window),
            content,
            open: true,
        })
    }

    fn readable(&self, content: Content, received: u64) {
        if self.limits.nanos > 0 {
            let mut state = self.state.lock();
            state
                .readable
                .insert(content.hash, (content.shards, received));
        }
    }

    fn persist(&self) -> Result<()> {
        let _alone = self.writing.lock();
        let bytes = self.state.lock().encode();
        replace_durably(&*self.disk, &self.path, &bytes)
            .map_err(|error| Error::new(Code::TableIo, format!("{}: {error}", self.path.display())))
    }
}

/// The right to store a content. Dropping it without `stored` lets the next one try.
pub(crate) struct Ticket {
    window: Arc<Window>,
    content: Content,
    open: bool,
}

impl Ticket {
    /// The content is readable, and can come into files, before it may be acknowledged. Who sends it
    /// again goes on waiting; but the next start knows it as stored.
    pub(crate) fn readable(&self, received: u64) {
        self.window.readable(self.content, received);
    }

    /// The content is durable.
    pub(crate) fn stored(mut self, received: u64) {
        self.open = false;
        let mut state = self.window.state.lock();
        state.readable.remove(&self.content.hash);
        // Its sender goes, which tells those who wait.
        state.remember(self.content, received, self.window.limits);
        if self.window.limits.nanos == 0 {
            state.entries.remove(&self.content.hash);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let mut state = self.window.state.lock();
        let hash = self.content.hash;
        state.readable.remove(&hash);
        let stored = state.entries.remove(&hash).map(|entry| entry.stored());
        if let Some(stored) = stored.filter(|stored| !stored.is_empty()) {
            state.entries.insert(hash, Entry::of(stored));
        }
    }
}

impl State {
    fn encode(&self) -> Vec<u8> {
        let stored = self.order.iter().filter_map(|(received, hash)| {
            let shards = self.entries.get(hash)?.stored();
            (!shards.is_empty()).then_some((*received, *hash, shards))
        });
        let readable = self.readable.iter();
        let readable = readable.map(|(hash, (shards, received))| (*received, *hash, *shards));
        let stored: Vec<(u64, ContentHash, ShardSet)> = stored.chain(readable).collect();
        let is_part = |shards: &ShardSet| *shards != ShardSet::ALL;
        let version = match stored.iter().any(|(_, _, shards)| is_part(shards)) {
            true => WITH_SHARDS,
            false => WHOLE_REQUESTS,
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + stored.len() * ENTRY_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(stored.len() as u64).to_le_bytes());
        for (received, hash, shards) in &stored {
            bytes.extend_from_slice(&hash.0.to_le_bytes());
            bytes.extend_from_slice(&received.to_le_bytes());
            if version == WITH_SHARDS {
                bytes.push(u8::from(is_part(shards)));
                if is_part(shards) {
                    bytes.extend_from_slice(&shards.to_bytes());
                }
            }
        }
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// The entries of a window's file, oldest first; else what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<Vec<(Content, u64)>, &'static str> {
    let array = |at: usize| -> [u8; 4] { std::array::from_fn(|index| bytes[at + index]) };
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
        return Err("it is not a window file");
    }
    if u32::from_le_bytes(array(12)) != checksum(bytes) {
        return Err("its checksum is wrong");
    }
    let with_shards = match u32::from_le_bytes(array(8)) {
        WHOLE_REQUESTS => false,
        WITH_SHARDS => true,
        _ => return Err("another version wrote it"),
    };
    let mut rest = &bytes[HEADER_BYTES..];
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let entry = entry(&mut rest, with_shards).ok_or("it ends within an entry")?;
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(rest: &mut &[u8], with_shards: bool) -> Option<(Content, u64)> {
    let hash = u128::from_le_bytes(*rest.split_off(..16)?.first_chunk()?);
    let received = u64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?);
    let is_part = with_shards && *rest.split_off_first()? == 1;
    let shards = if is_part {
        ShardSet::from_bytes(rest.split_off(..ShardSet::BYTES)?.first_chunk()?)
    } else {
        ShardSet::ALL
    };
    let hash = ContentHash(hash);
    Some((Content { hash, shards }, received))
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}

fn replace_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("window.tmp");
    // What a crash left of an earlier attempt.
    match disk.remove(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(&staged)?;
    file.write_all(&mut [IoSlice::new(bytes)])?;
    file.sync()?;
    drop(file);
    disk.rename(&staged, path)?;
    match path.parent() {
        Some(folder) => disk.sync_folder(folder),
        None => Ok(()),
    }
}
