//! Batches for those who follow the live set.
//!
//! One queue serves all readers, each with a place of its own in it. What the slowest has still
//! to read stays in memory, up to `limits::TAIL_BYTES` and `limits::TAIL_BATCHES`; then the
//! oldest goes, and a reader that has missed it is told so. Without readers nothing is kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use otlake_base::invariant::Invariant;
use otlake_base::{Metrics, limits};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::LiveBatch;

/// The queue.
pub(crate) struct Followed {
    state: Mutex<State>,
    sent: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Arc<LiveBatch>>,
    /// The number of the first batch in the queue.
    first: u64,
    bytes: usize,
    /// How many readers read next at a number.
    places: BTreeMap<u64, usize>,
    /// Nothing more will come.
    ended: bool,
}

impl State {
    fn is_over(&self) -> bool {
        self.bytes > limits::TAIL_BYTES || self.batches.len() > limits::TAIL_BATCHES
    }

    fn drop_first(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.first += 1;
            self.bytes = self.bytes.saturating_sub(batch.bytes);
        }
    }

    fn leave(&mut self, place: u64) {
        if let Some(readers) = self.places.get_mut(&place) {
            *readers -= 1;
            if *readers == 0 {
                self.places.remove(&place);
            }
        }
    }

    /// Lets go of what everybody has read.
    fn trim(&mut self) {
        let needed = self.places.keys().next().copied();
        while !self.batches.is_empty() && needed.is_none_or(|needed| self.first < needed) {
            self.drop_first();
        }
    }
}

impl Followed {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Arc<Followed> {
        Arc::new(Followed {
            state: Mutex::default(),
            sent: Notify::new(),
            metrics,
        })
    }

    pub(crate) fn send(&self, batch: Arc<LiveBatch>) {
        let is_bounded = {
            let mut state = self.state.lock();
            if state.places.is_empty() {
                return;
            }
            state.bytes += batch.bytes;
            state.batches.push_back(batch);
            while state.is_over() && !state.batches.is_empty() {
                state.drop_first();
            }
            self.metrics.tail_bytes.set(state.bytes as i64);
            !state.is_over()
        };
        if !is_bounded {
            self.metrics
                .violated(Invariant::I5Bounded, "what tails hold is out of step");
        }
        self.sent.notify_waiters();
    }

    /// Tells readers that nothing more will come.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.sent.notify_waiters();
    }
}

/// What a reader gets.
#[derive(Debug)]
pub enum Tailed {
    /// The next batch.
    Batch(Arc<LiveBatch>),
    /// As many batches were let go before this reader came to them.
    Skipped(u64),
}

/// One reader.
pub struct Tail {
    followed: Arc<Followed>,
    place: u64,
}

impl Tail {
    pub(crate) fn new(followed: &Arc<Followed>) -> Tail {
        let mut state = followed.state.lock();
        let place = state.first + state.batches.len() as u64;
        *state.places.entry(place).or_default() += 1;
        Tail {
            followed: Arc::clone(followed),
            place,
        }
    }

    /// What is next; waits where there is nothing yet. `None` when the node was closed.
    pub async fn recv(&mut self) -> Option<Tailed> {
        loop {
            // Made before looking, so that what is sent in between wakes it.
            let followed = Arc::clone(&self.followed);
            let sent = followed.sent.notified();
            if let Some(next) = self.try_recv() {
                return Some(next);
            }
            if self.followed.state.lock().ended {
                return None;
            }
            sent.await;
        }
    }

    /// What is next, or `None` where there is nothing yet.
    pub fn try_recv(&mut self) -> Option<Tailed> {
        let mut state = self.followed.state.lock();
        let (next, place) = if self.place < state.first {
            (Tailed::Skipped(state.first - self.place), state.first)
        } else {
            let at = usize::try_from(self.place - state.first).ok()?;
            (
                Tailed::Batch(Arc::clone(state.batches.get(at)?)),
                self.place + 1,
            )
        };
        state.leave(self.place);
        *state.places.entry(place).or_default() += 1;
        self.place = place;
        state.trim();
        self.followed.metrics.tail_bytes.set(state.bytes as i64);
        Some(next)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut state = self.followed.state.lock();
        state.leave(self.place);
        state.trim();
        self.followed.metrics.tail_bytes.set(state.bytes as i64);
    }
}

#[cfg(test)]
#[path = "tail_test.rs"]
mod tail_test;
