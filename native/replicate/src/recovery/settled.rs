//! What of a recovered stream is settled: in the tables, or never acknowledged by a quorum. The seal
//! says it, and an owner that comes back appends the rest of what it had acknowledged alone to its
//! new stream.

use otlake_base::Signal;

use crate::Ranges;
use crate::message::BySignal;

/// The commits that a recovery made, for its seal.
///
/// Of what others committed meanwhile everything is settled: only the owner, which commits all that
/// it acknowledged in order, and other recoveries can have done it. Of its own commits that is
/// settled which the recovery had; the rest of their range the watermark has passed all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// By signal, what the watermark has passed in own commits without a record.
    passed: [Ranges; 3],
}

impl Settled {
    /// A commit of this recovery raised the signal's watermark from `from` to `upto`; `held` are the
    /// records that it gave out, of which those between are in the commit.
    pub fn committed(&mut self, signal: Signal, from: u64, upto: u64, held: &Ranges) {
        let passed = &mut self.passed[signal.index()];
        passed.insert_range(from + 1, upto);
        for (first, last) in held.iter() {
            let (first, last) = (first.max(from + 1), last.min(upto));
            if first <= last {
                passed.remove_range(first, last);
            }
        }
    }

    /// What is settled, by signal, now that the watermarks stand here and rise no more.
    pub fn ranges(&self, watermark: BySignal) -> [Ranges; 3] {
        std::array::from_fn(|signal| {
            let mut settled = Ranges::of(1, watermark[signal]);
            for (first, last) in self.passed[signal].iter() {
                settled.remove_range(first, last);
            }
            settled
        })
    }
}
