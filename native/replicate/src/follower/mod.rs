//! The follower's side of all streams, without I/O: messages go in; writes for the journal, answers
//! and what was written come out.
//!
//! What it says is durable is durable: a range is told only when the journal has told that it is
//! fsynced. A fence counts from the moment it comes, and is answered when it is fsynced; the journal
//! writes in order, so the answer tells of every record that was ever confirmed below it.
//!
//! - `answers.rs`: what is said when a write has ended, and what is held.

mod answers;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use otlake_base::{Metrics, StreamId};
use otlake_log::Frame;

use crate::Ranges;
use crate::journal::Write;
use crate::message::{BySignal, Message, Refusal};

/// Bytes that may wait for the journal; what comes beyond is refused for now (I5).
pub const WAITING_BYTES: usize = 256 * 1024 * 1024;

/// What a journal holds of a stream when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The lowest epoch that is taken; 0 where any is.
    pub fence: u64,
    /// By signal: released up to here.
    pub released: BySignal,
    /// By signal: the sequences that are held.
    pub ranges: [Ranges; 3],
}

/// To whom an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To the owner, over this link.
    Link(u64),
    /// To whom made this call.
    Call(u64),
}

/// What a follower wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Write this, and tell what came of it under the number.
    Write {
        /// The number.
        ticket: u64,
        /// What.
        write: Write,
    },
    /// These are being written, and were not held before.
    Took(Vec<Frame>),
    /// Everything of the stream up to here is acknowledged, and in the tables up to there.
    Settled {
        /// The stream.
        stream: StreamId,
        /// Up to here.
        acknowledged: u64,
        /// By signal: up to there.
        released: BySignal,
    },
    /// Say this.
    Say {
        /// To whom.
        to: To,
        /// What.
        message: Message,
    },
}

#[derive(Default)]
struct Stream {
    fence: u64,
    /// The fence that is fsynced.
    fence_durable: u64,
    released: BySignal,
    /// What of that is fsynced.
    released_durable: BySignal,
    /// A write of it is under way.
    releasing: bool,
    durable: [Ranges; 3],
    writing: Ranges,
    /// Where its owner listens.
    link: Option<u64>,
}

enum Awaited {
    Frames {
        stream: StreamId,
        records: Vec<(usize, u64)>,
        bytes: usize,
    },
    Fence {
        stream: StreamId,
        epoch: u64,
        call: u64,
    },
    Release {
        stream: StreamId,
        released: BySignal,
    },
    Nothing,
}

/// One node's follower.
pub struct Follower {
    journal: u128,
    metrics: Arc<Metrics>,
    streams: BTreeMap<StreamId, Stream>,
    awaited: HashMap<u64, Awaited>,
    next_ticket: u64,
    waiting_bytes: usize,
    outputs: Vec<Output>,
}

impl Follower {
    /// A follower on a journal of this identity that holds this.
    pub fn new(
        journal: u128,
        contents: BTreeMap<StreamId, Contents>,
        metrics: Arc<Metrics>,
    ) -> Follower {
        let streams = contents.into_iter().map(|(stream, contents)| {
            let stream_of = Stream {
                fence: contents.fence,
                fence_durable: contents.fence,
                released: contents.released,
                released_durable: contents.released,
                durable: contents.ranges,
                ..Stream::default()
            };
            (stream, stream_of)
        });
        Follower {
            journal,
            metrics,
            streams: streams.collect(),
            awaited: HashMap::new(),
            next_ticket: 1,
            waiting_bytes: 0,
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

    /// The identity of its journal.
    pub fn journal(&self) -> u128 {
        self.journal
    }

    /// An owner said something over a link, whose number no other link of this node has.
    pub fn received(&mut self, link: u64, message: Message) {
        match message {
            Message::Hello { stream, epoch } if self.takes(stream, epoch, link) => {
                self.streams.entry(stream).or_default().link = Some(link);
                let held = Message::Held(self.held(stream));
                self.say(To::Link(link), held);
            }
            Message::Append {
                stream,
                epoch,
                frames,
            } if self.takes(stream, epoch, link) => self.append(stream, link, frames),
            Message::Beat {
                stream,
                epoch,
                sent,
                released,
                acknowledged,
            } => {
                // Also of one that is fenced: what the tables hold they hold.
                self.release(stream, released);
                if self.takes(stream, epoch, link) {
                    self.outputs.push(Output::Settled {
                        stream,
                        acknowledged,
                        released,
                    });
                    let of = self.streams.get(&stream);
                    let alive = Message::Alive {
                        stream,
                        journal: self.journal,
                        sent,
                        released: of.map_or(released, |of| of.released_durable),
                    };
                    self.say(To::Link(link), alive);
                }
            }
            _ => {}
        }
    }

    /// A link broke.
    pub fn closed(&mut self, link: u64) {
        for stream in self.streams.values_mut() {
            if stream.link == Some(link) {
                stream.link = None;
            }
        }
    }

    /// A call, which is answered once under its number: `Fence`, `Ask`, `Release` or `Forget`.
    /// `Fetch` needs the journal and not this.
    pub fn called(&mut self, call: u64, message: &Message) {
        match *message {
            Message::Fence { stream, epoch } => self.fence(stream, epoch, call),
            Message::Ask { stream } => {
                let held = Message::Held(self.held(stream));
                self.say(To::Call(call), held);
            }
            Message::Release { stream, released } => {
                self.release(stream, released);
                self.say(To::Call(call), Message::Done);
            }
            Message::Forget { stream } => {
                self.forget(stream);
                self.say(To::Call(call), Message::Done);
            }
            _ => {
                let refused = Message::Refused {
                    stream: StreamId(0),
                    epoch: 0,
                    reason: Refusal::Damaged,
                };
                self.say(To::Call(call), refused);
            }
        }
    }

    /// Whether an owner's message is taken; tells it where not.
    fn takes(&mut self, stream: StreamId, epoch: u64, link: u64) -> bool {
        let fence = self.streams.get(&stream).map_or(0, |of| of.fence);
        if epoch >= fence {
            return true;
        }
        self.metrics.replica_fenced_refusals.inc();
        let refused = Message::Refused {
            stream,
            epoch: fence,
            reason: Refusal::Fenced,
        };
        self.say(To::Link(link), refused);
        false
    }

    fn append(&mut self, stream: StreamId, link: u64, frames: Vec<Frame>) {
        let journal = self.journal;
        let refused = |reason| Message::Refused {
            stream,
            epoch: 0,
            reason,
        };
        let is_whole = |frame: &Frame| frame.header().stream == stream && frame.is_intact();
        if !frames.iter().all(is_whole) {
            self.metrics.damaged("replica_message");
            self.say(To::Link(link), refused(Refusal::Damaged));
            return;
        }
        let bytes: usize = frames.iter().map(Frame::bytes).sum();
        if self.waiting_bytes > 0 && self.waiting_bytes + bytes > WAITING_BYTES {
            self.say(To::Link(link), refused(Refusal::Busy));
            return;
        }
        let of = self.streams.entry(stream).or_default();
        of.link = Some(link);
        let mut known = Ranges::default();
        let (mut new, mut records, mut bytes) = (Vec::new(), Vec::new(), 0);
        for frame in frames {
            let (signal, sequence) = (frame.header().signal.index(), frame.header().sequence);
            if sequence <= of.released[signal] || of.durable[signal].contains(sequence) {
                known.insert(sequence);
            } else if of.writing.insert(sequence) {
                bytes += frame.bytes();
                records.push((signal, sequence));
                new.push(frame);
            }
        }
        if !known.is_empty() {
            let durable = Message::Durable {
                stream,
                journal,
                ranges: known,
            };
            self.say(To::Link(link), durable);
        }
        if !new.is_empty() {
            self.waiting_bytes += bytes;
            self.outputs.push(Output::Took(new.clone()));
            let awaited = Awaited::Frames {
                stream,
                records,
                bytes,
            };
            self.write(Write::Frames(new), awaited);
        }
    }

    fn fence(&mut self, stream: StreamId, epoch: u64, call: u64) {
        let of = self.streams.entry(stream).or_default();
        if of.fence > epoch {
            let refused = Message::Refused {
                stream,
                epoch: of.fence,
                reason: Refusal::Fenced,
            };
            self.say(To::Call(call), refused);
            return;
        }
        of.fence = epoch;
        if of.fence_durable == epoch {
            let held = Message::Held(self.held(stream));
            self.say(To::Call(call), held);
            return;
        }
        let awaited = Awaited::Fence {
            stream,
            epoch,
            call,
        };
        self.write(Write::Fence { stream, epoch }, awaited);
    }

    /// The tables hold everything up to here.
    fn release(&mut self, stream: StreamId, released: BySignal) {
        let Some(of) = self.streams.get_mut(&stream) else {
            return;
        };
        let known = of.released.iter_mut().zip(&mut of.durable);
        for ((known, durable), upto) in known.zip(released) {
            *known = upto.max(*known);
            durable.remove_upto(*known);
        }
        if of.released != of.released_durable && !of.releasing {
            of.releasing = true;
            let released = of.released;
            let awaited = Awaited::Release { stream, released };
            self.write(Write::Release { stream, released }, awaited);
        }
    }

    /// Keeps of a sealed stream that it is one, and nothing else.
    fn forget(&mut self, stream: StreamId) {
        let of = self.streams.entry(stream).or_default();
        of.fence = u64::MAX;
        of.released = [u64::MAX; 3];
        of.durable = Default::default();
        self.write(Write::Forget { stream }, Awaited::Nothing);
    }

    fn write(&mut self, write: Write, awaited: Awaited) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.awaited.insert(ticket, awaited);
        self.outputs.push(Output::Write { ticket, write });
    }

    fn say(&mut self, to: To, message: Message) {
        self.outputs.push(Output::Say { to, message });
    }
}
