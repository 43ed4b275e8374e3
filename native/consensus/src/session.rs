//! This node's session as a proposer: numbers for its proposals, and which of them are answered.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::command::{Command, Proposal};

/// The numbers of one start of one proposer.
pub(crate) struct Session {
    id: u64,
    numbers: Mutex<Numbers>,
}

#[derive(Default)]
struct Numbers {
    last: u64,
    open: BTreeSet<u64>,
}

/// A proposal that is not answered yet. It counts as answered when it is dropped.
pub(crate) struct Open<'a> {
    session: &'a Session,
    sequence: u64,
    command: Command,
}

impl Session {
    /// A session of a random id.
    pub(crate) fn new(id: u64) -> Session {
        Session {
            // 0 stands for none.
            id: id.max(1),
            numbers: Mutex::default(),
        }
    }

    /// Gives a command its number.
    pub(crate) fn open(&self, command: Command) -> Open<'_> {
        let mut numbers = self.numbers.lock();
        numbers.last += 1;
        let sequence = numbers.last;
        numbers.open.insert(sequence);
        Open {
            session: self,
            sequence,
            command,
        }
    }
}

impl Open<'_> {
    /// The proposal, as it is sent now.
    pub(crate) fn proposal(&self) -> Proposal {
        let numbers = self.session.numbers.lock();
        Proposal {
            session: self.session.id,
            sequence: self.sequence,
            answered: numbers.open.first().copied().unwrap_or(self.sequence),
            command: self.command.clone(),
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.session.numbers.lock().open.remove(&self.sequence);
    }
}
