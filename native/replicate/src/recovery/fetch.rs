//! Which record is fetched from whom, and in which order they are given out.

use std::sync::Arc;
use std::time::Duration;

use otlake_base::Signal;
use otlake_log::Frame;

use super::{Call, FETCH_BYTES, FETCH_RECORDS, READY_BYTES, RETRY, Recovery};
use crate::Ranges;
use crate::message::Message;

impl Recovery {
    /// The next record of the signal that someone holds.
    fn next_held(&self, signal: Signal, from: u64) -> Option<u64> {
        let held = self
            .members
            .values()
            .filter_map(|member| member.held.as_ref());
        held.filter_map(|held| held.ranges[signal.index()].next_from(from))
            .min()
    }

    /// Whether someone holds it, of whichever signal.
    fn is_held(&self, sequence: u64) -> bool {
        let mut held = self
            .members
            .values()
            .filter_map(|member| member.held.as_ref());
        held.any(|held| held.ranges.iter().any(|ranges| ranges.contains(sequence)))
    }

    /// The next record of the signal to be given out; none where there is none, or where a gap
    /// before it may be a record that somebody holds who has not answered.
    pub(super) fn next(&self, signal: Signal) -> Option<u64> {
        self.next_behind(signal, self.upto[signal.index()])
    }

    fn next_behind(&self, signal: Signal, upto: u64) -> Option<u64> {
        let upto = upto.max(self.passed(signal));
        let from = upto.saturating_add(1);
        // What is planned is kept to, also before it is known to be written.
        let plan = self.proposed[signal.index()].as_ref();
        let next = match plan {
            Some(plan) => self.next_planned(plan, signal, from)?,
            None => self.next_held(signal, from)?,
        };
        let is_open = || (from..next).all(|sequence| self.is_held(sequence));
        // An earlier plan, which is what a later recovery would find, may not have this record.
        if self.config.planned[signal.index()].is_some() && !self.planned[signal.index()] {
            return None;
        }
        (self.planned[signal.index()] || is_open()).then_some(next)
    }

    /// The next planned record of the signal. One that nobody has any more is passed over where those
    /// who answered show all that was acknowledged: its only copy was damaged.
    fn next_planned(&self, plan: &Ranges, signal: Signal, mut from: u64) -> Option<u64> {
        loop {
            let next = plan.next_from(from)?;
            let is_there = self.next_held(signal, next) == Some(next);
            if is_there || !self.is_complete(signal) {
                return Some(next);
            }
            from = next + 1;
        }
    }

    /// Gives out what was fetched, as far as each signal's order allows.
    pub(super) fn give_out(&mut self) {
        for signal in Signal::ALL {
            while let Some(next) = self.next(signal)
                && let Some(frame) = self.fetched.remove(&next)
            {
                self.fetched_bytes -= frame.bytes();
                self.ready_bytes += frame.bytes();
                self.upto[signal.index()] = next;
                self.given[signal.index()].insert(next);
                self.ready.push_back(frame);
            }
        }
    }

    /// Frames came from a member that was asked for these sequences.
    pub(super) fn fetched(&mut self, from: &Arc<str>, asked: &Ranges, frames: Vec<Frame>) {
        let given = !frames.is_empty();
        for frame in frames {
            let header = *frame.header();
            let sequence = header.sequence;
            let is_asked = header.stream == self.config.stream && asked.contains(sequence);
            if !is_asked || !frame.is_intact() {
                // It was damaged on its way, or where it was: it is asked of another.
                if let Some(member) = self.members.get_mut(from) {
                    member.failed.insert(sequence);
                }
                continue;
            }
            if sequence > self.upto[header.signal.index()] {
                self.fetched_bytes += frame.bytes();
                if let Some(before) = self.fetched.insert(sequence, frame) {
                    self.fetched_bytes -= before.bytes();
                }
            }
        }
        // A member that gives nothing of what it holds would be asked for ever.
        if !given && let Some(member) = self.members.get_mut(from) {
            member.failed.extend(asked);
        }
    }

    /// Asks for what is next, each record of one member.
    pub(super) fn fetch(&mut self, now: Duration) {
        let mut members = self.members.values();
        let may_call = members.any(|member| member.held.is_some() && !member.called);
        if self.ready_bytes + self.fetched_bytes >= READY_BYTES || !may_call {
            return;
        }
        let mut wanted: Vec<(Arc<str>, Ranges)> = Vec::new();
        for signal in Signal::ALL {
            let mut upto = self.upto[signal.index()];
            for _ in 0..FETCH_RECORDS {
                let Some(next) = self.next_behind(signal, upto) else {
                    break;
                };
                upto = next;
                let under_way = self.fetched.contains_key(&next)
                    || self.members.values().any(|m| m.fetching.contains(next));
                if under_way {
                    continue;
                }
                let Some(holder) = self.holder(signal, next, now, &wanted) else {
                    self.ask_again(signal, next, now);
                    continue;
                };
                match wanted.iter_mut().find(|(name, _)| *name == holder) {
                    Some((_, ranges)) => {
                        ranges.insert(next);
                    }
                    None => wanted.push((holder, Ranges::of(next, next))),
                }
            }
        }
        for (name, ranges) in wanted {
            let Some(member) = self.members.get_mut(&name) else {
                continue;
            };
            member.called = true;
            member.fetching = ranges.clone();
            self.calls.push(Call {
                to: name,
                message: Message::Fetch {
                    stream: self.config.stream,
                    ranges,
                    max_bytes: FETCH_BYTES,
                },
            });
        }
    }

    /// Nobody who holds a record can give it: they are asked anew what they hold. It can be in the
    /// tables meanwhile, and released; or damaged, and then its holder has another journal.
    fn ask_again(&mut self, signal: Signal, sequence: u64, now: Duration) {
        for member in self.members.values_mut() {
            let held = member.held.as_ref();
            let holds = held.is_some_and(|held| held.ranges[signal.index()].contains(sequence));
            if holds && member.failed.contains(sequence) && !member.called {
                member.held = None;
                member.failed = Ranges::default();
                member.retry_at = now + RETRY;
            }
        }
    }

    /// Who is asked for a record: of those who have it and can be called, the one with least to do.
    fn holder(
        &self,
        signal: Signal,
        sequence: u64,
        now: Duration,
        wanted: &[(Arc<str>, Ranges)],
    ) -> Option<Arc<str>> {
        let load = |name: &Arc<str>| {
            let of = wanted.iter().find(|(of, _)| of == name);
            of.map_or(0, |(_, ranges)| ranges.count())
        };
        let holders = self.members.iter().filter(|(_, member)| {
            let held = member.held.as_ref();
            held.is_some_and(|held| held.ranges[signal.index()].contains(sequence))
                && !member.called
                && now >= member.retry_at
                && !member.failed.contains(sequence)
        });
        let holder = holders.min_by_key(|(name, _)| load(name));
        holder.map(|(name, _)| Arc::clone(name))
    }
}
