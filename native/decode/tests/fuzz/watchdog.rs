//! Ends a run that no longer gets on, with the request that holds it up.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long one case may take at least before it counts as a hang: they take milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Watches until it is dropped.
pub struct Watchdog {
    case: Arc<AtomicU64>,
    /// Dropping it ends the watch at once.
    _over: mpsc::Sender<()>,
}

impl Watchdog {
    pub fn start(seed: u64) -> Self {
        let case = Arc::new(AtomicU64::new(0));
        let (over, ends) = mpsc::channel::<()>();
        let watched = Arc::clone(&case);
        thread::spawn(move || {
            let mut last = u64::MAX;
            // Not a parked thread, which may wake early and would take that for a hang.
            while ends.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let now = watched.load(Ordering::Relaxed);
                if now == last {
                    // Past the test harness, whose copy the abort would lose.
                    let line = format!("case {now} of OTLAKE_FUZZ_SEED={seed} does not end");
                    let _ = writeln!(std::io::stderr(), "{line}");
                    std::process::abort();
                }
                last = now;
            }
        });
        Self { case, _over: over }
    }

    /// This case begins.
    pub fn begins(&self, case: u64) {
        self.case.store(case, Ordering::Relaxed);
    }
}
