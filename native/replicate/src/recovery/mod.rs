//! Recovery of a stream whose owner is gone, without I/O: answers and the time go in; calls and
//! records come out.
//!
//! ```text
//! fence every member -> what each holds -> do enough answer? -> fetch the union above the watermark
//!                                              |
//!                                              `-> until then only what lies before the first gap
//! ```
//!
//! An acknowledged record is on the owner's disk and on `acks - 1` followers of its ensemble at least:
//! `acks` are the fewest of any tenant, for nobody knows whose a record was that is not there. So
//! either the owner's log answers, whole; or so many followers of each ensemble that any `acks - 1`
//! of them have one in common with those that answered. Then what nobody holds was never
//! acknowledged, and a gap is passed over. Before, a gap may be a record that a member holds which
//! has not answered: what lies behind it must not reach the tables, whose watermark would pass it.
//! This is decided for each signal by itself, and each signal's records come in their order.
//!
//! A member counts only with the journal that the ensemble names: one that came back without its
//! disk has another. What it holds nevertheless is used.
//!
//! - `gather.rs`: who has answered, and whether it is enough.
//! - `fetch.rs`: which record is fetched from whom, and in which order they are given.
//! - `plan.rs`: what is promised before a gap is passed over.

mod fetch;
mod gather;
mod plan;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use otlake_base::{Signal, StreamId};
use otlake_log::Frame;

use crate::Ranges;
use crate::ensemble::Ensembles;
use crate::message::{BySignal, Held, Message};

/// Bytes of records that are held before they are taken (I5).
const READY_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of one fetch, beyond its first record (I5).
const FETCH_BYTES: u64 = 4 * 1024 * 1024;
/// Records of one fetch (I5).
const FETCH_RECORDS: usize = 4096;
/// How long a member that did not answer is left alone.
const RETRY: Duration = Duration::from_millis(500);

/// What is recovered.
#[derive(Clone, Debug)]
pub struct RecoveryConfig {
    /// The stream.
    pub stream: StreamId,
    /// The epoch that the metadata group gave to this recovery.
    pub epoch: u64,
    /// The node that wrote it.
    pub owner: Arc<str>,
    /// Who holds it, as the metadata group told with the epoch.
    pub ensembles: Ensembles,
    /// By signal: every table holds all up to here, and takes no commit of an earlier epoch any more.
    pub watermark: BySignal,
    /// By signal: what an earlier recovery had planned.
    pub planned: [Option<Ranges>; 3],
}

/// What a recovery wants done: a call to a node, answered once with [`Recovery::answered`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The node.
    pub to: Arc<str>,
    /// What it is asked.
    pub message: Message,
}

/// How far a recovery is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything that was acknowledged has been given out.
    pub complete: bool,
    /// A later recovery has fenced the stream at this epoch: this one is over.
    pub superseded: Option<u64>,
    /// Every member has answered or failed, and nothing more can be given out for now.
    pub stalled: bool,
    /// Every member has answered, and not everything is there: what is missing is lost, unless the
    /// disk of one of them is brought back. [`Recovery::accept_loss`] goes on without.
    pub exhausted: bool,
    /// Records given out.
    pub records: u64,
    /// By signal: their sequences. With what the tables held before, this is what the stream is.
    pub recovered: [Ranges; 3],
    /// Members whose answer is needed, or that alone hold a record.
    pub missing: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
struct Member {
    /// A call is under way.
    called: bool,
    retry_at: Duration,
    /// It has answered or failed once.
    tried: bool,
    held: Option<Held>,
    /// What it said it holds and could not give.
    failed: Ranges,
    fetching: Ranges,
    /// The last call failed.
    away: bool,
}

/// One recovery.
pub struct Recovery {
    config: RecoveryConfig,
    members: BTreeMap<Arc<str>, Member>,
    /// By signal: everything up to here has been given out or passed over.
    upto: BySignal,
    fetched: BTreeMap<u64, Frame>,
    fetched_bytes: usize,
    ready: VecDeque<Frame>,
    ready_bytes: usize,
    recovered: [Ranges; 3],
    records: u64,
    superseded: Option<u64>,
    /// What the members have is taken for all there is.
    is_lossy: bool,
    /// By signal, whether everything acknowledged is among what was told; and up to where the tables
    /// hold everything. Looked at anew with each answer, not with each record.
    complete: [bool; 3],
    passed: BySignal,
    /// By signal, what was put into `ready` ever.
    given: [Ranges; 3],
    /// By signal, of those what is not there as a whole.
    left_out: [Ranges; 3],
    /// By signal, what is kept of the stream.
    proposed: [Option<Ranges>; 3],
    /// And whether that is known to be promised, or needs no promise.
    planned: [bool; 3],
    calls: Vec<Call>,
}

impl Recovery {
    /// Begins: the first calls are there to be made.
    pub fn new(config: RecoveryConfig, now: Duration) -> Recovery {
        let mut members: BTreeMap<Arc<str>, Member> = BTreeMap::new();
        members.insert(Arc::clone(&config.owner), Member::default());
        for member in config.ensembles.members() {
            members.entry(member.name).or_default();
        }
        let mut recovery = Recovery {
            upto: config.watermark,
            config,
            members,
            fetched: BTreeMap::new(),
            fetched_bytes: 0,
            ready: VecDeque::new(),
            ready_bytes: 0,
            recovered: Default::default(),
            records: 0,
            superseded: None,
            is_lossy: false,
            complete: [false; 3],
            passed: [0; 3],
            given: Default::default(),
            left_out: Default::default(),
            proposed: Default::default(),
            planned: [false; 3],
            calls: Vec::new(),
        };
        recovery.work(now);
        recovery
    }

    /// What it recovers.
    pub fn config(&self) -> &RecoveryConfig {
        &self.config
    }

    /// The calls that are wanted since the last time.
    pub fn calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    /// Goes on after a while in which nobody waited for answers: calls that were under way are made anew.
    pub fn go_on(&mut self, now: Duration) {
        self.calls.clear();
        for member in self.members.values_mut() {
            if std::mem::take(&mut member.called) {
                member.fetching = Ranges::default();
                member.retry_at = now;
            }
        }
        self.work(now);
    }

    /// The next record: of one signal they come in the order of the sequence.
    pub fn take(&mut self) -> Option<Frame> {
        let frame = self.ready.pop_front()?;
        self.ready_bytes -= frame.bytes();
        let header = frame.header();
        self.recovered[header.signal.index()].insert(header.sequence);
        self.records += 1;
        Some(frame)
    }

    /// What came of a call; none where the node could not be reached.
    pub fn answered(&mut self, from: &Arc<str>, answer: Option<Message>, now: Duration) {
        let Some(member) = self.members.get_mut(from) else {
            return;
        };
        member.called = false;
        member.tried = true;
        let fetching = std::mem::take(&mut member.fetching);
        match answer {
            Some(Message::Held(held)) if held.stream == self.config.stream => {
                if held.epoch > self.config.epoch {
                    self.superseded = Some(held.epoch);
                    return;
                }
                member.away = false;
                member.held = Some(held);
            }
            Some(Message::Frames {
                stream,
                frames,
                gone,
            }) if stream == self.config.stream => {
                member.away = false;
                member.failed.extend(&gone);
                self.fetched(from, &fetching, frames);
            }
            Some(Message::Refused { epoch, .. }) if epoch > self.config.epoch => {
                self.superseded = Some(epoch);
                return;
            }
            _ => {
                member.away = true;
                member.retry_at = now + RETRY;
            }
        }
        self.work(now);
    }

    /// Takes what the members have for all there is, when they have all answered: acknowledged
    /// records are lost, with more disks than their signal has copies for.
    pub fn accept_loss(&mut self) {
        self.is_lossy |= self.progress().exhausted;
        self.look();
        self.give_out();
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Duration) {
        self.work(now);
    }

    fn work(&mut self, now: Duration) {
        if self.superseded.is_some() {
            return;
        }
        self.ask(now);
        self.look();
        self.give_out();
        self.fetch(now);
        self.look();
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let is_through = |signal: Signal| {
            self.planned[signal.index()] && self.is_complete(signal) && self.next(signal).is_none()
        };
        let complete = Signal::ALL.into_iter().all(is_through) && self.ready.is_empty();
        let is_tried = |member: &Member| member.tried && (!member.called || member.away);
        Progress {
            complete: complete && self.superseded.is_none(),
            superseded: self.superseded,
            stalled: !complete && self.ready.is_empty() && self.members.values().all(is_tried),
            exhausted: !complete
                && !self.is_lossy
                && !Signal::ALL
                    .into_iter()
                    .all(|signal| self.is_complete(signal))
                && self.members.values().all(|member| member.held.is_some()),
            records: self.records,
            recovered: self.recovered.clone(),
            missing: self.missing(),
        }
    }
}
