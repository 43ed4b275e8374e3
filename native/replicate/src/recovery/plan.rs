//! What is promised before a gap is passed over.
//!
//! Of a signal that is acknowledged at the owner's fsync alone, a record can be acknowledged that
//! nobody else has. When its owner comes back it appends such records to its new stream; so it must
//! know which of its records the tables have. The tables cannot tell: their watermark passes a gap
//! as it passes a record. So the recovery says in the metadata group what it keeps, before the first
//! commit that passes a gap, and keeps that and nothing else. A later recovery takes over what the
//! tables have by an earlier one's plan, and plans the rest anew before it gives anything out. An owner's own commits have no
//! gaps, and none comes after the tables were fenced.

use otlake_base::Signal;

use super::Recovery;
use crate::Ranges;

impl Recovery {
    /// Whether a record of the signal may have been acknowledged by the owner alone.
    pub(super) fn needs_plan(&self, signal: Signal) -> bool {
        let mut ensembles = self.config.ensembles.0.iter();
        ensembles.any(|ensemble| ensemble.of(signal).acks == 1)
    }

    /// What is to be written to the metadata group, at the recovery's epoch, before more is given
    /// out: of the signal, the sequences that are kept. The same until [`Recovery::planned`], for a
    /// write of it may be late. None where nothing is to be written for now.
    pub fn plan(&mut self) -> Option<(Signal, Ranges)> {
        let signal = Signal::ALL.into_iter().find(|signal| {
            self.needs_plan(*signal)
                && !self.planned[signal.index()]
                && (self.proposed[signal.index()].is_some() || self.is_complete(*signal))
        })?;
        if let Some(kept) = &self.proposed[signal.index()] {
            return Some((signal, kept.clone()));
        }
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
        self.proposed[signal.index()] = Some(kept.clone());
        Some((signal, kept))
    }

    /// The plan of a signal is in the metadata group.
    pub fn planned(&mut self, signal: Signal) {
        self.planned[signal.index()] = self.proposed[signal.index()].is_some();
        self.give_out();
    }

    /// What the seal says of a signal: the sequences that need not come back with their owner.
    pub fn settled(&self, signal: Signal) -> Ranges {
        let plan = self.proposed[signal.index()].clone();
        plan.unwrap_or_else(|| Ranges::of(1, u64::MAX))
    }
}
