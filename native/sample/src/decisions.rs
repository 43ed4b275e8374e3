//! What was decided, within a bound.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::trace_state::NEVER;

/// A tenant's trace, as a hash: XXH3, 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) u128);

/// What was decided of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is kept, and its spans have passed this threshold.
    Kept(u64),
    Dropped,
}

const DROPPED: u64 = u64::MAX;

impl Decision {
    pub(crate) fn number(self) -> u64 {
        match self {
            Decision::Kept(threshold) => threshold,
            Decision::Dropped => DROPPED,
        }
    }

    pub(crate) fn from_number(number: u64) -> Option<Decision> {
        match number {
            DROPPED => Some(Decision::Dropped),
            threshold => (threshold < NEVER).then_some(Decision::Kept(threshold)),
        }
    }
}

/// A decision, and what is told of it beside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remembered {
    pub(crate) decision: Decision,
    /// The policy, by its number; none of a dropped trace, and of what an earlier start decided.
    pub(crate) policy: Option<u16>,
    /// By the monotonic clock; zero of an earlier start.
    pub(crate) at: Duration,
}

/// By trace; the oldest decisions are forgotten first.
pub(crate) struct Decisions {
    max: usize,
    by_trace: HashMap<Key, Remembered, foldhash::fast::RandomState>,
    order: VecDeque<Key>,
}

impl Decisions {
    pub(crate) fn new(max: usize) -> Decisions {
        Decisions {
            max: max.max(1),
            by_trace: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<Remembered> {
        self.by_trace.get(&key).copied()
    }

    /// Gives how many were forgotten for it.
    pub(crate) fn remember(&mut self, key: Key, remembered: Remembered) -> u64 {
        if self.by_trace.insert(key, remembered).is_none() {
            self.order.push_back(key);
        }
        let mut forgotten = 0;
        while self.order.len() > self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.by_trace.remove(&oldest);
                forgotten += 1;
            }
        }
        forgotten
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}
