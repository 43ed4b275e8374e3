//! This node's session as a proposer: numbers for its proposals, and which of them are answered.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::state::Number;

/// The numbers of one start of one proposer.
pub(crate) struct Proposer {
    session: u64,
    numbers: Mutex<Numbers>,
}

#[derive(Default)]
struct Numbers {
    last: u64,
    open: BTreeSet<u64>,
}

/// A proposal that is not answered yet. It counts as answered when this is dropped.
pub(crate) struct Open<'a> {
    proposer: &'a Proposer,
    sequence: u64,
}

impl Proposer {
    /// A session of a random id.
    pub(crate) fn new(id: u64) -> Proposer {
        Proposer {
            // 0 stands for none.
            session: id.max(1),
            numbers: Mutex::default(),
        }
    }

    /// The next proposal.
    pub(crate) fn open(&self) -> Open<'_> {
        let mut numbers = self.numbers.lock();
        numbers.last += 1;
        let sequence = numbers.last;
        numbers.open.insert(sequence);
        Open {
            proposer: self,
            sequence,
        }
    }
}

impl Open<'_> {
    /// Its number, as it is sent now.
    pub(crate) fn number(&self) -> Number {
        let numbers = self.proposer.numbers.lock();
        Number {
            session: self.proposer.session,
            sequence: self.sequence,
            answered: numbers.open.first().copied().unwrap_or(self.sequence),
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.proposer.numbers.lock().open.remove(&self.sequence);
    }
}

/// The name of what does no harm when it is repeated.
pub(crate) const NAMELESS: Number = Number {
    session: 0,
    sequence: 0,
    answered: 0,
};
