//! Virtual time: it goes on by what the disk takes, and by what a driver lets pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otlake_base::Clock;

/// 2026-01-01, in ns since 1970 UTC.
pub const EPOCH: u64 = 1_767_225_600_000_000_000;

/// A clock that nothing but a simulation moves.
#[derive(Debug, Default)]
pub struct SimClock(AtomicU64);

impl SimClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn unix_nano(&self) -> u64 {
        EPOCH + self.0.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
