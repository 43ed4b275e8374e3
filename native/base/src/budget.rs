//! A budget of bytes that many share (I5): what is taken never exceeds it, and when it runs short
//! nobody holds more than a fair share.
//!
//! While three quarters are enough, anybody takes what they ask for. Beyond that, whoever holds
//! more than the budget divided by the number of parties gets nothing more: so a greedy party
//! leaves the last quarter to others. A party is whoever holds bytes, or was refused a moment ago and
//! will come again. What a party asks for first is always granted if it fits at all: a large
//! request of one who has nothing else must not wait for ever.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

use crate::invariant::Invariant;
use crate::{Clock, Metrics, SystemClock};

/// How long who was refused counts as a party: longer than clients wait before they try again.
const HUNGER: Duration = Duration::from_secs(10);
/// Refused parties that are remembered, of each kind.
const MAX_HUNGRY: usize = 4096;
/// How often those whose hunger has passed are forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// Bytes that are shared.
pub struct Budget {
    max: usize,
    clock: Arc<dyn Clock>,
    gauge: Gauge,
    metrics: Arc<Metrics>,
    hasher: RandomState,
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    used: usize,
    /// Tenants and connections.
    parties: [HashMap<u64, Party>; 2],
    swept: Duration,
}

#[derive(Default)]
struct Party {
    bytes: usize,
    hungry_until: Duration,
}

/// For whom bytes are taken: a tenant, one of its connections, or nobody in particular.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim([Option<u64>; 2]);

impl Budget {
    /// A budget of `max` bytes, none of it used.
    pub fn new(max: usize) -> Arc<Budget> {
        let metrics = Arc::new(Metrics::new());
        Self::measured(max, Arc::new(SystemClock), Gauge::default(), metrics)
    }

    /// The same, telling `gauge` the bytes in use, and `metrics` where the limit is broken.
    pub fn measured(
        max: usize,
        clock: Arc<dyn Clock>,
        gauge: Gauge,
        metrics: Arc<Metrics>,
    ) -> Arc<Budget> {
        Arc::new(Budget {
            max,
            clock,
            gauge,
            metrics,
            hasher: RandomState::new(),
            state: Mutex::default(),
        })
    }

    /// The limit, in bytes.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.state.lock().used
    }

    /// The claim of a tenant, through a connection where there is one.
    pub fn claim(&self, tenant: &str, connection: Option<u64>) -> Claim {
        Claim([Some(self.hasher.hash_one(tenant)), connection])
    }

    /// Takes `bytes` for nobody in particular, or nothing when they do not fit. What is larger
    /// than the whole budget is taken for all of it, so that a large request waits for an idle
    /// node and not for ever.
    pub fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        self.try_reserve_for(Claim::default(), bytes)
    }

    /// Takes `bytes` for `claim`, or nothing when they do not fit or are more than its share.
    pub fn try_reserve_for(self: &Arc<Self>, claim: Claim, bytes: usize) -> Option<Reservation> {
        let mut reservation = self.empty(claim);
        reservation
            .try_resize(bytes.min(self.max))
            .then_some(reservation)
    }

    /// Nothing yet, for `claim`.
    pub fn empty(self: &Arc<Self>, claim: Claim) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            claim,
            bytes: 0,
        }
    }

    /// Takes `bytes` even beyond the limit: for what exists already, such as a replayed batch.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        let mut reservation = self.empty(Claim::default());
        self.add(&mut self.state.lock(), reservation.claim, bytes, usize::MAX);
        reservation.bytes = bytes;
        reservation
    }

    /// Takes `more` for a claim that holds `own` in the same reservation.
    fn take(&self, claim: Claim, own: usize, more: usize) -> bool {
        let mut state = self.state.lock();
        let after = state.used.checked_add(more);
        let fits = after.is_some_and(|after| {
            after <= self.max
                && (after <= self.max / 4 * 3 || self.is_fair(&mut state, claim, own, more))
        });
        if fits {
            self.add(&mut state, claim, more, self.max);
        } else {
            self.remember(&mut state, claim);
        }
        fits
    }

    fn is_fair(&self, state: &mut State, claim: Claim, own: usize, more: usize) -> bool {
        self.sweep(state);
        claim.0.iter().zip(&state.parties).all(|(key, parties)| {
            let Some(key) = key else { return true };
            let (held, others) = match parties.get(key) {
                Some(party) => (party.bytes, parties.len() - 1),
                None => (0, parties.len()),
            };
            held <= own || held + more <= self.max / (others + 1)
        })
    }

    /// Counts bytes as held; never more than `limit`, whatever let them in.
    pub(crate) fn add(&self, state: &mut State, claim: Claim, bytes: usize, limit: usize) {
        state.used = state.used.saturating_add(bytes);
        if state.used > limit {
            self.metrics
                .violated(Invariant::I5Bounded, "a budget is exceeded");
        }
        self.gauge.set(state.used as i64);
        if bytes == 0 {
            return;
        }
        for (key, parties) in claim.0.iter().zip(&mut state.parties) {
            if let Some(key) = key {
                parties.entry(*key).or_default().bytes += bytes;
            }
        }
    }

    pub(crate) fn give_back(&self, claim: Claim, bytes: usize) {
        let mut state = self.state.lock();
        if bytes > state.used {
            // Without this the sum would wrap around, and nothing would fit ever again.
            self.metrics
                .violated(Invariant::I5Bounded, "more is given back than was taken");
        }
        state.used = state.used.saturating_sub(bytes);
        self.gauge.set(state.used as i64);
        for (key, parties) in claim.0.iter().zip(&mut state.parties) {
            let Some(key) = key else { continue };
            let Some(party) = parties.get_mut(key) else {
                continue;
            };
            party.bytes = party.bytes.saturating_sub(bytes);
            if party.bytes == 0 && party.hungry_until.is_zero() {
                parties.remove(key);
            }
        }
    }

    /// Counts who was refused as a party for a while.
    fn remember(&self, state: &mut State, claim: Claim) {
        self.sweep(state);
        let hungry_until = self.clock.monotonic() + HUNGER;
        for (key, parties) in claim.0.iter().zip(&mut state.parties) {
            let Some(key) = key else { continue };
            if parties.len() < MAX_HUNGRY || parties.contains_key(key) {
                parties.entry(*key).or_default().hungry_until = hungry_until;
            }
        }
    }

    fn sweep(&self, state: &mut State) {
        let now = self.clock.monotonic();
        if now < state.swept + SWEEP {
            return;
        }
        state.swept = now;
        for parties in &mut state.parties {
            parties.retain(|_, party| {
                if party.hungry_until <= now {
                    party.hungry_until = Duration::ZERO;
                }
                party.bytes > 0 || !party.hungry_until.is_zero()
            });
        }
    }
}

/// Bytes taken from a budget; dropping it gives them back.
pub struct Reservation {
    budget: Arc<Budget>,
    claim: Claim,
    bytes: usize,
}

impl Reservation {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing, for the same claim.
    pub fn sibling(&self) -> Reservation {
        self.budget.empty(self.claim)
    }

    /// Makes an estimate exact; false, and unchanged, when there is no room for more.
    #[must_use]
    pub fn try_resize(&mut self, bytes: usize) -> bool {
        if bytes >= self.bytes {
            let more = bytes - self.bytes;
            if !self.budget.take(self.claim, self.bytes, more) {
                return false;
            }
        } else {
            self.budget.give_back(self.claim, self.bytes - bytes);
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(self.claim, self.bytes);
        }
    }
}
