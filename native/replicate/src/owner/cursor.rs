//! What an owner knows of one follower.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Ranges;
use crate::message::BySignal;

/// How long a follower that has no room is left alone.
const BACK_OFF: Duration = Duration::from_millis(500);

/// A record under way.
#[derive(Clone, Copy, Debug)]
pub struct Flying {
    pub bytes: usize,
    pub sent: Duration,
    /// It was sent before.
    pub again: bool,
}

/// One follower.
#[derive(Debug, Default)]
pub struct Cursor {
    /// The open link.
    pub link: Option<u64>,
    /// It has told over this link what it holds.
    pub greeted: bool,
    /// Its journal, as it told last.
    pub journal: Option<u128>,
    /// What that journal holds of what the tables do not.
    pub held: Ranges,
    /// Up to where it has let go, by signal.
    pub released: BySignal,
    /// The next sequence to be looked at.
    pub next: u64,
    /// Sent up to here on some link.
    pub sent_upto: u64,
    pub flying: BTreeMap<u64, Flying>,
    pub flying_bytes: usize,
    /// When the last beat was sent that it has answered.
    pub contact: Option<Duration>,
    pub backs_off_until: Duration,
    /// A read of the log is under way for it, from this sequence on.
    pub reading: Option<u64>,
    /// When it was last asked what it holds.
    pub asked: Duration,
}

impl Cursor {
    pub fn opened(&mut self, link: u64, now: Duration) {
        self.closed();
        self.link = Some(link);
        self.asked = now;
    }

    pub fn closed(&mut self) {
        self.link = None;
        self.greeted = false;
        self.flying.clear();
        self.flying_bytes = 0;
        self.backs_off_until = Duration::ZERO;
    }

    /// It told all that it holds.
    pub fn told(&mut self, journal: u128, held: Ranges, base: u64) {
        if self.journal != Some(journal) {
            // Another journal has promised nothing of what the one before did.
            self.journal = Some(journal);
            self.held = Ranges::default();
            self.contact = None;
        }
        let first = !self.greeted;
        self.greeted = true;
        self.confirm(&held);
        self.held.extend(&held);
        // What was sent before it was asked, and is not there, is lost; what is merely late comes
        // twice, which it sees.
        let asked = self.asked;
        let lost: Vec<u64> = self
            .flying
            .iter()
            .filter(|(_, flying)| first || flying.sent <= asked)
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in &lost {
            self.landed(*sequence);
        }
        if first || !lost.is_empty() {
            self.next = base;
        }
    }

    /// These are in its journal; gives the bytes of those that had been sent more than once.
    pub fn confirm(&mut self, ranges: &Ranges) -> usize {
        self.held.extend(ranges);
        let mut again = 0;
        for (first, last) in ranges.iter() {
            while let Some((sequence, flying)) = self.flying.range(first..=last).next() {
                let (sequence, flying) = (*sequence, *flying);
                if flying.again {
                    again += flying.bytes;
                }
                self.landed(sequence);
            }
        }
        again
    }

    fn landed(&mut self, sequence: u64) {
        if let Some(flying) = self.flying.remove(&sequence) {
            self.flying_bytes -= flying.bytes;
        }
    }

    pub fn sends(&mut self, sequence: u64, bytes: usize, now: Duration) {
        let again = sequence <= self.sent_upto;
        self.sent_upto = self.sent_upto.max(sequence);
        let flying = Flying {
            bytes,
            sent: now,
            again,
        };
        if let Some(before) = self.flying.insert(sequence, flying) {
            self.flying_bytes -= before.bytes;
        }
        self.flying_bytes += bytes;
    }

    /// Everything that it does not hold is sent again.
    pub fn resends(&mut self, base: u64) {
        self.flying.clear();
        self.flying_bytes = 0;
        self.next = base;
    }

    pub fn backs_off(&mut self, now: Duration) {
        self.backs_off_until = now + BACK_OFF;
        self.resends(0);
    }

    /// Whether it may have copies that the tables do not hold, or does not know yet that they do;
    /// they hold everything before `base`.
    pub fn may_hold(&self, base: u64, released: BySignal) -> bool {
        let knows = || {
            self.released
                .iter()
                .zip(released)
                .all(|(known, upto)| *known >= upto)
        };
        !self.held.is_empty() || self.sent_upto >= base || (self.sent_upto > 0 && !knows())
    }

    pub fn takes_more(&self, window: usize, now: Duration) -> bool {
        self.greeted
            && self.reading.is_none()
            && self.flying_bytes < window
            && now >= self.backs_off_until
    }
}
