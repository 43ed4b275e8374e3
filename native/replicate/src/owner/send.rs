//! What is sent to each follower: from memory while it is there, else read back from the log.

use std::sync::Arc;
use std::time::Duration;

use otlake_log::Frame;

use super::{Output, Owner};
use crate::Ranges;
use crate::message::{MESSAGE_BYTES, MESSAGE_FRAMES, Message};

/// How often a follower is told that the owner lives.
const BEAT: Duration = Duration::from_millis(200);
/// How long a record is under way before the follower is asked what it holds.
const LATE: Duration = Duration::from_millis(1500);

impl Owner {
    /// The signals that a follower is sent: of the ensemble, and of the one that is to be.
    pub(super) fn follows(&self, name: &str) -> [bool; 3] {
        let current = self.ensembles.current();
        let proposed = self.proposed.as_ref().map(|proposal| &proposal.ensemble);
        std::array::from_fn(|signal| {
            self.desired[signal]
                .iter()
                .any(|desired| &**desired == name)
                || [current, proposed]
                    .into_iter()
                    .flatten()
                    .any(|ensemble| ensemble.signals[signal].named(name).is_some())
        })
    }

    pub(super) fn send_all(&mut self, now: Duration) {
        if self.fenced.is_some() {
            return;
        }
        let window = self.config.window_bytes;
        let names: Vec<Arc<str>> = self
            .cursors
            .iter()
            .filter(|(_, cursor)| cursor.takes_more(window, now) && cursor.next <= self.last())
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in names {
            self.send(&name, now);
        }
    }

    /// Sends what the window allows.
    fn send(&mut self, name: &Arc<str>, now: Duration) {
        let follows = self.follows(name);
        let last = self.last();
        loop {
            let mut frames = Vec::new();
            let (mut bytes, mut read_from) = (0, None);
            let Some(mut cursor) = self.cursors.remove(name) else {
                return;
            };
            cursor.next = cursor.next.max(self.base);
            while cursor.takes_more(self.config.window_bytes, now)
                && bytes < MESSAGE_BYTES
                && frames.len() < MESSAGE_FRAMES
                && cursor.next <= last
            {
                let sequence = cursor.next;
                if let Some(end) = cursor.held.end_of(sequence) {
                    cursor.next = end + 1;
                    continue;
                }
                let Some(kept) = self.kept(sequence) else {
                    break;
                };
                let skip = !follows[kept.signal.index()]
                    || kept.lost
                    || sequence <= self.released[kept.signal.index()]
                    || cursor.flying.contains_key(&sequence);
                if !skip {
                    let Some(frame) = &kept.frame else {
                        read_from = Some(sequence);
                        break;
                    };
                    frames.push(frame.clone());
                    bytes += kept.bytes;
                    cursor.sends(sequence, kept.bytes, now);
                }
                cursor.next += 1;
            }
            if let Some(from) = read_from
                && frames.is_empty()
            {
                cursor.reading = Some(from);
                self.outputs.push(Output::Read {
                    to: Arc::clone(name),
                    from,
                    upto: last,
                });
            }
            let link = cursor.link;
            self.cursors.insert(Arc::clone(name), cursor);
            if frames.is_empty() {
                return;
            }
            self.append(name, link, frames);
        }
    }

    fn append(&mut self, name: &Arc<str>, link: Option<u64>, frames: Vec<Frame>) {
        let Some(link) = link else { return };
        self.outputs.push(Output::Send {
            to: Arc::clone(name),
            link,
            message: Message::Append {
                stream: self.config.stream,
                epoch: self.epoch,
                frames,
            },
        });
    }

    /// What a read of the log gave for a follower: whole frames, what of them is lost, and the
    /// sequence behind both. Nothing at all where the log could not be read.
    pub fn read(
        &mut self,
        name: &Arc<str>,
        frames: Vec<Frame>,
        lost: &[(u64, u64)],
        next: u64,
        now: Duration,
    ) {
        self.lost(&lost.iter().copied().collect());
        let follows = self.follows(name);
        let Some(mut cursor) = self.cursors.remove(name) else {
            return;
        };
        let from = cursor.reading.take();
        let mut wanted = Vec::new();
        if self.fenced.is_none() && cursor.greeted {
            for frame in frames {
                let sequence = frame.header().sequence;
                let signal = frame.header().signal;
                if follows[signal.index()]
                    && sequence > self.released[signal.index()]
                    && !cursor.held.contains(sequence)
                    && !cursor.flying.contains_key(&sequence)
                {
                    let bytes = frame.bytes();
                    self.metrics.replica_catchup_bytes.inc_by(bytes as u64);
                    cursor.sends(sequence, bytes, now);
                    wanted.push(frame);
                }
            }
            // Where it was sent back meanwhile, what was read is passed over when it comes there.
            if from == Some(cursor.next) {
                cursor.next = next;
            }
        }
        let link = cursor.link;
        self.cursors.insert(Arc::clone(name), cursor);
        while !wanted.is_empty() {
            let mut bytes = 0;
            let fits = wanted.iter().take(MESSAGE_FRAMES).take_while(|frame| {
                let fits = bytes < MESSAGE_BYTES;
                bytes += frame.bytes();
                fits
            });
            let rest = wanted.split_off(fits.count());
            self.append(name, link, std::mem::replace(&mut wanted, rest));
        }
        self.complete(now);
        self.send_all(now);
    }

    /// Tells each follower that the owner lives, and asks it what it holds where records are late.
    pub(super) fn beat(&mut self, now: Duration) {
        let is_due = now >= self.beat_at;
        if is_due {
            self.beat_at = now + BEAT;
        }
        let (stream, epoch, released) = (self.config.stream, self.epoch, self.released);
        let acknowledged = self.acknowledged();
        let hello = self.hello();
        for (name, cursor) in &mut self.cursors {
            let Some(link) = cursor.link else { continue };
            if is_due {
                self.outputs.push(Output::Send {
                    to: Arc::clone(name),
                    link,
                    message: Message::Beat {
                        stream,
                        epoch,
                        sent: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
                        released,
                        acknowledged,
                    },
                });
            }
            let oldest = cursor.flying.values().map(|flying| flying.sent).min();
            let is_late = oldest.is_some_and(|sent| now >= sent + LATE) || !cursor.greeted;
            if is_late && now >= cursor.asked + LATE {
                cursor.asked = now;
                self.outputs.push(Output::Send {
                    to: Arc::clone(name),
                    link,
                    message: hello.clone(),
                });
            }
        }
    }

    /// Lets go of records in memory that everyone has who shall.
    pub(super) fn settle_frames(&mut self, ranges: &Ranges) {
        let names: Vec<([bool; 3], Arc<str>)> = self
            .cursors
            .keys()
            .map(|name| (self.follows(name), Arc::clone(name)))
            .collect();
        for (first, last) in ranges.iter() {
            for sequence in first.max(self.cached_from)..=last.min(self.last()) {
                let Some(kept) = self.kept(sequence) else {
                    continue;
                };
                let signal = kept.signal.index();
                let everywhere = names.iter().all(|(follows, name)| {
                    !follows[signal]
                        || self
                            .cursors
                            .get(name)
                            .is_none_or(|cursor| cursor.held.contains(sequence))
                });
                if everywhere && sequence <= self.done {
                    self.forget_frame(sequence);
                }
            }
        }
    }

    pub(super) fn forget_frame(&mut self, sequence: u64) {
        let frame = self.kept_mut(sequence).and_then(|kept| kept.frame.take());
        if let Some(frame) = frame {
            self.cached_bytes -= frame.bytes();
        }
    }

    /// Keeps memory within its limit: the oldest go first.
    pub(super) fn trim_cache(&mut self) {
        while self.cached_bytes > self.config.cache_bytes && self.cached_from <= self.last() {
            let sequence = self.cached_from;
            self.cached_from += 1;
            self.forget_frame(sequence);
        }
    }
}
