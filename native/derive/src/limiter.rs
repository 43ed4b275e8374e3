//! Series that are known, and how many there may be (I5).
//!
//! A limit of what a node holds and writes, not a count that anything depends on: it begins anew
//! with each start, and what is left out of the series is counted in the tenant's overflow series.

use std::collections::HashMap;
use std::time::Duration;

use otlake_base::limits::DERIVE_SERIES_IDLE_MS;

const IDLE: Duration = Duration::from_millis(DERIVE_SERIES_IDLE_MS);

/// By tenant: the series of late, and when each was seen last.
pub(crate) struct Limiter {
    max: usize,
    tenants: HashMap<String, HashMap<u64, Duration>>,
    swept: Duration,
}

impl Limiter {
    pub(crate) fn new(max: usize) -> Limiter {
        Limiter {
            max,
            tenants: HashMap::new(),
            swept: Duration::ZERO,
        }
    }

    /// Whether there is room for a series, known or new.
    pub(crate) fn admits(&mut self, tenant: &str, series: u64, now: Duration) -> bool {
        let known = match self.tenants.get_mut(tenant) {
            Some(known) => known,
            None => self.tenants.entry(tenant.to_owned()).or_default(),
        };
        if let Some(seen) = known.get_mut(&series) {
            *seen = now;
            return true;
        }
        if known.len() >= self.max {
            return false;
        }
        known.insert(series, now);
        true
    }

    /// Forgets what was not seen for long. Called once for each flush.
    pub(crate) fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < IDLE / 4 {
            return;
        }
        self.swept = now;
        self.tenants.retain(|_, known| {
            known.retain(|_, seen| now.saturating_sub(*seen) < IDLE);
            !known.is_empty()
        });
    }

    /// Series of all tenants.
    pub(crate) fn len(&self) -> usize {
        self.tenants.values().map(HashMap::len).sum()
    }
}
