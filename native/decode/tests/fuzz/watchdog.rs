//! Ends a run that no longer gets on, with the request that holds it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How long one request may take at least before it counts as a hang: they take microseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Watches until it is dropped.
pub struct Watchdog {
    case: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Watchdog {
    pub fn start(seed: u64) -> Self {
        let watchdog = Self {
            case: Arc::default(),
            over: Arc::default(),
        };
        let (case, over) = (Arc::clone(&watchdog.case), Arc::clone(&watchdog.over));
        thread::spawn(move || {
            let mut last = u64::MAX;
            while !over.load(Ordering::Relaxed) {
                let now = case.load(Ordering::Relaxed);
                if now == last {
                    eprintln!("case {now} of OTLAKE_FUZZ_SEED={seed} does not end");
                    std::process::abort();
                }
                last = now;
                thread::park_timeout(PATIENCE);
            }
        });
        watchdog
    }

    /// This case begins.
    pub fn begins(&self, case: u64) {
        self.case.store(case, Ordering::Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
