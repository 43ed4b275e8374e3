//! Requests stored a moment ago, so that a client's resend of the same bytes is stored once (I3).
//!
//! A client that did not hear the acknowledgement sends the identical request again. Each signal
//! has a window of content hashes (XXH3, 128 bits, over tenant and protobuf bytes), bounded in
//! time and in number. It survives a restart: what is in the log is hashed again by replay, and
//! what is not is in a file that is durable before the log may forget the record. A file that is
//! damaged or absent costs nothing that was acknowledged: resends from before it are then stored again,
//! and compaction removes those that are spans.
//!
//! In a cluster a request is split by shard, and a resend may be split otherwise, because another
//! node is gone by then. So what is remembered of a request is which of its shards are stored here,
//! and a part of it is new only where its shards are.
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
//! - `content`: what a request is; `claim`: what it, or a record that is recovered, is to a window.
//! - `window`: one signal's; `state`: what it knows; `file`: on disk.
//! - `recovered`: records that are recovered, and those of earlier starts; `copies`: those of other nodes.

mod claim;
mod content;
mod copies;
mod file;
mod recovered;
mod state;
mod window;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use otlake_base::disk::{Disk, create_folders, existing_above};
use otlake_base::{Code, Error, Metrics, Position, Result, ShardSet, Signal, StreamId};
use tokio::sync::watch;

pub use claim::Stage;
pub(crate) use claim::{Claim, Recovered};
#[cfg(test)]
pub(crate) use claim::{RESERVED_NANOS, SETTLING_NANOS};
pub(crate) use content::{Content, ContentHash};
pub(crate) use file::decode;
use state::Entry;
pub(crate) use window::Ticket;
use window::Window;

/// How long and how many requests are remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowLimits {
    /// Age in nanoseconds; 0 remembers nothing.
    pub(crate) nanos: u64,
    /// Requests of one signal; beyond it the oldest are forgotten (I5).
    pub(crate) requests: usize,
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

    /// Whether it is not known yet what will be there of some of these shards of a request.
    pub(crate) fn is_unsettled(&self, signal: Signal, content: Content, now: u64) -> bool {
        let state = self.windows[signal.index()].state.lock();
        state.is_reserved(content, now)
    }

    /// Where any of these shards of a request is being stored: the receiver changes when that has ended.
    pub(crate) fn in_flight(
        &self,
        signal: Signal,
        content: Content,
    ) -> Option<watch::Receiver<()>> {
        let state = self.windows[signal.index()].state.lock();
        match state.entries.get(&content.hash)? {
            Entry::InFlight(flight) if !flight.shards.both(&content.shards).is_empty() => {
                Some(flight.ended.subscribe())
            }
            Entry::InFlight(_) | Entry::Stored(_) => None,
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
