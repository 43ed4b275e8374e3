//! The owner's side of a stream, without I/O: records that are durable in its log go in, with what
//! followers say and the time; messages, reads of the log and completions come out.
//!
//! - `cursor.rs`: what is known of one follower.
//! - `send.rs`: what is sent to it, and again.
//! - `quorum.rs`: when a record is done.
//! - `overdue.rs`: records whose quorum is late, and that hold up nobody.
//! - `change.rs`: when the ensemble changes.
//! - `status.rs`: to whom links are wanted, and how replication stands.

mod change;
mod cursor;
mod overdue;
mod quorum;
mod send;
mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Code, Error, Metrics, Result, Signal, StreamId};
use otlake_log::Frame;

pub use otlake_base::FIRST_EPOCH;

pub use self::change::Proposed;
use self::cursor::Cursor;
pub use self::status::{FollowerStatus, OwnerStatus};
use crate::Ranges;
use crate::ensemble::{Ensemble, Ensembles, Quorum};
use crate::message::{BySignal, Held, Holder, Message, Refusal};
use crate::quorums::Quorums;

/// How an owner replicates.
#[derive(Clone, Debug)]
pub struct OwnerConfig {
    /// The stream.
    pub stream: StreamId,
    /// By signal and tenant.
    pub quorums: Quorums,
    /// Whether, with too few followers, an ensemble with fewer acknowledgements is proposed.
    pub allow_degraded: bool,
    /// Bytes that may be under way to one follower (I5).
    pub window_bytes: usize,
    /// Bytes of records that are kept in memory for followers that lag; older ones are read back
    /// from the log (I5).
    pub cache_bytes: usize,
}

/// What an owner wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Open a link to this node, and again whenever it breaks.
    Connect(Arc<str>),
    /// Close it: nothing is left to be said.
    Disconnect(Arc<str>),
    /// Send a message.
    Send {
        /// To whom.
        to: Arc<str>,
        /// Over which link.
        link: u64,
        /// What.
        message: Message,
    },
    /// Read the log from a sequence on, for this follower.
    Read {
        /// For whom.
        to: Arc<str>,
        /// The first sequence.
        from: u64,
        /// The last one.
        upto: u64,
    },
    /// A record's quorum is late, and those behind it need not wait for it: it is readable from now on,
    /// in the order of the sequence, and not acknowledged. `Done` comes when it has its quorum, or the
    /// tables have the record, or it never will.
    Overdue {
        /// The record.
        sequence: u64,
    },
    /// A record has its quorum, or never will; in the order of the sequence but for overdue ones.
    Done {
        /// The record.
        sequence: u64,
        /// `CLUSTER_FENCED` where it never will.
        outcome: Result<()>,
    },
    /// Have the metadata group change the ensemble, or register the stream with its first one.
    Propose(Ensemble),
    /// The stream is another's now: nothing is acknowledged any more.
    Fenced(u64),
}

/// A record that the tables do not hold yet.
struct Kept {
    signal: Signal,
    /// What its tenant asks for.
    quorum: Quorum,
    bytes: usize,
    appended: Duration,
    /// In memory, until every follower has it or memory is short.
    frame: Option<Frame>,
    /// The log cannot give it any more.
    lost: bool,
}

/// One stream's owner.
pub struct Owner {
    config: OwnerConfig,
    metrics: Arc<Metrics>,
    epoch: u64,
    ensembles: Ensembles,
    proposed: Option<Proposal>,
    desired: [Vec<Arc<str>>; 3],
    /// None before the controller has told.
    desired_since: Option<Duration>,
    looked_at_ensemble: Duration,
    cursors: BTreeMap<Arc<str>, Cursor>,
    /// From sequence `base` on.
    kept: VecDeque<Kept>,
    base: u64,
    released: BySignal,
    /// Every record up to here is done, or overdue.
    done: u64,
    overdue: BTreeSet<u64>,
    /// Bytes of records that are not done.
    pending_bytes: usize,
    cached_bytes: usize,
    /// Nothing before this is in memory.
    cached_from: u64,
    /// By signal: records that were acknowledged at the owner's own fsync alone.
    alone: [VecDeque<u64>; 3],
    fenced: Option<u64>,
    beat_at: Duration,
    outputs: Vec<Output>,
}

struct Proposal {
    ensemble: Ensemble,
    /// When it is sent again; none while an answer is awaited.
    retry_at: Option<Duration>,
}

impl Owner {
    /// An owner of a new stream, which nobody follows yet: it admits nothing.
    pub fn new(config: OwnerConfig, metrics: Arc<Metrics>) -> Owner {
        Owner {
            config,
            metrics,
            epoch: FIRST_EPOCH,
            ensembles: Ensembles::default(),
            proposed: None,
            desired: Default::default(),
            desired_since: None,
            looked_at_ensemble: Duration::ZERO,
            cursors: BTreeMap::new(),
            kept: VecDeque::new(),
            base: 1,
            released: [0; 3],
            done: 0,
            overdue: BTreeSet::new(),
            pending_bytes: 0,
            cached_bytes: 0,
            cached_from: 1,
            alone: Default::default(),
            fenced: None,
            beat_at: Duration::ZERO,
            outputs: Vec::new(),
        }
    }

    /// What is wanted since the last call.
    pub fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Whether something is wanted.
    pub fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Whether a link to a node is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.cursors.contains_key(name)
    }

    /// Whether a link to a node is open.
    pub fn is_linked(&self, name: &str) -> bool {
        let cursor = self.cursors.get(name);
        cursor.is_some_and(|cursor| cursor.link.is_some())
    }

    /// Bytes of records in memory, and the most that is under way to one follower (I5).
    pub fn memory(&self) -> (usize, usize) {
        let flying = self.cursors.values().map(|cursor| cursor.flying_bytes);
        (self.cached_bytes, flying.max().unwrap_or(0))
    }

    /// The last record that is done, or overdue; 0 at first.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// The last record that was appended; 0 at first.
    pub fn last(&self) -> u64 {
        self.base + self.kept.len() as u64 - 1
    }

    /// The epoch at which another has fenced the stream.
    pub fn fenced(&self) -> Option<u64> {
        self.fenced
    }

    /// Whether the stream is registered, so that records can be acknowledged.
    pub fn ready(&self) -> bool {
        self.fenced.is_none() && self.ensembles.current().is_some()
    }

    /// Records are durable in the log: those behind the last, in order, as one group has them. What
    /// follows from it is done once for all of them: a follower gets them in one message.
    pub fn appended(&mut self, frames: Vec<Frame>, now: Duration) {
        for frame in frames {
            self.take_in(frame, now);
        }
        if let Some(epoch) = self.fenced {
            self.refuse_pending(epoch);
            return;
        }
        self.trim_cache();
        self.complete(now);
        self.send_all(now);
    }

    fn take_in(&mut self, frame: Frame, now: Duration) {
        let sequence = frame.header().sequence;
        debug_assert_eq!(sequence, self.last() + 1, "the log answers in order");
        let (signal, bytes) = (frame.header().signal, frame.bytes());
        let tenant = frame.tenant().unwrap_or_default();
        let quorum = self.config.quorums.of(signal, tenant);
        let is_cached = self.fenced.is_none() && self.config.cache_bytes > 0;
        if is_cached {
            self.cached_bytes += bytes;
        }
        self.pending_bytes += bytes;
        self.kept.push_back(Kept {
            signal,
            quorum,
            bytes,
            appended: now,
            frame: is_cached.then_some(frame),
            lost: false,
        });
    }

    /// A link to a node was opened, under a number that only grows.
    pub fn connected(&mut self, name: &Arc<str>, link: u64, now: Duration) {
        let hello = self.hello();
        let Some(cursor) = self.cursors.get_mut(name) else {
            return;
        };
        if cursor.link.is_some_and(|known| known >= link) {
            return;
        }
        cursor.opened(link, now);
        self.outputs.push(Output::Send {
            to: Arc::clone(name),
            link,
            message: hello,
        });
    }

    /// A link broke.
    pub fn disconnected(&mut self, name: &Arc<str>, link: u64) {
        if let Some(cursor) = self.cursors.get_mut(name)
            && cursor.link == Some(link)
        {
            cursor.closed();
        }
    }

    fn hello(&self) -> Message {
        Message::Hello {
            stream: self.config.stream,
            epoch: self.epoch,
        }
    }

    /// A follower said something over a link. What came over an older one is passed over: the
    /// journal that it tells of may be gone.
    pub fn received(&mut self, name: &Arc<str>, link: u64, message: Message, now: Duration) {
        let stream = self.config.stream;
        let base = self.base;
        let Some(cursor) = self.cursors.get_mut(name) else {
            return;
        };
        if cursor.link != Some(link) {
            return;
        }
        match message {
            Message::Held(held) if held.stream == stream => self.told(name, &held),
            Message::Durable {
                stream: of,
                journal,
                ranges,
            } if of == stream && cursor.journal == Some(journal) => {
                let resent = cursor.confirm(&ranges);
                self.metrics.replica_resent_bytes.inc_by(resent as u64);
                cursor.held.remove_upto(base.saturating_sub(1));
                self.settle_frames(&ranges);
            }
            Message::Alive {
                stream: of,
                journal,
                sent,
                released,
            } if of == stream && cursor.journal == Some(journal) => {
                cursor.released = released;
                let sent = Duration::from_nanos(sent);
                // A time that never was would make it heard for ever.
                if sent <= now {
                    cursor.contact = cursor.contact.max(Some(sent));
                }
            }
            Message::Refused {
                stream: of,
                epoch,
                reason,
            } if of == stream => match reason {
                Refusal::Fenced if epoch > self.epoch => self.fence(epoch),
                Refusal::Fenced => {}
                Refusal::Busy => cursor.backs_off(now),
                Refusal::Damaged => cursor.resends(base),
            },
            _ => {}
        }
        self.complete(now);
        self.consider(now);
        self.send_all(now);
    }

    /// A follower told all that it holds.
    fn told(&mut self, name: &Arc<str>, held: &Held) {
        if held.epoch > self.epoch {
            self.fence(held.epoch);
            return;
        }
        let Holder::Journal(journal) = held.holder else {
            return;
        };
        let base = self.base;
        let Some(cursor) = self.cursors.get_mut(name) else {
            return;
        };
        let mut all = Ranges::default();
        for ranges in &held.ranges {
            all.extend(ranges);
        }
        all.remove_upto(base.saturating_sub(1));
        cursor.told(journal, all.clone(), base);
        self.settle_frames(&all);
    }

    /// Another has fenced the stream: what is pending is refused, and nothing is done after.
    pub fn fence(&mut self, epoch: u64) {
        if self.fenced.is_some_and(|fenced| fenced >= epoch) || epoch <= self.epoch {
            return;
        }
        let first = self.fenced.is_none();
        self.fenced = Some(epoch);
        if first {
            self.metrics.replica_fenced.inc();
            self.outputs.push(Output::Fenced(epoch));
        }
        self.refuse_overdue(epoch);
        self.refuse_pending(epoch);
    }

    /// This node ends its stream in good order, at an epoch that nobody has given: nothing is
    /// acknowledged any more but what is readable already and comes into files.
    pub fn end(&mut self, epoch: u64) {
        let overdue = std::mem::take(&mut self.overdue);
        self.fence(epoch);
        self.overdue = overdue;
    }

    fn refuse_pending(&mut self, epoch: u64) {
        for sequence in self.done + 1..=self.last() {
            self.refuse(sequence, epoch);
        }
        self.done = self.last();
        self.pending_bytes = 0;
        for kept in &mut self.kept {
            kept.frame = None;
        }
        (self.cached_bytes, self.cached_from) = (0, self.last() + 1);
    }

    fn refuse(&mut self, sequence: u64, epoch: u64) {
        let stream = self.config.stream;
        let text = format!("stream {stream} is fenced at epoch {epoch}");
        self.outputs.push(Output::Done {
            sequence,
            outcome: Err(Error::new(Code::ClusterFenced, text)),
        });
    }

    /// The tables hold everything of `signal` up to `upto`.
    pub fn release(&mut self, signal: Signal, upto: u64) {
        let released = &mut self.released[signal.index()];
        *released = (*released).max(upto);
        self.complete_released(signal);
        while let Some(kept) = self.kept.front()
            && self.base <= self.released[kept.signal.index()]
            && self.base <= self.done
        {
            if let Some(frame) = &kept.frame {
                self.cached_bytes -= frame.bytes();
            }
            self.kept.pop_front();
            self.base += 1;
        }
        for cursor in self.cursors.values_mut() {
            cursor.held.remove_upto(self.base - 1);
        }
        self.cached_from = self.cached_from.max(self.base);
    }

    /// What the owner's own log holds, for one who recovers the stream; who asks has fenced it.
    pub fn held(&self) -> Held {
        let mut ranges: [Ranges; 3] = Default::default();
        for (sequence, kept) in (self.base..).zip(&self.kept) {
            if !kept.lost && sequence > self.released[kept.signal.index()] {
                ranges[kept.signal.index()].insert(sequence);
            }
        }
        Held {
            stream: self.config.stream,
            holder: Holder::Owner {
                whole: !self.kept.iter().any(|kept| kept.lost),
            },
            epoch: self.fenced.unwrap_or(0),
            released: self.released,
            ranges,
        }
    }

    /// Lets time pass: beats, what was lost under way, proposals, links.
    pub fn tick(&mut self, now: Duration) {
        if self.fenced.is_none() {
            self.beat(now);
            self.retry_proposal(now);
            self.consider(now);
            self.complete(now);
            self.complete_overdue();
            self.send_all(now);
        }
        self.link(now);
    }

    /// The log cannot give these back; what is in memory still, it need not.
    pub fn lost(&mut self, ranges: &Ranges) {
        for (first, last) in ranges.iter() {
            for sequence in first.max(self.base)..=last.min(self.last()) {
                if let Some(kept) = self.kept_mut(sequence) {
                    kept.lost |= kept.frame.is_none();
                }
            }
        }
    }

    fn kept(&self, sequence: u64) -> Option<&Kept> {
        let index = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        self.kept.get(index)
    }

    fn kept_mut(&mut self, sequence: u64) -> Option<&mut Kept> {
        let index = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        self.kept.get_mut(index)
    }
}
