//! What is promised before a gap is passed over.
//!
//! When a stream's owner comes back it has to know which of its records the tables have. Of a signal that
//! is acknowledged at the owner's fsync alone, a record can be acknowledged that nobody else has: such
//! records it appends to its new stream. And a record that never had its quorum, and is nowhere, must not
//! be told as stored when it is sent again. The tables cannot tell: their watermark passes a gap
//! as it passes a record. So the recovery says in the metadata group what it keeps, before the first
//! commit that passes a gap, and keeps that and nothing else. A later recovery takes over what the
//! tables have by an earlier one's plan, and plans the rest anew before it gives anything out. An owner's
//! own commits have no gaps, and none comes after the tables were fenced.
//!
//! Where there is no gap nothing is written: whoever takes the recovery over finds by the watermark what was
//! kept.

use otlake_base::Signal;

use super::Recovery;
use crate::Ranges;

impl Recovery {
    /// Settles of every signal that is complete what is kept of it.
    fn propose(&mut self) {
        let is_due =
            |signal: &Signal| self.proposed[signal.index()].is_none() && self.is_complete(*signal);
        let due: Vec<Signal> = Signal::ALL.into_iter().filter(is_due).collect();
        for signal in &due {
            self.proposed[signal.index()] = Some(self.kept(*signal));
        }
        for signal in due {
            let kept = self.without_gaps_of_others(signal);
            let is_whole = kept.is_empty() || (kept.len() == 1 && kept.contains(1));
            let was_planned = self.config.planned[signal.index()].is_some();
            self.planned[signal.index()] = is_whole && !was_planned;
            self.proposed[signal.index()] = Some(kept);
        }
        self.give_out();
    }

    fn kept(&self, signal: Signal) -> Ranges {
        let watermark = self.config.watermark[signal.index()];
        let mut kept = match &self.config.planned[signal.index()] {
            Some(planned) => planned.clone(),
            None => Ranges::of(1, watermark),
        };
        kept.remove_range(watermark.saturating_add(1), u64::MAX);
        for member in self.members.values() {
            let Some(held) = &member.held else { continue };
            for (first, last) in held.ranges[signal.index()].iter() {
                kept.insert_range(first.max(watermark.saturating_add(1)), last);
            }
        }
        kept.extend(&self.given[signal.index()]);
        kept
    }

    /// What is kept of a signal, with the records of others that are kept between them: those are no
    /// gaps, and with them the ranges are few.
    fn without_gaps_of_others(&self, signal: Signal) -> Ranges {
        let mut all = Ranges::default();
        for other in Signal::ALL {
            let Some(kept) = &self.proposed[other.index()] else {
                continue;
            };
            let mut kept = kept.clone();
            // Up to there the sequences between its records are anybody's.
            kept.remove_upto(self.config.watermark[other.index()]);
            all.extend(&kept);
        }
        let mut kept = self.proposed[signal.index()].clone().unwrap_or_default();
        let ranges: Vec<(u64, u64)> = kept.iter().collect();
        for pair in ranges.windows(2) {
            let (first, last) = (pair[0].1 + 1, pair[1].0 - 1);
            let is_open = first <= self.config.watermark[signal.index()];
            if !is_open && all.end_of(first).is_some_and(|end| end >= last) {
                kept.insert_range(first, last);
            }
        }
        kept
    }

    /// Settles what is kept, as far as it is known; a recovery comes to its end by this. Gives what is to be
    /// written to the metadata group, at the recovery's epoch, before more is given out: of the signal, the sequences that are kept. The same until [`Recovery::planned`], for a
    /// write of it may be late. None where nothing is to be written for now.
    pub fn plan(&mut self) -> Option<(Signal, Ranges)> {
        self.propose();
        Signal::ALL.into_iter().find_map(|signal| {
            let kept = self.proposed[signal.index()].as_ref()?;
            (!self.planned[signal.index()]).then(|| (signal, kept.clone()))
        })
    }

    /// The plan of a signal is in the metadata group.
    pub fn planned(&mut self, signal: Signal) {
        self.planned[signal.index()] = self.proposed[signal.index()].is_some();
        self.give_out();
    }

    /// What the seal says of a signal: its sequences that are in the tables. Behind its beginning, where
    /// they may be anybody's, all others between them are of records that are kept too.
    pub fn settled(&self, signal: Signal) -> Ranges {
        let mut settled = self.proposed[signal.index()].clone().unwrap_or_default();
        for (first, last) in self.left_out[signal.index()].iter() {
            settled.remove_range(first, last);
        }
        settled
    }

    /// A record that was given out is not in the tables as a whole, because it is stored elsewhere too: the
    /// seal does not name it.
    pub fn left_out(&mut self, signal: Signal, sequence: u64) {
        self.left_out[signal.index()].insert(sequence);
    }
}
